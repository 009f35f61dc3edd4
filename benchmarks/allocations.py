"""Spread the same target over the groups of a trained network in every way, without fine-tuning.

python -m benchmarks.allocations [NETWORK[=WEIGHTS] ...] [--images N] [--crop N] [--json FILE]

Images are looked for in `$PRUNEKIT_DATA`, then in `../shared/data`. Networks are those of
`prunekit.nets` of scale 2, with the weights that they come with or those of a file.

* `psnr_y`: dB on Y of BT.601 of 8-bit images, 2 pixels cut off every side, mean over the five
  images of Set5, LR by MATLAB's bicubic; float32. Nothing is trained after pruning: these figures
  tell allocations apart, not networks that anybody would use
* `macs`: share removed; 30 and 50 % were asked for. Criterion `l2`, widths in multiples of 8
* `sensitivity` is measured on the middle of images of BSDS500 (train), as many and as large as
  `measured_on` says; never on Set5. `seconds` are those of the whole pruning, measuring included,
  with nothing kept from before
* `uniform` is left out where no narrower network keeps all widths in proportion
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

import prunekit
from prunekit.errors import PlanError
from prunekit.files import write_atomic
from prunekit.measure.environment import environment
from prunekit.pipeline.build import build_network
from prunekit.recipe import ModelSection
from prunekit.report.content import DENSE, SLIM

ALLOCATIONS = ("local", "global", "uniform", "isomorphic", "knapsack", "sensitivity")
RATIOS = (0.3, 0.5)


def main() -> None:
    """Prune and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="*", default=["edsr_x2_compact"])
    parser.add_argument("--images", type=int, default=16, help="images to measure on")
    parser.add_argument("--crop", type=int, default=96, help="side of their middle, LR")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    measured_on = {"images": options.images, "crop": options.crop}
    folder = data_folder()
    if not (folder / "benchmarks").is_dir():
        print(f"skipped: no images in {folder}; name their folder in PRUNEKIT_DATA")
        return
    rows = [
        row
        for name in options.networks
        for row in network_rows(*name.partition("=")[::2], folder, measured_on)
    ]
    show(rows)
    if options.json:
        content = {
            "convention": __doc__,
            "environment": environment(),
            "measured_on": measured_on,
            "rows": rows,
        }
        write_atomic(options.json, json.dumps(content, indent=1) + "\n")


def data_folder() -> Path:
    """Where images are: $PRUNEKIT_DATA, else ../shared/data."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("PRUNEKIT_DATA", beside))


def network_rows(
    name: str, weights: str, folder: Path, measured_on: dict[str, int]
) -> list[dict[str, Any]]:
    """All ways for one network."""
    model = build_network(ModelSection(network=name, weights=Path(weights) if weights else None))
    with tempfile.TemporaryDirectory() as cache:
        ways = (
            pruned(
                model,
                name,
                allocation,
                ratio,
                folder=folder,
                cache=Path(cache),
                measured_on=measured_on,
            )
            for ratio in RATIOS
            for allocation in ALLOCATIONS
        )
        return [row for row in ways if row is not None]


def pruned(
    model: nn.Module,
    name: str,
    allocation: str,
    ratio: float,
    *,
    folder: Path,
    cache: Path,
    measured_on: dict[str, int],
) -> dict[str, Any] | None:
    """One way: widths, cost and PSNR; None where it is out of reach."""
    section: dict[str, object] = {"method": "filter", "target": {"macs_ratio": ratio}}
    if allocation == "sensitivity":
        section["sensitivity"] = measured_on
    set5 = folder / "benchmarks" / "Set5"
    recipe = {
        "prune": {**section, "allocation": allocation},
        "data": {
            "train": {"folder": str(folder / "train" / "BSDS500_train")},
            "evaluate": {
                "folder": str(set5 / "HR"),
                "lr_folder": str(set5 / "LR_bicubic" / "X2"),
            },
            "cache": {"folder": str(cache / f"{allocation}-{ratio}")},
        },
        "evaluate": {},
        "report": {"crops": 0},
    }
    started = time.perf_counter()
    try:
        result = prunekit.prune(model, recipe)
    except PlanError as error:
        print(f"{name}, {allocation}, {ratio:.0%}: {error}")
        return None
    before, after = result.plan.macs
    quality = {e.name: e.quality.psnr for e in result.report.entries if e.quality is not None}
    stages = {"plan", "measure sensitivity", "rebuild", "verify"}
    return {
        "network": name,
        "allocation": allocation,
        "asked": ratio,
        "macs": round(1 - after / before, 5),
        "psnr_y": round(quality[SLIM], 3),
        "dense_psnr_y": round(quality[DENSE], 3),
        "seconds": round(sum(s for stage, s in result.report.seconds if stage in stages), 1),
        "total_seconds": round(time.perf_counter() - started, 1),
        "widths": {g.name: [g.width, len(g.kept)] for g in result.plan.groups},
    }


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line for each."""
    table = Table("network", "allocation", "MACs removed", "PSNR-Y", "dense", "seconds")
    for row in rows:
        figures = (f"{row['macs']:.1%}", f"{row['psnr_y']:.2f}", f"{row['dense_psnr_y']:.2f}")
        table.add_row(row["network"], row["allocation"], *figures, str(row["seconds"]))
    Console().print(table)


if __name__ == "__main__":
    main()
