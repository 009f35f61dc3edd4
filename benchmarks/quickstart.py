"""Run the quickstart recipe with several seeds and keep its figures: what the README quotes.

python benchmarks/quickstart.py [--seeds 1 2 3] [--out benchmarks/results/quickstart.json]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from statistics import mean

from prunekit.pipeline import run
from prunekit.progress import Silent
from prunekit.recipe import load_recipe

HERE = Path(__file__).resolve().parent
RECIPE = HERE.parent / "recipes" / "quickstart.yaml"


def main() -> None:
    """Run, gather, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--out", type=Path, default=HERE / "results" / "quickstart.json")
    options = parser.parse_args()
    runs = [run_once(seed) for seed in options.seeds]
    content = {
        "recipe": RECIPE.read_text(),
        "seeds": options.seeds,
        "convention": runs[0]["convention"],
        "environment": runs[0]["environment"],
        "summary": summary(runs),
        "runs": [{key: run[key] for key in ("entries", "proof", "seconds")} for run in runs],
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["summary"], indent=1))


def run_once(seed: int) -> dict[str, object]:
    """Return the JSON report of one run."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe(RECIPE, [f"seed={seed}", f"output={folder}"])
        done = run(recipe, progress=Silent())
        return json.loads((done.folder / "report.json").read_text())


def summary(runs: list[dict]) -> dict[str, object]:
    """Mean and spread over the seeds, by network."""
    table: dict[str, object] = {}
    for name in (entry["name"] for entry in runs[0]["entries"]):
        rows = [entry for run in runs for entry in run["entries"] if entry["name"] == name]
        table[name] = {
            "params": rows[0]["params"],
            "macs": rows[0]["macs"],
            "latency_ms": spread([row["latency"] and row["latency"]["median_ms"] for row in rows]),
            "psnr_y": spread([row["quality"]["psnr"] for row in rows]),
            "ssim_y": spread([row["quality"]["ssim"] for row in rows]),
        }
    return table


def spread(values: list[float | None]) -> dict[str, float] | None:
    """Mean, least and largest."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"mean": mean(known), "min": min(known), "max": max(known)}


if __name__ == "__main__":
    main()
