"""What reading images costs a step of training, beside the bare network and PNGs decoded anew.

    python benchmarks/pipeline.py --images FOLDER [--device cuda] [--out FILE]

The images are put together to mosaics as large as those of DIV2K (2040x1356), written as PNG with
their x2 reductions, and read in three ways: from the memory-mapped cache by `Batches`, by decoding
both PNG files of every sample, and not at all (one batch for every step). A step is that of
EDSR-baseline x2 with Adam and L1 on 16 patches of 48x48. All are measured in turns, some rounds
over.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torch.nn import functional

from prunekit.data.cache import Cache
from prunekit.data.folders import images_in
from prunekit.data.image import read_image
from prunekit.data.loader import Batches
from prunekit.data.pairs import Folder, ImagePair, load_pairs
from prunekit.data.patches import Patches
from prunekit.data.resize import downscale
from prunekit.measure.environment import environment
from prunekit.nets import EDSR
from prunekit.progress import Silent

HERE = Path(__file__).resolve().parent
BATCH, PATCH, SCALE, SEED = 16, 48, 2, 0
HEIGHT, WIDTH = 1356, 2040
WARMUP = 1


@dataclass(frozen=True)
class Settings:
    """What is measured, and how often."""

    device: str
    threads: int
    workers: int  # of the loader beside the network
    steps: int  # of the network a round
    batches: int  # of the loader alone a round
    decoded: int  # batches decoded from PNG a round
    rounds: int
    mosaics: int
    half: bool  # bfloat16 and channels_last


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, required=True, help="folder of PNG images")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batches", type=int, default=100)
    parser.add_argument("--decoded", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mosaics", type=int, default=12)
    parser.add_argument("--half", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "pipeline.json")
    given = vars(parser.parse_args())
    images, out = given.pop("images"), given.pop("out")
    settings = Settings(**given)
    torch.set_num_threads(settings.threads)
    with tempfile.TemporaryDirectory() as folder:
        write_mosaics(images, Path(folder), settings.mosaics)
        content = measure(Path(folder), settings)
    out.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content["figures"], indent=1))


def write_mosaics(images: Path, folder: Path, count: int) -> None:
    """Fill large images with small ones, each other ones, and reduce them."""
    tiles = [read_image(path) for path in images_in(images).values()]
    for kind in ("HR", "LR"):
        (folder / kind).mkdir()
    rng = np.random.default_rng(SEED)
    for number in range(count):
        mosaic = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for top in range(0, HEIGHT, 339):
            for left in range(0, WIDTH, 510):
                tile = tiles[int(rng.integers(len(tiles)))][: HEIGHT - top, : WIDTH - left]
                mosaic[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
        PIL.Image.fromarray(mosaic).save(folder / "HR" / f"{number}.png")
        reduced = downscale(mosaic, SCALE)
        PIL.Image.fromarray(reduced).save(folder / "LR" / f"{number}x{SCALE}.png")


def measure(folder: Path, settings: Settings) -> dict[str, object]:
    """Take every figure in turns."""
    source = Folder(folder / "HR", lr=folder / "LR")
    cache = Cache(folder / "cache")
    started = time.perf_counter()
    load_pairs(source, SCALE, progress=Silent(), cache=cache)
    decoding = time.perf_counter() - started
    started = time.perf_counter()
    pairs = load_pairs(source, SCALE, progress=Silent(), cache=cache)
    again = time.perf_counter() - started
    patches = Patches(pairs, PATCH, SEED)
    train = Training(settings)
    samples: dict[str, list[Taken]] = {}
    for round_ in range(settings.rounds + 1):
        taken = {
            "network": train.bare(patches),
            **train.fed(patches, "loader, in the process", workers=0),
            **train.fed(patches, "loader, in workers", workers=settings.workers),
            "loader alone, in the process": alone(patches, settings.batches, 0),
            "loader alone, in workers": alone(patches, settings.batches, settings.workers),
            "PNG decoded": decoded(folder, settings.decoded),
        }
        for name, cost in taken.items() if round_ else ():  # the first round warms up
            samples.setdefault(name, []).append(cost)
    return {
        "what": " ".join((__doc__ or "").split()),
        "settings": asdict(settings),
        "environment": {**environment(), "load": os.getloadavg()},
        "figures": figures(samples),
        "decoding_to_the_cache": {
            "images": settings.mosaics,
            "first_seconds": round(decoding, 3),
            "again_seconds": round(again, 4),
        },
        "seconds_a_batch": {
            name: spread([cost.wall for cost in costs]) for name, costs in samples.items()
        },
        "processor_seconds_a_batch": {
            name: spread([cost.processor for cost in costs]) for name, costs in samples.items()
        },
    }


@dataclass(frozen=True)
class Taken:
    """Seconds a batch, on the wall and of all processors, worker processes included."""

    wall: float
    processor: float


class Stopwatch:
    """What was taken since it was made."""

    def __init__(self) -> None:
        self._wall, self._processor = time.perf_counter(), _processor_seconds()

    def taken(self, count: int) -> Taken:
        """Share what was taken out to so many batches."""
        wall, processor = time.perf_counter() - self._wall, _processor_seconds() - self._processor
        return Taken(wall / count, processor / count)


def _processor_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


class Training:
    """Steps of EDSR-baseline, with a batch that is always there or with those of a loader."""

    def __init__(self, settings: Settings) -> None:
        torch.manual_seed(SEED)
        self.settings = settings
        self.device = torch.device(settings.device)
        self.model = EDSR(SCALE, 64, 16).to(self.device)
        if settings.half:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.adam = torch.optim.Adam(self.model.parameters(), lr=1e-4)

    def bare(self, patches: Patches) -> Taken:
        """Take steps on one batch."""
        lr, hr = (t.to(self.device) for t in patches.sample(0, range(BATCH)))
        self._finish()
        watch = Stopwatch()
        for _ in range(self.settings.steps):
            self._step(lr, hr)
        self._finish()
        return watch.taken(self.settings.steps)

    def fed(self, patches: Patches, name: str, *, workers: int) -> dict[str, Taken]:
        """Take steps on new batches, and tell how much of them was spent waiting."""
        cuda = self.device.type == "cuda"
        steps = range(WARMUP + self.settings.steps)
        batches = iter(Batches(patches, range(BATCH), steps, workers=workers, pin_memory=cuda))
        waited, watch = 0.0, Stopwatch()
        for step in steps:
            if step == WARMUP:
                self._finish()
                waited, watch = 0.0, Stopwatch()
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            self._step(*(t.to(self.device, non_blocking=True) for t in (batch.lr, batch.hr)))
        self._finish()
        list(batches)  # ends the workers, which counts what they took
        count = self.settings.steps
        return {
            f"network and {name}": watch.taken(count),
            f"waiting for {name}": Taken(waited / count, 0.0),
        }

    def _step(self, lr: Tensor, hr: Tensor) -> None:
        if self.settings.half:
            lr = lr.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.half):
            loss = functional.l1_loss(self.model(lr), hr)
        loss.backward()
        self.adam.step()
        self.adam.zero_grad()

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def alone(patches: Patches, count: int, workers: int) -> Taken:
    """Take batches of the loader with nothing beside it, once it is going."""
    batches = iter(Batches(patches, range(BATCH), range(count + 5), workers=workers))
    for _ in range(5):
        next(batches)
    watch = Stopwatch()
    for _ in batches:
        pass
    return watch.taken(count)


def decoded(folder: Path, count: int) -> Taken:
    """Cut batches from files that are decoded for every sample."""
    names = list(images_in(folder / "HR"))
    rng = np.random.default_rng(SEED)
    watch = Stopwatch()
    for step in range(count):
        for index in range(BATCH):
            name = names[int(rng.integers(len(names)))]
            lr = read_image(folder / "LR" / f"{name}x{SCALE}.png")
            hr = read_image(folder / "HR" / f"{name}.png")
            Patches([ImagePair(name, lr, hr)], PATCH, SEED).sample(step, [index])
    return watch.taken(count)


def spread(times: list[float]) -> dict[str, float]:
    """Median, least and largest, to the microsecond."""
    summaries = (("median", statistics.median), ("min", min), ("max", max))
    return {name: round(summary(times), 6) for name, summary in summaries}


def figures(samples: dict[str, list[Taken]]) -> dict[str, object]:
    """State medians as images a second, and what the loader costs of a step.

    Where other work shares the processors, the walls of two measurements tell little of their
    difference; processor seconds and the time spent waiting in a step still do.
    """
    wall = {n: statistics.median(cost.wall for cost in costs) for n, costs in samples.items()}
    busy = {n: statistics.median(cost.processor for cost in costs) for n, costs in samples.items()}
    ways = ("loader, in the process", "loader, in workers")
    network, loader, png = (
        busy[name] for name in ("network", "loader alone, in the process", "PNG decoded")
    )
    return {
        "images_per_second": {
            name: round(BATCH / taken, 2)
            for name, taken in wall.items()
            if not name.startswith("waiting")
        },
        "waiting_share_of_a_step": {
            way: round(wall[f"waiting for {way}"] / wall[f"network and {way}"], 5) for way in ways
        },
        "processor_time_share_of_a_step": {
            "loader": round(loader / (network + loader), 5),
            "PNG decoded": round(png / (network + png), 5),
        },
        "wall_beside_the_network_alone": {
            way: round(wall[f"network and {way}"] / wall["network"] - 1, 4) for way in ways
        },
        "loader_faster_than_decoding_png": round(png / loader, 1),
    }


if __name__ == "__main__":
    main()
