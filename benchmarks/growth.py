"""How the seconds of tracing grow with depth and width: a line for each, and its exponent.

python -m benchmarks.growth [--json FILE] [--plot FILE] [--repeats 3] [--points 6]

EDSR of 64 channels with 16 to 512 residual blocks, and of 16 blocks with 32 to 1024 channels; and
RRDBNet, the network of ESRGAN, at its full size of 23 blocks. Images of 48 x 48, one thread, random
weights. Each point is the median of some repeats after one that is not counted; `record` runs the
network on fake tensors, `solve` is all the rest. The exponent is the slope of a straight line
through the logarithms: 1 is linear growth.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.timing import timed_trace
from prunekit.files import write_atomic
from prunekit.measure.environment import environment
from prunekit.nets import EDSR

HERE = Path(__file__).resolve().parent
DEPTHS = (16, 32, 64, 128, 256, 512)
WIDTHS = (32, 64, 128, 256, 512, 1024)
Point = dict[str, Any]


def main() -> None:
    """Measure, fit, write, draw."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=HERE / "results" / "growth.json")
    parser.add_argument("--plot", type=Path, default=HERE / "results" / "growth.svg")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--points", type=int, default=len(DEPTHS), help="of each line")
    options = parser.parse_args()
    torch.set_num_threads(1)
    content = {
        "convention": __doc__,
        "environment": environment(),
        "repeats": options.repeats,
        "depth": line("blocks", DEPTHS[: options.points], deep, options.repeats),
        "width": line("channels", WIDTHS[: options.points], wide, options.repeats),
        "rrdbnet": measured(RRDBNet(), options.repeats),
    }
    write_atomic(options.json, json.dumps(content, indent=1) + "\n")
    draw(content, options.plot)
    show(content)


def deep(blocks: int) -> nn.Module:
    """EDSR of 64 channels."""
    return EDSR(scale=4, channels=64, blocks=blocks)


def wide(channels: int) -> nn.Module:
    """EDSR of 16 blocks."""
    return EDSR(scale=4, channels=channels, blocks=16)


def line(
    what: str, values: Sequence[int], build: Callable[[int], nn.Module], repeats: int
) -> Point:
    """Points, and the exponents of their growth."""
    points = [{what: value, **measured(build(value), repeats)} for value in track(values, what)]
    exponents = {
        part: round(exponent(values, [p["seconds"][part]["median"] for p in points]), 3)
        for part in ("trace", "record", "solve")
    }
    return {"points": points, "exponents": exponents}


def measured(model: nn.Module, repeats: int) -> Point:
    """Seconds of one network, with their spread."""
    inputs = torch.zeros(1, 3, 48, 48)
    timed_trace(model, inputs, repeats=1, enough=0)  # what torch sets up once is not counted
    timed = timed_trace(model, inputs, repeats=repeats, enough=math.inf)
    return {
        "params": sum(p.numel() for p in model.parameters()),
        "operators": timed.graph.operators,
        "groups": len(timed.graph.groups),
        "units": sum(group.width for group in timed.graph.groups),
        "seconds": timed.figures(),
    }


def exponent(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Slope of the straight line through the logarithms, by least squares."""
    xs, ys = [math.log(x) for x in sizes], [math.log(y) for y in values]
    middle = sum(xs) / len(xs)
    spread = sum((x - middle) ** 2 for x in xs)
    return sum((x - middle) * y for x, y in zip(xs, ys, strict=True)) / spread


def draw(content: Point, path: Path) -> None:
    """Two panels, logarithmic both ways."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for panel, name, what in zip(panels, ("depth", "width"), ("blocks", "channels"), strict=True):
        points, exponents = content[name]["points"], content[name]["exponents"]
        for part in ("trace", "record", "solve"):
            times = [p["seconds"][part]["median"] for p in points]
            label = f"{part}, exponent {exponents[part]:.2f}"
            panel.loglog([p[what] for p in points], times, marker="o", label=label)
        fixed = "64 channels" if name == "depth" else "16 blocks"
        panel.set(xlabel=what, title=f"EDSR, {fixed}")
        panel.grid(visible=True, which="major", alpha=0.3)
        panel.legend(frameon=False)
    panels[0].set_ylabel("seconds, one thread")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


def show(content: Point) -> None:
    """Print what was measured."""
    table = Table("network", "operators", "units", "record s", "solve s", "trace s")
    rows = [(f"EDSR {p['blocks']} blocks", p) for p in content["depth"]["points"]]
    rows += [(f"EDSR {p['channels']} channels", p) for p in content["width"]["points"]]
    rows.append(("RRDBNet 23 blocks", content["rrdbnet"]))
    for name, point in rows:
        times = [f"{point['seconds'][p]['median']:.3f}" for p in ("record", "solve", "trace")]
        table.add_row(name, str(point["operators"]), str(point["units"]), *times)
    console = Console()
    console.print(table)
    for name in ("depth", "width"):
        console.print(f"{name}: exponents {content[name]['exponents']}", highlight=False)


class RRDBNet(nn.Module):
    """Residual-in-residual dense blocks (Wang et al., ESRGAN, ECCV Workshops 2018)."""

    def __init__(self, channels: int = 64, growth: int = 32, blocks: int = 23) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(_Residual(channels, growth) for _ in range(blocks)))
        self.join = nn.Conv2d(channels, channels, 3, padding=1)
        self.up = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.last = nn.Conv2d(channels, channels, 3, padding=1)
        self.tail = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Four times larger."""
        features: Tensor = self.head(lr)
        features = features + self.join(self.body(features))
        for up in self.up:
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = F.leaky_relu(up(larger), 0.2)
        sr: Tensor = self.tail(F.leaky_relu(self.last(features), 0.2))
        return sr


class _Residual(nn.Module):
    """Three dense blocks inside a residual connection."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(_Dense(channels, growth) for _ in range(3)))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = x + 0.2 * self.blocks(x)
        return result


class _Dense(nn.Module):
    """Five convolutions, each reading all that came before."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        makes = (growth, growth, growth, growth, channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(channels + number * growth, out, 3, padding=1)
            for number, out in enumerate(makes)
        )

    def forward(self, x: Tensor) -> Tensor:
        known = x
        *grow, last = self.convs
        for conv in grow:
            known = torch.cat([known, F.leaky_relu(conv(known), 0.2)], 1)
        result: Tensor = x + 0.2 * last(known)
        return result


if __name__ == "__main__":
    main()
