"""Random patches of image or clip pairs, the same ones for the same seed on every machine."""

from __future__ import annotations

__all__ = ["Patches", "Window"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prunekit.data.image import Image
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.errors import DataError

Pixels = NDArray[np.float32]


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
class Patches:
    """An endless supply of aligned LR/HR patches, mirrored and turned by quarters at random.

    Every image, or of clips every window of frames, is as likely as any other. Raises `DataError`
    for an image smaller than a patch and a clip shorter than a window.
    """

    pairs: Sequence[ImagePair] | Sequence[ClipPair]  # all of one scale
    patch_size: int  # side of an LR patch in pixels
    seed: int  # 0 or more; with the step and the index it fixes a patch
    window: Window | None = None  # given for clips, and for clips alone

    def __post_init__(self) -> None:
        if len({pair.scale for pair in self.pairs}) != 1:
            message = "patches are cut from image pairs of one scale, and from at least one pair"
            raise ValueError(message)
        for pair in self.pairs:
            _check_size(pair, self.patch_size)
            _check_frames(pair, self.window)
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
        cut = [self._cut(step, index) for index in indices]
        return _batch([lr for lr, _ in cut]), _batch([hr for _, hr in cut])

    def _cut(self, step: int, index: int) -> tuple[Image, Image]:
        rng = np.random.default_rng((self.seed, step, index))
        lr, hr, scale = self._pick(int(rng.integers(self._ends[-1])))
        top = int(rng.integers(lr.shape[-3] - self.patch_size + 1))
        left = int(rng.integers(lr.shape[-2] - self.patch_size + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        lr = _crop(lr, top, left, self.patch_size)
        hr = _crop(hr, top * scale, left * scale, self.patch_size * scale)
        return _turn(lr, turns, mirrored=mirrored), _turn(hr, turns, mirrored=mirrored)

    def _pick(self, number: int) -> tuple[Image, Image, int]:
        """Return a pair, or a window of a clip, of those that are counted in `_ends`."""
        place = int(np.searchsorted(self._ends, number, side="right"))
        pair = self.pairs[place]
        if self.window is None:
            return pair.lr, pair.hr, pair.scale
        frames = self.window.frames
        first = number - (int(self._ends[place - 1]) if place else 0)
        hr = pair.hr[first : first + frames]
        if self.window.target == "centre":
            hr = hr[frames // 2]
        return pair.lr[first : first + frames], hr, pair.scale


def _check_size(pair: ImagePair | ClipPair, patch_size: int) -> None:
    height, width = pair.lr.shape[-3:-1]
    if min(height, width) < patch_size:
        kind = "clip" if isinstance(pair, ClipPair) else "image"
        message = (
            f"{kind} '{pair.name}' is {width}x{height} pixels once reduced, smaller than a patch "
            f"of {patch_size}x{patch_size}; lower patch_size or leave the {kind} out"
        )
        raise DataError(message)


def _check_frames(pair: ImagePair | ClipPair, window: Window | None) -> None:
    if isinstance(pair, ClipPair) != (window is not None):
        message = "a window of frames is given for clips, and for clips alone"
        raise ValueError(message)
    if window is not None and len(pair.lr) < window.frames:
        message = (
            f"clip '{pair.name}' has {len(pair.lr)} frames, fewer than the {window.frames} of a "
            "sample; lower 'frames' or leave the clip out"
        )
        raise DataError(message)


def _crop(image: Image, top: int, left: int, size: int) -> Image:
    return image[..., top : top + size, left : left + size, :]


def _turn(image: Image, turns: int, *, mirrored: bool) -> Image:
    turned = np.rot90(image, turns, axes=(-3, -2))
    return turned[..., ::-1, :] if mirrored else turned


def _batch(images: Sequence[Image]) -> Tensor:
    """Put samples together, channels before rows, each by the white of its own depth."""
    first = np.moveaxis(images[0], -1, -3)
    batch: Pixels = np.empty((len(images), *first.shape), np.float32)
    for sample, image in zip(batch, images, strict=True):
        white = np.float32(np.iinfo(image.dtype).max)
        np.divide(np.moveaxis(image, -1, -3), white, out=sample, dtype=np.float32)
    return torch.from_numpy(batch)
