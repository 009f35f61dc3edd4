"""Set weights of trained networks to zero, fine-tune shortly, and measure images and files.

python benchmarks/unstructured.py [--data ../shared/data] [--networks imdn_x2 edsr_x2_compact]
    [--cases half 2:4 ...] [--steps 1000] [--batch 16] [--patch 48] [--sets Set5 BSD100]
    [--out benchmarks/results/unstructured.json]

The file is compared with that of the same network in float32 without masks. That a pattern holds is
counted afresh, from the file that was written and loaded again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

from torch import nn

import prunekit
from prunekit.measure.environment import environment
from prunekit.nets import create
from prunekit.pipeline.build import build_network
from prunekit.recipe import ModelSection

HERE = Path(__file__).resolve().parent

CASES = {
    "40 %": {"target": {"sparsity": "40%"}},
    "45 %": {"target": {"sparsity": "45%"}},
    "half": {"target": {"sparsity": "50%"}},
    "half, global": {"target": {"sparsity": "50%"}, "allocation": "global"},
    "half, gradual": {"target": {"sparsity": "50%"}, "gradual": {"every": 10}},
    "half, shrink": {"target": {"sparsity": "50%"}, "shrink": {}},
    "80 %": {"target": {"sparsity": "80%"}},
    "80 %, gradual, global": {
        "target": {"sparsity": "80%"},
        "allocation": "global",
        "gradual": {"every": 10},
    },
    "80 %, shrink": {"target": {"sparsity": "80%"}, "shrink": {}},
    "2:4": {"target": {"pattern": "2:4"}},
}


def main() -> None:
    """Run every case on every network, and write what comes of it after each."""
    options = arguments()
    rows: list[dict[str, object]] = []
    for network in options.networks:
        for case in options.cases:
            rows.append(measured(network, case, options))
            print(line(rows[-1]), flush=True)
            content = {
                "settings": {k: str(v) for k, v in vars(options).items() if k != "out"},
                "environment": environment(),
                "rows": rows,
            }
            options.out.write_text(json.dumps(content, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--data", type=Path, default=HERE.parent.parent / "shared" / "data")
    parser.add_argument("--networks", nargs="+", default=["imdn_x2", "edsr_x2_compact"])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--sets", nargs="+", default=["Set5", "BSD100"])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "unstructured.json")
    return parser.parse_args()


def measured(network: str, case: str, options: argparse.Namespace) -> dict[str, object]:
    """Prune and fine-tune, and measure before and after on every set."""
    started = time.perf_counter()
    dense = opened(network, options.data)
    section = {"method": "unstructured", **CASES[case]}
    for course in ("gradual", "shrink"):
        if course in section:
            section[course] = {**section[course], "until": max(1, options.steps * 7 // 10)}
    train = {
        "steps": options.steps,
        "batch_size": options.batch,
        "patch_size": options.patch,
        "learning_rate": options.learning_rate,
    }
    images = {"train": {"folder": str(options.data / "train" / "BSDS500_train"), "cache": False}}
    before = None
    if not {"gradual", "shrink"} & section.keys():
        before = prunekit.prune(dense, {"prune": section}).model
    result = prunekit.prune(dense, {"prune": section, "train": train, "data": images})
    with tempfile.TemporaryDirectory() as folder:
        saved = result.save(Path(folder) / "slim")
        written = (saved / "slim.safetensors").stat().st_size
        loaded = prunekit.load(saved, model=opened(network, options.data))
    sparsity = result.report.sparsity
    return {
        "network": network,
        "case": case,
        "zeros": sparsity.zeros,
        "weights": sparsity.weights,
        "file": written,
        "file_share": written / sparsity.files[0].bytes,
        "files": [vars(file) for file in sparsity.files],
        "blocks": blocks(loaded) if case == "2:4" else None,
        "psnr_y": {
            name: {
                "dense": psnr_y(dense, name, options.data),
                "before": None if before is None else psnr_y(before, name, options.data),
                "after": psnr_y(loaded, name, options.data),
            }
            for name in options.sets
        },
        "seconds": time.perf_counter() - started,
    }


def opened(network: str, data: Path) -> nn.Module:
    """A trained network: with the weights that it comes with, or those of the shared data."""
    weights = data / "weights" / f"{network}.safetensors"
    if not weights.is_file():
        return create(network)
    return build_network(ModelSection(network=network, weights=weights))


def psnr_y(model: nn.Module, name: str, data: Path) -> float:
    """On Y of BT.601, with a border of the scale, LR by MATLAB's bicubic."""
    return float(prunekit.evaluate(model, data / "benchmarks" / name / "HR").psnr)


def blocks(model: nn.Module) -> dict[str, int]:
    """Count, along the input dimension, blocks of four, and those with more than two weights."""
    found = {"layers": 0, "blocks": 0, "broken": 0, "layers_that_cannot": 0}
    for module in model.modules():
        if not isinstance(module, nn.Conv2d | nn.Linear):
            continue
        if module.weight.shape[1] % 4:
            found["layers_that_cannot"] += 1
            continue
        lines = module.weight.detach().movedim(1, -1).reshape(-1, 4)
        found["layers"] += 1
        found["blocks"] += len(lines)
        found["broken"] += int(((lines != 0).sum(1) > 2).sum())
    return found


def line(row: dict[str, object]) -> str:
    """One row for people."""
    quality = "; ".join(
        f"{name} {found['dense']:.2f} -> "
        + (f"{found['before']:.2f} -> " if found["before"] is not None else "")
        + f"{found['after']:.2f} dB ({found['after'] - found['dense']:+.2f})"
        for name, found in row["psnr_y"].items()
    )
    share = row["zeros"] / row["weights"]
    pattern = f", blocks {row['blocks']}" if row["blocks"] else ""
    return (
        f"{row['network']}, {row['case']}: {share:.1%} zero, file {row['file_share']:.1%}, "
        f"{quality}{pattern} ({row['seconds']:.0f} s)"
    )


if __name__ == "__main__":
    main()
