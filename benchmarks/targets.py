"""Ask for a target, and count and time what the rebuilt network has left.

python -m benchmarks.targets [GLOB ...] [--kinds macs_ratio ...] [--json FILE] [--fresh]

* Ten networks, x four kinds of target, x 20, 50 and 70 %; rounding to 8, allocation local, the L2
  criterion; weights of networks that come with none are random, from seed 0
* `asked` and `measured`: shares removed. Channels: of all units of groups that may shrink.
  Parameters and MACs: counted in the rebuilt network (`prunekit.measure.cost`), not predicted.
  Latency: median of passes of dense and slim in turns, on one thread, on an image of 96x96;
  `spread_ms` is the least and the largest of either
* `off`: what is left, less what may be left, as a share of that; below zero is more removed
* `within`: off by 1 % at most, 5 % for latency. A `channel_ratio` lays widths down and is no limit:
  with a rounding of 8 it is off by what rounding makes of it, and has no `within`
* `unreachable`: the target is refused, with what is in reach

Rows that are there already are not measured again, unless the code has changed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.architectures import matching
from benchmarks.children import ENGINE, Job, Row, read_rows
from prunekit.errors import PlanError, PrunekitError
from prunekit.files import write_atomic
from prunekit.graph import TraceOptions, trace
from prunekit.measure.cost import count_macs, count_params
from prunekit.measure.environment import environment
from prunekit.measure.latency import measure_latency
from prunekit.nets import NETWORKS, create
from prunekit.pipeline import stages
from prunekit.progress import Silent
from prunekit.recipe import PruneSection

NETS = (
    "edsr_baseline_x2",
    "imdn_x2",
    "rfdn_aim_x4",
    "rlfn_s_x4",
    "pan_x2",
    "carn_m_x2",
    "safmnpp_x4",
    "realesr_animevideov3_x4",
    "spandrel/SPAN",
    "spandrel/RealPLKSR",
)
KINDS = ("channel_ratio", "params_ratio", "macs_ratio", "latency_ratio")
RATIOS = (0.2, 0.5, 0.7)
IMAGE = (1, 3, 96, 96)
SOURCES = (
    *ENGINE,
    "prunekit/plan",
    "prunekit/score",
    "prunekit/measure",
    "prunekit/pipeline/aim.py",
    "benchmarks/targets.py",
)
TOLERANCE = {"params_ratio": 0.01, "macs_ratio": 0.01, "latency_ratio": 0.05}


def main() -> None:
    """Measure every network, kind and ratio that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=["*"], help="globs on names of networks")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    options = parser.parse_args()
    torch.set_num_threads(1)
    job = Job((), SOURCES)
    every = {row_name(*case): job for case in cases(["*"], KINDS)}
    rows = {} if options.fresh else read_rows(options.json, every)
    chosen = cases(options.names, options.kinds)
    for case in chosen:
        name = row_name(*case)
        if name not in rows:
            rows[name] = {"name": name, "code": job.code, **measure(*case)}
            print(name, rows[name]["status"], rows[name].get("measured", ""), flush=True)
            if options.json:
                write_atomic(options.json, json.dumps(content(rows), indent=1) + "\n")
    show([rows[row_name(*case)] for case in chosen])


def content(rows: Mapping[str, Row]) -> dict[str, Any]:
    """What is written."""
    ordered = [rows[name] for name in sorted(rows)]
    return {"convention": __doc__, "seed": 0, "environment": environment(), "networks": ordered}


def cases(patterns: list[str], kinds: tuple[str, ...]) -> list[tuple[str, str, float]]:
    """Network, kind and ratio of every row."""
    names = [name for name in NETS if any(fnmatchcase(name, glob) for glob in patterns)]
    return [(name, kind, ratio) for name in names for kind in kinds for ratio in RATIOS]


def row_name(network: str, kind: str, ratio: float) -> str:
    """Such as `imdn_x2 macs_ratio 0.5`."""
    return f"{network} {kind} {ratio:g}"


def build(name: str) -> nn.Module:
    """A built-in network, or the public one of that name."""
    torch.manual_seed(0)
    if name in NETWORKS:
        return create(name).eval()
    return next(net for net in matching([name]) if net.name == name).build()


def measure(network: str, kind: str, ratio: float) -> Row:
    """One row; a refusal is a result."""
    row: Row = {"network": network, "kind": kind, "asked": ratio}
    dense = build(network)
    image = torch.rand(IMAGE, generator=torch.Generator().manual_seed(0))
    graph = trace(dense, image)
    section = PruneSection.model_validate({"method": "filter", "target": {kind: ratio}})
    try:
        pruned = stages.prune(
            dense, graph, section, image, TraceOptions(), seed=0, progress=Silent()
        )
    except PlanError as error:
        return {**row, "status": "unreachable", "why": str(error)}
    except PrunekitError as error:
        return {**row, "status": "failed", "why": str(error)}
    row |= {"status": "ok", "planned": round(pruned.reached[0].reached, 5)}
    row |= measured(kind, dense, pruned, image)
    row["off"] = round((ratio - row["measured"]) / (1 - ratio), 5)
    if kind in TOLERANCE:
        row["within"] = abs(row["off"]) <= TOLERANCE[kind]
    return row


def measured(kind: str, dense: nn.Module, pruned: stages.Pruned, image: Tensor) -> Row:
    """The share that the rebuilt network is without."""
    slim = pruned.model.eval()
    if kind == "channel_ratio":
        free = [group for group in pruned.plan.groups if not group.reason]
        return {"measured": 1 - sum(len(g.kept) for g in free) / sum(g.width for g in free)}
    if kind != "latency_ratio":
        counts = [
            count_params(net) if kind == "params_ratio" else count_macs(net, (image,))
            for net in (dense, slim)
        ]
        return {"measured": round(1 - counts[1] / counts[0], 6), "counts": counts}
    networks = {"dense": dense, "slim": slim}
    found = measure_latency(networks, input_shape=IMAGE, repeats=15, warmup=3, progress=Silent())
    ends = {name: [round(t.min_ms, 3), round(t.max_ms, 3)] for name, t in found.items()}
    share = 1 - found["slim"].median_ms / found["dense"].median_ms
    return {"measured": round(share, 5), "spread_ms": ends}


def show(rows: list[Row]) -> None:
    """Print a line for each."""
    table = Table("network", "target", "asked", "measured", "off", "", padding=0)
    for row in rows:
        if row["status"] != "ok":
            table.add_row(row["network"], row["kind"], f"{row['asked']:.0%}", row["status"])
            continue
        figures = (f"{row['asked']:.0%}", f"{row['measured']:.2%}", f"{row['off']:+.2%}")
        mark = "" if row.get("within", True) else "!"
        table.add_row(row["network"], row["kind"], *figures, mark)
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
