"""Measure published weights with `prunekit evaluate`, next to what their papers tell.

python -m benchmarks.published [GLOB ...] [--sets Set5 ...] [--json FILE] [--fresh]

Weights and images are looked for in `$PRUNEKIT_DATA`, then in `../shared/data`. Each file of
weights has a JSON beside it with the published figures and those recorded with the code of its
authors. Rows that are there already are not measured again, unless the code has changed.

* `psnr` (dB) and `ssim`: on Y of BT.601 of 8-bit images, `scale` pixels cut off every side, HR cut
  to a multiple of the scale, means over images; the LR files of the set where it has some, else LR
  by MATLAB's bicubic, which gives the same files. float32, one thread
* `off_published` and `off_recorded`: measured less told. `agrees` is whether both are within 0.02
  dB and 0.0005 of the published figures, or of the recorded ones where none were published;
  `remark` is why not, where it is known
* Urban100 is 12 of the 100 images: there is nothing to compare it with
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.children import Job, Row, read_rows
from benchmarks.trained_networks import (
    LEFT_OUT,
    Card,
    data_folder,
    network_name,
    networks,
)
from prunekit.cli import main as prunekit
from prunekit.files import write_atomic
from prunekit.measure.environment import environment
from prunekit.nets import NETWORKS

SETS = ("Set5", "Set14", "BSD100", "Urban100")
SOURCES = (
    "prunekit/nets",
    "prunekit/data/image.py",
    "prunekit/data/png.py",
    "prunekit/data/resize.py",
    "prunekit/measure/evaluate.py",
    "prunekit/measure/infer.py",
    "prunekit/measure/protocol.py",
    "prunekit/measure/quality.py",
    "prunekit/measure/scores.py",
    "benchmarks/published.py",
)
TOLERANCES = (0.02, 0.0005)  # dB, and of SSIM
REMARKS: Mapping[str, str] = {
    "carn_m": "the released weights do not give the figures of the paper, with the code of its "
    "authors either",
    "safmnv3_x4": "there is no paper; some detail differs from the team's code",
}
"""Why figures differ, by the name of the weights."""


def main() -> None:
    """Measure every network there are weights for, on every set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="globs on names of weights; all if there are none")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="sets of images")
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    options = parser.parse_args()
    torch.set_num_threads(1)
    job = Job((), SOURCES)
    every = {row_name(*case): job for case in cases([], SETS)}
    rows = {} if options.fresh else read_rows(options.json, every)
    chosen = cases(options.names, options.sets)
    for case in chosen:
        name = row_name(*case)
        if name in rows and rows[name]["status"] == "ok":
            continue
        rows[name] = {"name": name, "code": job.code, **measure(*case)}
        print(name, rows[name]["status"], flush=True)
        if options.json:
            write_atomic(options.json, json.dumps(content(rows), indent=1) + "\n")
    if chosen:
        show([rows[row_name(*case)] for case in chosen])


def content(rows: Mapping[str, Row]) -> dict[str, Any]:
    """What is written."""
    ordered = [rows[name] for name in sorted(rows)]
    return {
        "convention": __doc__,
        "environment": environment(),
        "left_out": LEFT_OUT,
        "networks": ordered,
    }


def cases(patterns: list[str], sets: tuple[str, ...]) -> list[tuple[Card, int, str]]:
    """Weights, scale and set of images of every row."""
    return [
        (card, scale, each)
        for card, scale in networks(patterns)
        if network_name(card, scale) in NETWORKS
        for each in sets
    ]


def row_name(card: Card, scale: int, images: str) -> str:
    """Network and set, such as `imdn_x2 Set5`."""
    return f"{network_name(card, scale)} {images}"


def measure(card: Card, scale: int, images: str) -> Row:
    """One network on one set; a failure is a result."""
    row: Row = {"network": network_name(card, scale), "scale": scale, "images": images}
    weights = data_folder() / "weights" / f"{card['name']}.safetensors"
    folder = data_folder() / "benchmarks" / images
    lr = folder / "LR_bicubic" / f"X{scale}"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "scores.json"
        command = ["evaluate", row["network"], "--weights", str(weights), "--scale", str(scale)]
        command += ["--data", str(folder / "HR"), *(["--lr", str(lr)] if lr.is_dir() else [])]
        command += ["--y", "--border", str(scale), "--device", "cpu", "--json", str(out), "--quiet"]
        with redirect_stdout(io.StringIO()):  # the table of the command
            status = prunekit(command)
        if status:
            return {**row, "status": "failed", "why": f"exit status {status}"}
        scores = json.loads(out.read_text())
    row |= {"status": "ok", "psnr": round(scores["psnr"], 3), "ssim": round(scores["ssim"], 5)}
    row |= {"seconds": round(scores["seconds"], 2), "count": len(scores["images"])}
    return {**row, **compared(card, row)}


def compared(card: Card, row: Row) -> Row:
    """How far that is from what was published and recorded."""
    found: Row = {}
    for kind in ("published", "recorded"):
        key = "measured" if kind == "recorded" else kind
        told = (card[f"{key}_psnr_ssim_y"].get(f"x{row['scale']}") or {}).get(row["images"])
        if told:
            off = [round(row["psnr"] - told[0], 3), round(row["ssim"] - told[1], 5)]
            found |= {kind: told, f"off_{kind}": off}
    off = found.get("off_published") or found.get("off_recorded")
    if off is None:
        return found
    found["agrees"] = all(abs(o) <= most for o, most in zip(off, TOLERANCES, strict=True))
    return {**found, "remark": REMARKS[card["name"]]} if card["name"] in REMARKS else found


def show(rows: list[Row]) -> None:
    """Print a line for each."""
    table = Table(
        *("network", "images", "PSNR", "SSIM", "published", "recorded", "off by"),
        title="PSNR-Y in dB and SSIM",
        caption="off by: from the published figures, else from the recorded; ! is more than "
        f"{TOLERANCES[0]} dB or {TOLERANCES[1]}",
        padding=0,
    )
    for row in rows:
        if row["status"] != "ok":
            table.add_row(row["network"], row["images"], row["status"], row["why"])
            continue
        told = [pair(row.get(kind)) for kind in ("published", "recorded")]
        off = row.get("off_published") or row.get("off_recorded")
        mark = "" if row.get("agrees", True) else " !"
        distance = f"{off[0]:+.3f} {off[1]:+.4f}{mark}" if off else ""
        figures = (f"{row['psnr']:.3f}", f"{row['ssim']:.4f}")
        table.add_row(row["network"], row["images"], *figures, *told, distance)
    console = Console(width=110)
    console.print(table)
    for name in sorted({row["network"] for row in rows if "remark" in row}):
        remark = next(row["remark"] for row in rows if row["network"] == name and "remark" in row)
        console.print(f"{name}: {remark}", markup=False, highlight=False)


def pair(figures: list[float] | None) -> str:
    """As in `38.00/0.9605`."""
    return f"{figures[0]:.2f}/{figures[1]:.4f}" if figures else ""


if __name__ == "__main__":
    main()
