"""What half of the MACs is worth in time, with widths rounded and not.

python -m benchmarks.speedup [--image H W] [--repeats N] [--json FILE] [--fresh] [--device cpu]

* EDSR-baseline x2 and SRVGGNetCompact x4 (realesr_animevideov3), 50 % of the MACs removed by L2 on
  random weights from seed 0, allocation local; widths rounded to 16, 8 and 1
* `speedup`: time of the dense network over that of the slim one, medians of passes in turns;
  `macs`: MACs of the dense network over those of the slim one. `worth` is the one over the other:
  1 is as much time saved as MACs
* `spread_ms`: least and largest of each

Rows that are there already are not measured again, unless the code has changed.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.children import ENGINE, Job, Row, read_rows
from prunekit.files import write_atomic
from prunekit.graph import TraceOptions, trace
from prunekit.measure.cost import count_macs
from prunekit.measure.environment import environment
from prunekit.measure.latency import measure_latency
from prunekit.nets import create
from prunekit.pipeline import stages
from prunekit.progress import Silent
from prunekit.recipe import PruneSection

NETS = ("edsr_baseline_x2", "realesr_animevideov3_x4")
ROUNDINGS = (16, 8, 1)
SOURCES = (*ENGINE, "prunekit/plan", "prunekit/score", "prunekit/measure", "benchmarks/speedup.py")


def main() -> None:
    """Measure both networks with each rounding."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--image", nargs=2, type=int, default=(180, 320), help="height, width of LR"
    )
    parser.add_argument("--repeats", type=int, default=15, help="timed passes of each network")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    options = parser.parse_args()
    torch.set_num_threads(1)
    job = Job((options.device, *map(str, options.image), str(options.repeats)), SOURCES)
    names = {f"{net} round_to {r} {options.device}": (net, r) for net in NETS for r in ROUNDINGS}
    rows = {} if options.fresh else read_rows(options.json, dict.fromkeys(names, job))
    for name, (net, round_to) in names.items():
        if name not in rows:
            figures = measure(net, round_to, options)
            rows[name] = {"name": name, "code": job.code, **figures}
            if options.json:
                told = {"convention": __doc__, "seed": 0, "environment": environment()}
                told["networks"] = [rows[key] for key in sorted(rows)]
                write_atomic(options.json, json.dumps(told, indent=1) + "\n")
    show([rows[name] for name in names])


def measure(net: str, round_to: int, options: argparse.Namespace) -> Row:
    """Prune, rebuild, count and time."""
    torch.manual_seed(0)
    dense = create(net).eval().to(options.device)
    shape = (1, 3, *options.image)
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(options.device)
    small = image[..., :48, :48]
    section = PruneSection.model_validate(
        {
            "method": "filter",
            "target": {"macs_ratio": 0.5},
            "round_to": round_to,
            "min_width": min(8, round_to),
        }
    )
    slim = stages.prune(
        dense, trace(dense, small), section, small, TraceOptions(), seed=0, progress=Silent()
    ).model.eval()
    found = measure_latency(
        {"dense": dense, "slim": slim},
        input_shape=shape,
        repeats=options.repeats,
        warmup=3,
        progress=Silent(),
    )
    macs = count_macs(dense, (image,)) / count_macs(slim, (image,))
    speedup = found["dense"].median_ms / found["slim"].median_ms
    return {
        "network": net,
        "round_to": round_to,
        "image": list(shape),
        "device": found["dense"].device,
        "repeats": options.repeats,
        "macs": round(macs, 4),
        "speedup": round(speedup, 4),
        "worth": round(speedup / macs, 4),
        "spread_ms": {n: [round(t.min_ms, 2), round(t.max_ms, 2)] for n, t in found.items()},
    }


def show(rows: list[Row]) -> None:
    """Print a line for each."""
    table = Table("network", "round_to", "MACs", "speed-up", "worth", padding=0)
    for row in rows:
        figures = (f"{row['macs']:.2f}x", f"{row['speedup']:.2f}x", f"{row['worth']:.2f}")
        table.add_row(row["network"], str(row["round_to"]), *figures)
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
