"""The distance of Laplacian pyramids that CDISM distils with."""

from __future__ import annotations

__all__ = ["LEVELS", "laplacian_loss", "pyramid_distance"]

import torch
from torch import Tensor
from torch.nn import functional

LEVELS = 5
"""Entries of a pyramid: bands of details, and what is left."""


def laplacian_loss(sr: Tensor, target: Tensor) -> Tensor:
    """`L(sr, target) + L(H(sr), H(target))` with `H(x) = x - blur(x)` (CDISM, equation 9).

    Args:
        sr: `(N, C, H, W)`; H and W are multiples of 16, and 32 or more.
        target: of the same shape.

    Raises:
        ValueError: the sides are others.
    """
    difference = sr - target  # pyramids are linear
    return pyramid_distance(difference) + pyramid_distance(difference - _blur(difference))


def pyramid_distance(difference: Tensor) -> Tensor:
    """Sum over the bands of `2^level` times the mean absolute value, finest first."""
    step, sides = 2 ** (LEVELS - 1), tuple(difference.shape[-2:])
    if any(side % step or side < 2 * step for side in sides):
        message = f"sides have to be multiples of {step} from {2 * step} on, not {sides}"
        raise ValueError(message)
    total, current = difference.new_zeros(()), difference
    for level in range(LEVELS - 1):
        smaller = functional.avg_pool2d(_blur(current), 2)
        total = total + 2**level * (current - _expand(smaller)).abs().mean()
        current = smaller
    coarsest: Tensor = total + 2 ** (LEVELS - 1) * current.abs().mean()
    return coarsest


def _blur(image: Tensor) -> Tensor:
    """Convolve every channel with the binomial kernel `[1 4 6 4 1] x [1 4 6 4 1] / 256`."""
    channels = image.shape[1]
    line = image.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    kernel = torch.outer(line, line).expand(channels, 1, 5, 5)
    padded = functional.pad(image, (2, 2, 2, 2), "reflect")
    return functional.conv2d(padded, kernel, groups=channels)


def _expand(image: Tensor) -> Tensor:
    """Twice as large: pixels at even places, zeros between them, blurred to the same brightness."""
    batch, channels, height, width = image.shape
    spread = image.new_zeros(batch, channels, 2 * height, 2 * width)
    spread[..., ::2, ::2] = image
    return 4 * _blur(spread)
