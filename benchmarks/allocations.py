"""Spread the same target over the groups of a trained network in every way, without fine-tuning.

python -m benchmarks.allocations [NETWORK[=WEIGHTS] ...] [--images N] [--crop N] [--json FILE]

Images are looked for in `$PRUNEKIT_DATA`, then in `../shared/data`. Networks are those of
`prunekit.nets` of scale 2, with the weights that they come with or those of a file.

* `psnr_y`: dB on Y of BT.601 of 8-bit images, 2 pixels cut off every side, mean over the five
  images of Set5, LR by MATLAB's bicubic; float32. Nothing is trained after pruning: these figures
  tell allocations apart, not networks that anybody would use
* `macs`: share removed; 30 and 50 % were asked for. Criterion `l2`, widths in multiples of 8
* `sensitivity` is measured on the middle of images of BSDS500 (train), as many and as large as
  `measured_on` says; never on Set5. `seconds` are those of the whole pruning with its proof; what
  the first target has measured is known to the second. They mean little on a machine that is shared
* `uniform` is left out where no narrower network keeps all widths in proportion
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

import prunekit
from prunekit.data.pairs import Folder, find_pairs
from prunekit.errors import PlanError
from prunekit.files import write_atomic
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import super_resolve_pair
from prunekit.measure.quality import psnr_y
from prunekit.pipeline.build import build_network
from prunekit.recipe import ModelSection

ALLOCATIONS = ("local", "global", "uniform", "isomorphic", "knapsack", "sensitivity")
RATIOS = (0.3, 0.5)
_SCALE = 2


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
        dense = {"dense_psnr_y": psnr_on_set5(model, folder)}
        return [row | dense for row in ways if row is not None]


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
    recipe = {
        "prune": {**section, "allocation": allocation},
        "data": {
            "train": {"folder": str(folder / "train" / "BSDS500_train")},
            "cache": {"folder": str(cache)},
        },
    }
    started = time.perf_counter()
    try:
        result = prunekit.prune(model, recipe)
    except PlanError as error:
        print(f"{name}, {allocation}, {ratio:.0%}: {error}")
        return None
    seconds = time.perf_counter() - started
    before, after = result.plan.macs
    return {
        "network": name,
        "allocation": allocation,
        "asked": ratio,
        "macs": round(1 - after / before, 5),
        "psnr_y": psnr_on_set5(result.model, folder),
        "seconds": round(seconds, 1),
        "widths": {g.name: [g.width, len(g.kept)] for g in result.plan.groups},
    }


def psnr_on_set5(model: nn.Module, folder: Path) -> float:
    """Mean over images, in dB."""
    set5 = folder / "benchmarks" / "Set5"
    pairs = find_pairs(Folder(set5 / "HR", lr=set5 / "LR_bicubic" / "X2"), _SCALE)
    figures = [psnr_y(super_resolve_pair(model, pair), pair.hr, _SCALE) for pair in pairs]
    return round(fmean(figures), 3)


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line for each."""
    table = Table("network", "allocation", "MACs removed", "PSNR-Y", "dense", "seconds")
    for row in rows:
        figures = (f"{row['macs']:.1%}", f"{row['psnr_y']:.2f}", f"{row['dense_psnr_y']:.2f}")
        table.add_row(row["network"], row["allocation"], *figures, str(row["seconds"]))
    Console().print(table)


if __name__ == "__main__":
    main()
