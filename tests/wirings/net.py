"""What every wiring is made of: a network that carries its answer, and the usual layers."""

from __future__ import annotations

__all__ = ["Net", "conv", "point"]

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """A network that knows its answer."""

    widths: ClassVar[tuple[int, ...]]
    """Widths of all groups, descending."""
    kinds: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """Widths of the groups of every kind but `channel`, descending."""
    inexact: ClassVar[tuple[int, ...]] = ()
    """Widths of the groups whose removal is not the same as zeroing, descending."""
    balanced: ClassVar[tuple[tuple[int, ...], ...]] = ()
    """Widths of the groups that have to stay in proportion, a tuple for each such set."""
    computes: ClassVar[bool] = False
    """Whether the code computes values from a width, so that no narrower one is the same."""
    options: ClassVar[Mapping[str, Any]] = {}
    """What `trace` is told beside the network and its inputs."""
    size: ClassVar[int] = 12
    """Side of the image."""

    def inputs(self, generator: torch.Generator) -> Any:
        """Draw what the network is called with: an RGB image."""
        return self.noise(generator, 1, 3, self.size, self.size)

    @staticmethod
    def noise(generator: torch.Generator, *shape: int) -> Tensor:
        """Uniform in [0, 1), in float64."""
        return torch.rand(shape, generator=generator, dtype=torch.float64)


def conv(in_channels: int, out_channels: int, **options: Any) -> nn.Conv2d:
    """Return a 3x3 convolution that keeps height and width."""
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, **options)


def point(in_channels: int, out_channels: int, **options: Any) -> nn.Conv2d:
    """Return a 1x1 convolution."""
    return nn.Conv2d(in_channels, out_channels, 1, **options)
