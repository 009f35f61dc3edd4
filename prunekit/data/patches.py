"""Random patches of image pairs, the same ones for the same seed on every machine."""

from __future__ import annotations

__all__ = ["Patches"]

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from prunekit.data.image import Image
from prunekit.data.pairs import ImagePair
from prunekit.errors import DataError


@dataclass(frozen=True)
class Patches:
    """An endless supply of aligned LR/HR patches, mirrored and turned by quarters at random.

    Raises `DataError` for an image smaller than a patch.
    """

    pairs: Sequence[ImagePair]  # all of one scale
    patch_size: int  # side of an LR patch in pixels
    seed: int  # 0 or more; with the step and the index it fixes a patch

    def __post_init__(self) -> None:
        if len({pair.scale for pair in self.pairs}) != 1:
            message = "patches are cut from image pairs of one scale, and from at least one pair"
            raise ValueError(message)
        for pair in self.pairs:
            _check_size(pair, self.patch_size)

    def sample(self, step: int, indices: Iterable[int]) -> tuple[Tensor, Tensor]:
        """Cut the patches of a step as `(N, 3, h, w)` float32 tensors of LR and HR, from 0 to 1."""
        cut = [self._cut(step, index) for index in indices]
        return _batch([lr for lr, _ in cut]), _batch([hr for _, hr in cut])

    def _cut(self, step: int, index: int) -> tuple[Image, Image]:
        rng = np.random.default_rng((self.seed, step, index))
        pair = self.pairs[int(rng.integers(len(self.pairs)))]
        top = int(rng.integers(pair.lr.shape[0] - self.patch_size + 1))
        left = int(rng.integers(pair.lr.shape[1] - self.patch_size + 1))
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        lr = _crop(pair.lr, top, left, self.patch_size)
        hr = _crop(pair.hr, top * pair.scale, left * pair.scale, self.patch_size * pair.scale)
        return _turn(lr, turns, mirrored=mirrored), _turn(hr, turns, mirrored=mirrored)


def _check_size(pair: ImagePair, patch_size: int) -> None:
    height, width = pair.lr.shape[:2]
    if min(height, width) < patch_size:
        message = (
            f"image '{pair.name}' is {width}x{height} pixels once reduced, smaller than a patch of "
            f"{patch_size}x{patch_size}; lower patch_size or leave the image out"
        )
        raise DataError(message)


def _crop(image: Image, top: int, left: int, size: int) -> Image:
    return image[top : top + size, left : left + size]


def _turn(image: Image, turns: int, *, mirrored: bool) -> Image:
    turned = np.rot90(image, turns)
    return turned[:, ::-1] if mirrored else turned


def _batch(images: Sequence[Image]) -> Tensor:
    stacked = np.stack(images).transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(stacked)).float() / 255.0
