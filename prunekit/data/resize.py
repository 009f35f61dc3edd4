"""Bicubic resizing with the numbers of MATLAB's `imresize`, which SR papers use for LR images."""

from __future__ import annotations

__all__ = ["downscale", "modcrop", "upscale"]

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from prunekit.data.image import Image

_REACH = 2
"""Samples on each side that a cubic kernel reaches."""

_BLOCK = 1 << 15
"""Samples that are summed up at once, so that they stay in the processor's cache."""

_SINGLE = 1 << 14
"""Weights that are multiples of one part in so many sum 8-bit samples exactly in float32."""


@dataclass(frozen=True, eq=False)
class _Kernel:
    """Which weighted sum of inputs each output sample is, along one axis.

    Output `i` has phase `i % phases`, and takes inputs from `first[phase] + (i // phases) * step`
    on, `weights.shape[1]` of them.
    """

    weights: NDArray[np.float64]  # (phases, taps)
    first: tuple[int, ...]  # of every phase; negative for inputs mirrored before the first
    step: int

    @property
    def phases(self) -> int:
        """How many outputs there are until the weights come again."""
        return len(self.first)

    def precision(self, dtype: np.dtype[np.uint8 | np.uint16]) -> type[np.float32 | np.float64]:
        """Choose float32 where it makes no difference: 8 bits and a scale of 1, 2 or 4."""
        scaled = self.weights * _SINGLE
        exact = dtype == np.uint8 and bool((scaled == np.round(scaled)).all())
        return np.float32 if exact else np.float64


def modcrop(image: Image, multiple: int) -> Image:
    """Cut an `(..., H, W, C)` image at the bottom and right to a multiple of `multiple` pixels."""
    height, width = image.shape[-3:-1]
    return image[..., : height - height % multiple, : width - width % multiple, :]


def downscale(image: Image, scale: int) -> Image:
    """Shrink an `(H, W, C)` image by an integer factor: `imresize(image, 1/scale)`.

    The kernel is widened by the scale (antialiasing), borders are mirrored, and each of the two
    passes is rounded to the bits of the image, 8 or 16, as MATLAB does.
    """
    return _resize(image, _shrinking(scale))


def upscale(image: Image, scale: int) -> Image:
    """Enlarge an `(H, W, C)` 8- or 16-bit image by an integer factor: `imresize(image, scale)`."""
    return _resize(image, _enlarging(scale))


def _resize(image: Image, kernel: _Kernel) -> Image:
    if image.dtype not in (np.uint8, np.uint16) or image.ndim != len(("H", "W", "C")):
        message = f"an (H, W, C) uint8 image is needed, not {image.dtype} of {image.shape}"
        raise ValueError(message)
    rows = _resize_first_axis(image, kernel)
    columns = _resize_first_axis(rows.transpose(1, 0, 2), kernel)
    return np.ascontiguousarray(columns.transpose(1, 0, 2))


def _resize_first_axis(image: Image, kernel: _Kernel) -> Image:
    length, *rest = image.shape
    lines = image.reshape(length, -1)
    rounds = -(-length // kernel.step)  # of all phases; the kernel shrinks or has a step of 1
    result = np.empty((rounds, kernel.phases, lines.shape[1]), image.dtype)
    block = max(1, _BLOCK // max(1, lines.shape[1]))
    for start in range(0, rounds, block):
        count = min(block, rounds - start)
        for phase in range(kernel.phases):
            result[start : start + count, phase] = _sums(lines, kernel, phase, start, count)
    return result.reshape(-1, *rest)


def _sums(
    lines: Image, kernel: _Kernel, phase: int, start: int, count: int
) -> NDArray[np.floating]:
    """Return the outputs of one phase in rounds from `start` on, rounded but still floats."""
    weights = kernel.weights[phase]
    first = kernel.first[phase] + start * kernel.step
    last = first + (count - 1) * kernel.step + len(weights)
    precision = kernel.precision(lines.dtype)
    source = lines[_mirrored(first, last, len(lines))].astype(precision)
    total = np.zeros((count, lines.shape[1]), precision)
    term = np.empty_like(total)
    for tap in np.flatnonzero(weights):
        rows = source[tap :: kernel.step][:count]
        total += np.multiply(rows, precision(weights[tap]), out=term)
    total += 0.5
    np.floor(total, out=total)
    return np.clip(total, 0, np.iinfo(lines.dtype).max, out=total)


def _mirrored(first: int, last: int, length: int) -> NDArray[np.int64]:
    """Indices from `first` to before `last` on a line that goes on mirrored at both ends."""
    positions = np.arange(first, last) % (2 * length)
    return np.minimum(positions, 2 * length - 1 - positions)


@lru_cache(maxsize=16)
def _shrinking(scale: int) -> _Kernel:
    """Every `scale`-th output of a kernel that is widened by the scale."""
    centre = (scale - 1) / 2
    return _Kernel(*_taps([centre], stretch=scale), step=scale)


@lru_cache(maxsize=16)
def _enlarging(scale: int) -> _Kernel:
    """One phase for each of the `scale` outputs between two inputs."""
    centres = [(phase + 0.5) / scale - 0.5 for phase in range(scale)]
    return _Kernel(*_taps(centres, stretch=1), step=1)


def _taps(centres: list[float], *, stretch: int) -> tuple[NDArray[np.float64], tuple[int, ...]]:
    """Weights of every phase, and the input each begins with."""
    first = [math.floor(centre - _REACH * stretch) for centre in centres]
    positions = np.array(first)[:, None] + np.arange(2 * _REACH * stretch + 2)
    weights = _keys_cubic((np.array(centres)[:, None] - positions) / stretch)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights, tuple(first)


def _keys_cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.select([x <= 1, x <= _REACH], [near, far], 0.0)
