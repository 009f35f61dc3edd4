"""What reference networks share: their input and output, and layers that several papers use."""

from __future__ import annotations

__all__ = [
    "SHUFFLES",
    "Convolution",
    "ImageNetwork",
    "PointLinear",
    "chained",
    "conv",
    "mean_colour",
    "numbered",
    "point",
    "shuffled",
]

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from prunekit.nets.arguments import positive, whole

_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)

SHUFFLES: Mapping[int, tuple[int, ...]] = MappingProxyType({2: (2,), 3: (3,), 4: (2, 2)})
"""Factors of the pixel shuffles that enlarge one after the other, for each scale."""

Convolution = Callable[[int, int], nn.Module]
"""Makes a layer from the numbers of its input and output channels."""


class ImageNetwork(nn.Module):
    """A network that enlarges RGB images of 0 to 1, whatever range its weights were trained for.

    Args:
        scale: magnification.
        channels: width of the trunk.
        blocks: number of blocks in the trunk.
        rgb_range: largest pixel value that the weights were trained for, 1 or 255; it is scaled
            inside, and has no tensor.

    Raises:
        ValueError: an argument is of another type than these, or makes no network.
    """

    scales: ClassVar[tuple[int, ...]] = (2, 3, 4)
    """Magnifications that the paper has an upsampler for."""
    least_channels: ClassVar[int] = 1
    """Fewer leave nothing of the narrowest layer, whose width is a fraction of the trunk's."""

    def __init__(self, scale: int, channels: int, blocks: int, rgb_range: float) -> None:
        super().__init__()
        whole(self, scale=scale, blocks=blocks)
        whole(self, least=self.least_channels, channels=channels)
        positive(self, rgb_range=rgb_range)
        if scale not in self.scales:
            *most, last = map(str, self.scales)
            message = (
                f"{type(self).__name__} has no upsampler for scale {scale}; "
                f"choose {', '.join(most)} or {last}"
            )
            raise ValueError(message)
        self.scale = int(scale)
        self.rgb_range = float(rgb_range)

    def forward(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images."""
        if self.rgb_range == 1.0:
            return self.enlarge(lr)
        return self.enlarge(lr * self.rgb_range) / self.rgb_range

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        raise NotImplementedError


class PointLinear(nn.Linear):
    """A linear layer over the channels of every pixel."""

    def forward(self, x: Tensor) -> Tensor:
        """Put channels last and back."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def conv(
    inputs: int, outputs: int, kernel: int = 3, *, conv_groups: int = 1, bias: bool = True
) -> nn.Conv2d:
    """Make a convolution that keeps height and width."""
    return nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=conv_groups, bias=bias)


def point(inputs: int, outputs: int) -> nn.Conv2d:
    """Make a convolution of one pixel."""
    return conv(inputs, outputs, 1)


def shuffled(channels: int, scale: int) -> nn.Sequential:
    """Make the last layer: one convolution and a pixel shuffle make the image."""
    return nn.Sequential(conv(channels, 3 * scale**2), nn.PixelShuffle(scale))


def mean_colour(factor: float) -> Tensor:
    """Return the mean colour of the images of DIV2K, from 0 to 1, times a factor."""
    return torch.tensor([float(factor * value) for value in _DIV2K_MEAN])


def numbered(module: nn.Module, name: str) -> list[nn.Module]:
    """Return the children called `name` and a number, in their order."""
    return [child for key, child in module.named_children() if key[: len(name)] == name]


def chained(blocks: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Run a chain of blocks and return what each of them gives, side by side."""
    outputs = []
    for block in blocks:
        x = block(x)
        outputs.append(x)
    return torch.cat(outputs, 1)
