"""Open slim networks of uniform width in programs that tell an architecture by its weights.

python -m benchmarks.uniform_width [--json FILE]

spandrel is what chaiNNer and ComfyUI read super-resolution networks with. It is handed the slim
file as it was saved, with nothing beside it. Each network has random weights at its published size
and loses half of its multiply-accumulates, all widths in proportion but for those that spandrel
takes for fixed.
`local` is the same target without proportion, for comparison. `max_error` is between what spandrel
builds and the slim network, at 3 x 24 x 40.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

import prunekit
from benchmarks.architectures import matching
from benchmarks.architectures.entry import Architecture
from benchmarks.architectures.torchvision_ops import ensure_torchvision
from prunekit.files import write_atomic
from prunekit.measure.environment import environment

NETWORKS = {
    "spandrel/Compact": [],
    "spandrel/SPAN": ["conv_1 parameters"],  # twice the channels of the image
    "spandrel/ESRGAN": ["* hidden*"],  # spandrel takes the growth of dense blocks for 32
}
"""Networks, and groups whose widths spandrel does not tell by the weights."""
SHAPE = (1, 3, 24, 40)


def main() -> None:
    """Prune, save and read each network back."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    ensure_torchvision()
    rows = [
        opened(net, allocation)
        for net in matching(list(NETWORKS))
        for allocation in ("uniform", "local")
    ]
    show(rows)
    if options.json:
        content = {"convention": __doc__, "environment": environment(), "networks": rows}
        write_atomic(options.json, json.dumps(content, indent=1) + "\n")


def opened(net: Architecture, allocation: str) -> dict[str, Any]:
    """One network: its widths, and what spandrel makes of the slim file."""
    torch.manual_seed(0)
    model = net.build()
    target = {"macs_ratio": 0.5}
    section = {"target": target, "allocation": allocation, "protect": NETWORKS[net.name]}
    recipe = {"prune": {"method": "filter", **section}}
    result = prunekit.prune(model, recipe, net.example())
    widths = {group.name: [group.width, len(group.kept)] for group in result.plan.groups}
    row: dict[str, Any] = {
        "name": net.name,
        "allocation": allocation,
        "params": result.plan.params,
        "groups": widths,
    }
    with tempfile.TemporaryDirectory() as folder:
        file = result.save(Path(folder) / "run") / "slim.safetensors"
        return row | read_back(file, result.model)


def read_back(file: Path, slim: torch.nn.Module) -> dict[str, Any]:
    """What spandrel says, and how far what it builds is from the slim network."""
    from spandrel import ModelLoader  # noqa: PLC0415 (after torchvision is made importable)

    try:
        found = ModelLoader().load_from_file(file)
    except Exception as error:  # noqa: BLE001 - any failure of it is a result
        return {"opens": False, "why": f"{type(error).__name__}: {error}".splitlines()[0]}
    image = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        error = float((found.model.eval()(image) - slim.eval()(image)).abs().max())
    return {"opens": True, "architecture": found.architecture.name, "max_error": error}


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line for each."""
    table = Table("network", "allocation", "params", "spandrel says", "largest error")
    for row in rows:
        before, after = row["params"]
        says = row["architecture"] if row["opens"] else row["why"]
        error = f"{row['max_error']:.1e}" if row["opens"] else ""
        table.add_row(row["name"], row["allocation"], f"{before:,} -> {after:,}", says, error)
    Console().print(table)


if __name__ == "__main__":
    main()
