"""Random patches of image or clip pairs, the same ones for the same seed on every machine."""

from __future__ import annotations

__all__ = ["Patches", "Window", "to_batch", "without_small"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.data.cache import Output
from prunekit.data.image import Image
from prunekit.data.pairs import ClipPair, ImagePair, Pairs, PairT
from prunekit.errors import DataError
from prunekit.progress import Progress

_WHITE = {
    "uint8": np.float32(2**8 - 1),
    "uint16": np.float32(2**16 - 1),
    "float16": np.float32(1),
}

Pixels = NDArray[np.float32]
_Picture = NDArray[np.uint8 | np.uint16 | np.float16]


@dataclass(frozen=True)
class Window:
    """The frames of a clip that make one sample. Raises `DataError` for what cannot be cut."""

    frames: int  # that follow one another
    target: Literal["all", "centre"] = "all"  # frames of HR

    def __post_init__(self) -> None:
        if self.frames < 1 or (self.target == "centre" and self.frames % 2 == 0):
            message = (
                f"a sample of {self.frames} frames has no {'centre' if self.frames else 'frame'}; "
                "take an odd number of frames"
            )
            raise DataError(message)


@dataclass(frozen=True)
class _Cut:
    """Where a sample is, and how it is turned."""

    pair: int
    first: int  # frame; 0 of images
    top: int
    left: int  # in pixels of LR
    turns: int  # quarters
    mirrored: bool


@dataclass(frozen=True)
class Patches:
    """An endless supply of aligned LR/HR patches, mirrored and turned by quarters at random.

    Every image, or of clips every window of frames, is as likely as any other. Raises `DataError`
    for an image smaller than a patch and a clip shorter than a window.
    """

    pairs: Sequence[ImagePair] | Sequence[ClipPair]  # all of one scale
    patch_size: int  # side of an LR patch in pixels
    seed: int  # 0 or more; with the step and the index it fixes a patch
    window: Window | None = None  # given for clips, and for clips alone
    outputs: Sequence[Output] | None = None  # what a teacher made of every whole LR image

    def __post_init__(self) -> None:
        if len({pair.scale for pair in self.pairs}) != 1:
            message = "patches are cut from image pairs of one scale, and from at least one pair"
            raise ValueError(message)
        if isinstance(self.pairs[0], ClipPair) != (self.window is not None):
            message = "a window of frames is given for clips, and for clips alone"
            raise ValueError(message)
        faults = _faults(self.pairs, self.patch_size, self.window)
        if faults:
            raise DataError(_refusal(list(faults.values()), len(self.pairs)))
        if self.outputs is not None and (self.window or len(self.outputs) != len(self.pairs)):
            message = "a teacher's outputs are those of images, one of each"
            raise ValueError(message)
        _ = self._ends  # so that worker processes need not count again

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        """How many samples begin in each pair or one before it, places and turns aside."""
        if self.window is None:
            return np.arange(1, len(self.pairs) + 1)
        return np.cumsum([len(pair.lr) - self.window.frames + 1 for pair in self.pairs])

    def sample(self, step: int, indices: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Cut the patches of a step as float32 tensors of LR and HR, from 0 to 1.

        Both are `(N, 3, h, w)`; of clips `(N, T, 3, h, w)`, but HR of the centre alone `(N, 3,
        h, w)`. A patch depends on seed, step and index, and on nothing else.
        """
        cuts = (self._cut(step, index) for index in indices)
        samples = [(cut, *self._pick(cut)) for cut in cuts]
        return (
            to_batch([self._patch(lr, cut, 1) for cut, lr, _ in samples]),
            to_batch([self._patch(hr, cut, self._scale) for cut, _, hr in samples]),
        )

    def sample_outputs(self, step: int, indices: Iterable[int]) -> Tensor | None:
        """Cut the same patches of the teacher's outputs, as those of HR; None without a teacher."""
        if self.outputs is None:
            return None
        cuts = (self._cut(step, index) for index in indices)
        return to_batch([self._patch(self.outputs[cut.pair], cut, self._scale) for cut in cuts])

    @property
    def _scale(self) -> int:
        return self.pairs[0].scale

    def _cut(self, step: int, index: int) -> _Cut:
        rng = np.random.default_rng((self.seed, step, index))
        number = int(rng.integers(self._ends[-1]))
        pair = int(np.searchsorted(self._ends, number, side="right"))
        height, width = self.pairs[pair].lr.shape[-3:-1]
        return _Cut(
            pair=pair,
            first=number - (int(self._ends[pair - 1]) if pair else 0),
            top=int(rng.integers(height - self.patch_size + 1)),
            left=int(rng.integers(width - self.patch_size + 1)),
            turns=int(rng.integers(4)),
            mirrored=bool(rng.integers(2)),
        )

    def _pick(self, cut: _Cut) -> tuple[Image, Image]:
        """Return LR and HR of a pair, or of a window of a clip."""
        pair = self.pairs[cut.pair]
        if self.window is None:
            return pair.lr, pair.hr
        frames = slice(cut.first, cut.first + self.window.frames)
        hr = pair.hr[frames]
        if self.window.target == "centre":
            hr = hr[self.window.frames // 2]
        return pair.lr[frames], hr

    def _patch(self, image: _Picture, cut: _Cut, scale: int) -> _Picture:
        size = self.patch_size * scale
        rows = slice(cut.top * scale, cut.top * scale + size)
        columns = slice(cut.left * scale, cut.left * scale + size)
        turned = np.rot90(image[..., rows, columns, :], cut.turns, axes=(-3, -2))
        return turned[..., ::-1, :] if cut.mirrored else turned


def without_small(
    pairs: Pairs[PairT], patch_size: int, window: Window | None, *, progress: Progress
) -> Pairs[PairT]:
    """Leave out what no patch or window can be cut from, unless nothing else is there; say so."""
    faults = _faults(pairs, patch_size, window)
    if len(faults) == len(pairs):
        return pairs
    reasons = {place: fault.reason for place, fault in faults.items()}
    return pairs.without(reasons, why="no patch can be cut from them", progress=progress)


@dataclass(frozen=True)
class _Fault:
    """Why no patch can be cut from a pair."""

    kind: str
    reason: str
    lower: str
    """Which setting."""


def _faults(
    pairs: Sequence[ImagePair | ClipPair], patch_size: int, window: Window | None
) -> dict[int, _Fault]:
    """Find those from which no patch can be cut, by place."""
    found = ((place, _fault(pair, patch_size, window)) for place, pair in enumerate(pairs))
    return {place: fault for place, fault in found if fault is not None}


def _fault(pair: ImagePair | ClipPair, patch_size: int, window: Window | None) -> _Fault | None:
    kind = "clip" if isinstance(pair, ClipPair) else "image"
    height, width = pair.lr.shape[-3:-1]
    if min(height, width) < patch_size:
        reason = (
            f"{kind} '{pair.name}' is {width}x{height} pixels once reduced, smaller than a patch "
            f"of {patch_size}x{patch_size}"
        )
        return _Fault(kind, reason, "patch_size")
    if window is not None and len(pair.lr) < window.frames:
        reason = (
            f"{kind} '{pair.name}' has {len(pair.lr)} frames, fewer than the {window.frames} of a "
            "sample"
        )
        return _Fault(kind, reason, "'frames'")
    return None


def _refusal(faults: Sequence[_Fault], total: int) -> str:
    first = faults[0]
    if len(faults) == 1:
        return f"{first.reason}; lower {first.lower} or leave the {first.kind} out"
    return (
        f"no patch can be cut from {len(faults)} of {total} {first.kind}s ({first.reason}); lower "
        f"{first.lower}, or set 'skip_unreadable' to leave them out"
    )


def to_batch(images: Sequence[_Picture]) -> Tensor:
    """Put images of one size together, channels before rows, each by the white of its own depth."""
    first = np.moveaxis(images[0], -1, -3)
    batch: Pixels = np.empty((len(images), *first.shape), np.float32)
    for sample, image in zip(batch, images, strict=True):
        white = _WHITE[image.dtype.name]
        np.divide(np.moveaxis(image, -1, -3), white, out=sample, dtype=np.float32)
    return torch.from_numpy(batch)
