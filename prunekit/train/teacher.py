"""A teacher that runs once, over whole images, and whose outputs are kept."""

from __future__ import annotations

__all__ = ["run_once"]

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import nn

from prunekit.data.cache import Cache, Output
from prunekit.data.outputs import StoredOutput, StoredOutputs
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.patches import to_batch
from prunekit.errors import MeasureError, TrainError
from prunekit.graph import fingerprint
from prunekit.measure.infer import infer
from prunekit.measure.mode import placement
from prunekit.measure.tiles import find_reach, infer_tiled, tiles
from prunekit.progress import Progress
from prunekit.train.distill import computing_in
from prunekit.train.options import Precision
from prunekit.train.processes import Processes
from prunekit.train.randomness import own_generators
from prunekit.train.state import content_of

_TILE = 256
"""Pixels of LR a side that are enlarged at once, if the teacher does not look further than that."""

_PROBE = 96
"""Side of the noise that tells teachers of the same weights from one another."""


def run_once(
    teacher: nn.Module,
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    cache: Cache,
    *,
    precision: Precision,
    processes: Processes,
    progress: Progress,
) -> StoredOutputs:
    """Run a teacher over every LR image, unless the cache has what it makes of it.

    An output is found by the content of the image, its scale, and what makes the teacher: class,
    weights, precision, kind of device, and what it makes of some noise, where all that weights do
    not tell shows. It appears whole or not at all, so work that is cut short goes on where it was.
    Several processes begin at different images, and end with all of them.

    Raises:
        TrainError: the teacher gives no usable image, or no image of the size of HR.
        CacheError: the cache cannot be written.
    """
    run = _Run(teacher, precision)
    # Of the first process, since rounding may differ from one device to the next.
    identity = processes.gathered(run.identity())[0]
    start = processes.index * len(pairs) // processes.count
    stored: dict[int, StoredOutput] = {}
    made = 0
    progress.start("run the teacher", len(pairs))
    for index in (*range(start, len(pairs)), *range(start)):
        pair = pairs[index]
        assert isinstance(pair, ImagePair)
        path = cache.output_path({**identity, **_facts(pair)})
        if cache.read_output(path) is None:
            cache.write_output(path, run.enlarge(pair))
            made += 1
        else:
            cache.mark_used(path)
        stored[index] = StoredOutput(pair.name, path)
        progress.advance()
    progress.finish(f"{len(pairs)} images, {made} of them new")
    used = [each.path for each in stored.values()]
    cache.keep_limit(used, "the outputs of the teacher", progress=progress)
    return StoredOutputs(cache, [stored[index] for index in range(len(pairs))])


@dataclass(frozen=True)
class _Run:
    """A teacher, and what it computes in."""

    teacher: nn.Module
    precision: Precision

    def identity(self) -> dict[str, str]:
        """All that its outputs depend on beside the image."""
        content = hashlib.sha256()
        for part in content_of(self.teacher):
            content.update(part.data)
        device, dtype = placement(self.teacher)
        noise = torch.rand(1, 3, _PROBE, _PROBE, generator=torch.Generator().manual_seed(0))
        with self._ready("noise"):
            probe = infer(self.teacher, noise.to(device, dtype)).float().cpu().numpy()
        return {
            "class": fingerprint(self.teacher),
            "weights": content.hexdigest(),
            "probe": hashlib.sha256(probe.tobytes()).hexdigest(),
            "precision": self.precision,
            "device": device.type,
        }

    def enlarge(self, pair: ImagePair) -> Output:
        """Enlarge a whole image, in tiles if it is large and the teacher's reach is known."""
        height, width = pair.lr.shape[:2]
        large = max(height, width) > _TILE
        size, overlap = self._tiling if large else (0, 0)
        cut = tiles(height, width, size=size, overlap=overlap)
        with self._ready(f"image '{pair.name}'"):
            sr = infer_tiled(self.teacher, to_batch([pair.lr]), cut)
        whole = np.ascontiguousarray(sr[0].numpy().transpose(1, 2, 0))
        _check(whole, pair)
        return whole.astype(np.float16)

    @cached_property
    def _tiling(self) -> tuple[int, int]:
        """Side of the tiles and their overlap; no tiles for a teacher that looks everywhere."""
        with self._ready("noise"):
            reach = find_reach(self.teacher)
        return (0, 0) if reach is None else (_TILE, reach)

    @contextmanager
    def _ready(self, what: str) -> Iterator[None]:
        """Draw the same numbers for every image, and leave the training's generators alone."""
        device, _ = placement(self.teacher)
        try:
            with own_generators(0, device), computing_in(self.precision, device):
                yield
        except MeasureError as error:
            message = f"distill.cache_teacher, {what}: {error}, or leave cache_teacher out"
            raise TrainError(message) from error


def _facts(pair: ImagePair) -> Mapping[str, object]:
    """Tell the content of an image from that of any other."""
    lr = np.ascontiguousarray(pair.lr)
    return {
        "scale": pair.scale,
        "shape": lr.shape,
        "dtype": lr.dtype.name,
        "image": hashlib.sha256(lr.data).hexdigest(),
    }


def _check(sr: np.ndarray[tuple[int, ...], np.dtype[np.float32]], pair: ImagePair) -> None:
    """Refuse what does not lie over HR, or 16 bits cannot hold."""
    if sr.shape != pair.hr.shape:
        (height, width, _), (rows, columns, _) = sr.shape, pair.hr.shape
        message = (
            f"the teacher turns image '{pair.name}' into {width}x{height} pixels where HR has "
            f"{columns}x{rows}; take a teacher of scale {pair.scale}"
        )
        raise TrainError(message)
    largest = float(np.abs(sr).max())
    if largest > float(np.finfo(np.float16).max):
        message = (
            f"the teacher makes pixels of {largest:.1e} of image '{pair.name}' where white is 1, "
            "too large to be kept; wrap it so that it gives images of 0 to 1"
        )
        raise TrainError(message)
