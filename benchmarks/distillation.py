"""Fine-tune half of a trained EDSR with and without a teacher, at an equal budget of steps.

    python -m benchmarks.distillation [--full] [--seeds 0 1 2] [--json FILE] [--fresh]

Half of the multiply-accumulates leave the compact EDSR x2 that comes with prunekit; with `--full`
EDSR-baseline x2, whose weights are named by `--weights`, on a GPU. All arms begin with that one
slim network and take as many steps, with the same patches for the same seed; they differ in what is
added to the L1 loss to HR, where the dense network is the teacher:

* `none`: nothing
* `l1`: the L1 distance of outputs
* `laplacian`: the distance of their Laplacian pyramids (CDISM), without the L1 distance
* `features`: the distance of feature affinities (FAKD), likewise; its authors add those of outputs
* `cached`: as `l1`, from a teacher that ran once over whole images (`cache_teacher`)

The weights of the terms are in `terms`; they are those of the README, and were not tuned. A seed
decides which patches are seen, and nothing else.

* `psnr_y`: dB on Y of BT.601 of 8-bit images, 2 pixels cut off every side, mean over the images of
  a set, LR by MATLAB's bicubic; mean, least and largest of the seeds. `gain` is that over `none`
  with the same seed
* `processor_seconds`: of one training, on so many threads; `teacher_seconds` is the part of it that
  the cached teacher takes beforehand, which later trainings on the same images are spared

Training images are those of `--images`, else `train/DIV2K_testLRx4` of the data folder (`--full`:
`train/BSDS500_train`), else the photographs of the quickstart. Set5 and Set14 are looked for in the
data folder: `$PRUNEKIT_DATA`, then `../shared/data`. With `--json` a run that was stopped goes on
with the arms and seeds that are missing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import prunekit
from benchmarks.children import Job, Row
from benchmarks.quickstart import RECIPE, spread
from benchmarks.trained_networks import data_folder
from prunekit.data.cache import Cache
from prunekit.data.pairs import Folder, ImagePair, ImageSource, Photographs, load_pairs
from prunekit.files import write_atomic
from prunekit.graph import clone_model
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import evaluate, evaluate_bicubic
from prunekit.measure.protocol import PROTOCOLS
from prunekit.pipeline.build import build_network
from prunekit.progress import Silent
from prunekit.recipe import ModelSection, load_recipe
from prunekit.train.loop import Session, finetune
from prunekit.train.matching import find_matches
from prunekit.train.options import Distill, TrainOptions

SCALE = 2
SETS = ("Set5", "Set14")
PRUNE = {"method": "filter", "target": {"macs_ratio": 0.5}, "criterion": "l2", "round_to": 8}
BASELINE = "edsr_baseline_x2"
CODE = Job(
    (),
    (
        *(f"prunekit/{part}" for part in ("data", "graph", "measure", "methods", "nets", "plan")),
        *(f"prunekit/{part}" for part in ("score", "surgery", "train")),
        "benchmarks/distillation.py",
    ),
)
"""Rows of other sources are stale."""

ARMS: Mapping[str, Distill | None] = {
    "none": None,
    "l1": Distill(1.0),
    "laplacian": Distill(0.0, laplacian=0.1),
    "features": Distill(0.0, features=0.5, matches=2),
    "cached": Distill(1.0, cache_teacher=True),
}


@dataclass(frozen=True)
class Settings:
    """What all arms have in common."""

    network: str
    images: str
    """Name of the folder that is trained on."""
    steps: int
    batch_size: int
    patch_size: int
    learning_rate: float
    warmup: int
    device: str
    threads: int

    def options(self, distill: Distill | None) -> TrainOptions:
        """Of one arm."""
        return TrainOptions(
            steps=self.steps,
            batch_size=self.batch_size,
            patch_size=self.patch_size,
            learning_rate=self.learning_rate,
            warmup=min(self.warmup, self.steps - 1),
            distill=distill,
        )


SMALL = partial(
    Settings,
    network="edsr_x2_compact",
    batch_size=8,
    patch_size=32,
    learning_rate=4e-4,
    warmup=20,
    device="cpu",
)
FULL = partial(
    Settings,
    network=BASELINE,
    batch_size=16,
    patch_size=48,
    learning_rate=2e-4,
    warmup=200,
    device="cuda",
)


@dataclass(frozen=True)
class Bench:
    """The networks and images that all arms share."""

    settings: Settings
    dense: nn.Module
    slim: nn.Module
    matches: tuple[str, ...]
    training: Sequence[ImagePair]
    held_out: Mapping[str, Sequence[ImagePair]]

    def psnr_y(self, model: nn.Module) -> dict[str, float]:
        """Mean in dB over every set."""
        found = {
            name: evaluate(model, pairs, PROTOCOLS["y"], progress=Silent()).psnr
            for name, pairs in self.held_out.items()
        }
        return {name: round(value, 4) for name, value in found.items()}

    def run(self, arm: str, seed: int) -> Row:
        """Train one arm with one seed."""
        clock, model = Clock(), clone_model(self.slim)
        started, processor = time.perf_counter(), time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            curve = finetune(
                model,
                self.training,
                self.settings.options(ARMS[arm]),
                teacher=None if ARMS[arm] is None else self.dense,
                seed=seed,
                device=torch.device(self.settings.device),
                progress=clock,
                session=Session(matches=self.matches, cache=Cache(Path(folder))),
            )
        return {
            "name": row_name(arm, seed),
            "arm": arm,
            "seed": seed,
            "code": CODE.code,
            "settings": asdict(self.settings),
            "seconds": round(time.perf_counter() - started, 1),
            "processor_seconds": round(time.process_time() - processor, 1),
            "teacher_seconds": round(clock.seconds, 1),
            "loss": [round(curve.loss[0], 5), round(curve.loss[-1], 5)],
            "psnr_y": self.psnr_y(model),
        }


class Clock(Silent):
    """Processor seconds that the cached teacher takes."""

    def __init__(self) -> None:
        self.seconds, self._began = 0.0, None

    def start(self, stage: str, total: int | None = None) -> None:  # noqa: ARG002
        """Note when the teacher begins."""
        self._began = time.process_time() if stage == "run the teacher" else None

    def finish(self, note: str = "") -> None:  # noqa: ARG002
        """Add what it took."""
        if self._began is not None:
            self.seconds += time.process_time() - self._began


def main() -> None:
    """Train what is missing, and show all of it."""
    options = parse_options()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    why = obstacle(options)
    if why:
        print(f"skipped: {why}")
        return
    source = training_images(options)
    chosen = {"steps": options.steps, "images": shown(source), "threads": options.threads}
    settings = (FULL if options.full else SMALL)(**chosen)
    rows = {} if options.fresh else earlier(options.json, settings)
    bench = prepare(settings, source, options.weights)
    content = {"convention": __doc__, "environment": environment(), "settings": asdict(settings)}
    content |= {"terms": {arm: term and asdict(term) for arm, term in ARMS.items()}}
    content |= {"seeds": options.seeds, "references": references(bench)}
    for seed in options.seeds:
        for arm in ARMS:
            name = row_name(arm, seed)
            if name not in rows:
                rows[name] = bench.run(arm, seed)
                print(name, rows[name]["psnr_y"], f"{rows[name]['seconds']} s", flush=True)
            found = {"summary": summary(rows, options.seeds), "runs": list(rows.values())}
            if options.json:
                write_atomic(options.json, json.dumps({**content, **found}, indent=1) + "\n")
    show(content["references"], summary(rows, options.seeds))


def parse_options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--full", action="store_true", help="EDSR-baseline, on a GPU")
    parser.add_argument("--weights", type=Path, help="of EDSR-baseline x2, for --full")
    parser.add_argument("--images", type=Path, help="folder of HR images to train on")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="of every arm; 600, with --full 20000")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="train again what the file has")
    options = parser.parse_args()
    options.steps = options.steps or (20_000 if options.full else 600)
    if options.weights is None:
        options.weights = data_folder() / "weights" / f"{BASELINE}.safetensors"
    return options


def obstacle(options: argparse.Namespace) -> str | None:
    """Why nothing can be measured here; None if it can."""
    if not set_folder("Set5").is_dir():
        return f"there is no Set5 in {data_folder()}; name its folder in PRUNEKIT_DATA"
    if options.full and not torch.cuda.is_available():
        return "--full needs a GPU, and there is none; leave it out"
    if options.full and not options.weights.is_file():
        return f"there are no weights of EDSR-baseline in {options.weights}; name them by --weights"
    return None


def set_folder(name: str) -> Path:
    """Where the HR images of a benchmark are."""
    return data_folder() / "benchmarks" / name / "HR"


def training_images(options: argparse.Namespace) -> ImageSource:
    """Those that are named, else those of the data folder, else those of the quickstart."""
    own = "BSDS500_train" if options.full else "DIV2K_testLRx4"
    folder = options.images or data_folder() / "train" / own
    if options.images or folder.is_dir():
        return Folder(folder)
    data = load_recipe(RECIPE).data
    assert data is not None
    assert data.train is not None
    return Photographs(data.train.names)


def shown(source: ImageSource) -> str:
    """Name images, not where they are."""
    return source.path.name if isinstance(source, Folder) else "photographs of scikit-image"


def earlier(path: Path | None, settings: Settings) -> dict[str, Row]:
    """Rows of an earlier run, by name, of the same sources and settings."""
    if path is None or not path.exists():
        return {}
    rows = json.loads(path.read_text())["runs"]
    mine = (CODE.code, asdict(settings))
    return {row["name"]: row for row in rows if (row["code"], row["settings"]) == mine}


def row_name(arm: str, seed: int) -> str:
    """What a run is found by."""
    return f"{arm}, seed {seed}"


def prepare(settings: Settings, source: ImageSource, weights: Path) -> Bench:
    """Prune the network and read the images."""
    of_file = weights if settings.network == BASELINE else None
    dense = build_network(ModelSection(network=settings.network, weights=of_file))
    image = torch.rand(1, 3, 48, 48, generator=torch.Generator().manual_seed(0))
    slim = prunekit.prune(dense, {"prune": PRUNE}, image).model
    distill = ARMS["features"]
    assert distill is not None
    matches = find_matches(prunekit.trace(dense, image), distill.matches)
    read = partial(load_pairs, scale=SCALE, progress=Silent())
    sets = [name for name in SETS if set_folder(name).is_dir()]
    return Bench(
        settings=settings,
        dense=dense.to(settings.device),
        slim=slim.to(settings.device),
        matches=matches,
        training=read(source),
        held_out={name: read(Folder(set_folder(name))) for name in sets},
    )


def references(bench: Bench) -> Row:
    """What the arms lie between, in dB."""
    networks = {"dense": bench.dense, "slim before fine-tuning": bench.slim}
    found = {
        name: {
            "params": sum(p.numel() for p in model.parameters()),
            "psnr_y": bench.psnr_y(model),
        }
        for name, model in networks.items()
    }
    bicubic = {
        name: round(evaluate_bicubic(pairs, PROTOCOLS["y"]).psnr, 4)
        for name, pairs in bench.held_out.items()
    }
    return {**found, "bicubic": {"psnr_y": bicubic}}


def summary(rows: Mapping[str, Row], seeds: Sequence[int]) -> dict[str, Any]:
    """Every arm over the seeds for which there is a row, and for the gain one of `none`, too."""
    table: dict[str, Any] = {}
    for arm in ARMS:
        found = [rows[row_name(arm, seed)] for seed in seeds if row_name(arm, seed) in rows]
        if not found:
            continue
        table[arm] = {
            "psnr_y": {name: spread([r["psnr_y"][name] for r in found]) for name in sets_of(found)},
            "gain": {name: spread(gains(rows, found, name)) for name in sets_of(found)},
            "processor_seconds": spread([row["processor_seconds"] for row in found]),
            "teacher_seconds": spread([row["teacher_seconds"] for row in found]),
        }
    return table


def sets_of(rows: Sequence[Row]) -> list[str]:
    """Names of the benchmarks that are in every row."""
    return [name for name in SETS if all(name in row["psnr_y"] for row in rows)]


def gains(rows: Mapping[str, Row], found: Sequence[Row], name: str) -> list[float]:
    """Of some rows over `none` with the same seed, in dB on one set."""
    plain = [rows.get(row_name("none", row["seed"])) for row in found]
    pairs = [(row, other) for row, other in zip(found, plain, strict=True) if other is not None]
    return [row["psnr_y"][name] - other["psnr_y"][name] for row, other in pairs]


def show(references_: Row, table: Mapping[str, Any]) -> None:
    """Print a line for each network and arm."""
    sets = list(references_["bicubic"]["psnr_y"])
    columns = [column for name in sets for column in (f"{name} PSNR-Y (dB)", "over none (dB)")]
    printed = Table("network", *columns, "processor (s)")
    for name, row in references_.items():
        printed.add_row(name, *(c for s in sets for c in (f"{row['psnr_y'][s]:.2f}", "")), "")
    for arm, row in table.items():
        cells = [
            cell
            for name in sets
            for cell in (ranged(row["psnr_y"][name]), ranged(row["gain"][name], sign="+"))
        ]
        printed.add_row(arm, *cells, f"{row['processor_seconds']['mean']:.0f}")
    Console().print(printed)


def ranged(values: Mapping[str, float] | None, sign: str = "") -> str:
    """Mean, and from where to where it goes."""
    if values is None:
        return ""
    least, largest = values["min"], values["max"]
    return f"{values['mean']:{sign}.3f} ({least:{sign}.3f} to {largest:{sign}.3f})"


if __name__ == "__main__":
    main()
