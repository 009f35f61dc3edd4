"""Bicubic resizing with the numbers of MATLAB's `imresize`, which SR papers use for LR images."""

from __future__ import annotations

__all__ = ["downscale", "modcrop", "upscale"]

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

_REACH = 2
"""Samples on each side that a cubic kernel reaches."""


def modcrop(image: Image, multiple: int) -> Image:
    """Cut an `(H, W, C)` image at the bottom and right to a multiple of `multiple` pixels."""
    height, width = image.shape[:2]
    return image[: height - height % multiple, : width - width % multiple]


def downscale(image: Image, scale: int) -> Image:
    """Shrink an `(H, W, C)` 8-bit image by an integer factor: `imresize(image, 1/scale)`.

    The kernel is widened by the scale (antialiasing), borders are mirrored, and each of the two
    passes is rounded to 8 bits, as MATLAB does for 8-bit images.
    """
    return _resize(image, 1.0 / scale)


def upscale(image: Image, scale: int) -> Image:
    """Enlarge an `(H, W, C)` 8-bit image by an integer factor: `imresize(image, scale)`."""
    return _resize(image, float(scale))


def _resize(image: Image, factor: float) -> Image:
    if image.dtype != np.uint8 or image.ndim != len(("H", "W", "C")):
        message = f"an (H, W, C) uint8 image is needed, not {image.dtype} of {image.shape}"
        raise ValueError(message)
    rows = _resize_first_axis(image, factor)
    columns = _resize_first_axis(rows.transpose(1, 0, 2), factor)
    return np.ascontiguousarray(columns.transpose(1, 0, 2))


def _resize_first_axis(image: Image, factor: float) -> Image:
    indices, weights = _taps(image.shape[0], factor)
    total = np.zeros((len(indices), *image.shape[1:]))
    for tap in range(indices.shape[1]):
        total += weights[:, tap, None, None] * image[indices[:, tap]]
    return np.clip(np.floor(total + 0.5), 0, 255).astype(np.uint8)


@lru_cache(maxsize=64)
def _taps(length: int, factor: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Source indices and weights of every output sample, each `(outputs, taps)`."""
    stretch = max(1.0, 1.0 / factor)
    outputs = math.ceil(length * factor)
    centres = (np.arange(outputs) + 0.5) / factor - 0.5
    taps = math.ceil(4 * stretch) + 2
    first = np.floor(centres - 2 * stretch).astype(np.int64)
    positions = first[:, None] + np.arange(taps)
    weights = _keys_cubic((centres[:, None] - positions) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    mirrored = np.concatenate([np.arange(length), np.arange(length)[::-1]])
    return mirrored[positions % (2 * length)], weights


def _keys_cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.select([x <= 1, x <= _REACH], [near, far], 0.0)
