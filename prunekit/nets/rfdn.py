"""RFDN: half of the channels is distilled before each refinement, by convolutions of one pixel."""

from __future__ import annotations

__all__ = ["RFDN", "FeatureDistillation"]

import torch
from torch import Tensor, nn

from prunekit.nets.attention import DeepSpatialAttention
from prunekit.nets.layers import (
    Convolution,
    ImageNetwork,
    chained,
    conv,
    numbered,
    point,
    shuffled,
)


class RFDN(ImageNetwork):
    """Residual feature distillation network (Liu et al., ECCV Workshops 2020).

    With enhanced spatial attention, the paper's E-RFDN, which won the AIM 2020 challenge. The
    tensor names are those of the authors' release, so its state dicts load strictly. Images
    must be at least 15 pixels high and wide.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the trunk, at least 4.
        blocks: number of distillation blocks.
        rgb_range: largest pixel value that the weights were trained for (255 for the release).

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in RFDN(scale=4).parameters())
        433448
    """

    least_channels = 4

    def __init__(
        self, scale: int = 4, channels: int = 50, blocks: int = 4, rgb_range: float = 1.0
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        self.fea_conv = conv(3, channels)
        for number in range(1, blocks + 1):
            attention = DeepSpatialAttention(channels, channels // 4)
            block = FeatureDistillation(channels, attention, activation=nn.LeakyReLU(0.05))
            self.add_module(f"B{number}", block)
        self.c = nn.Sequential(point(channels * blocks, channels), nn.LeakyReLU(0.05))
        self.LR_conv, self.upsampler = conv(channels, channels), shuffled(channels, scale)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        first = self.fea_conv(lr)
        fused = self.c(chained(numbered(self, "B"), first))
        hr: Tensor = self.upsampler(self.LR_conv(fused) + first)
        return hr


class FeatureDistillation(nn.Module):
    """Three times half of the channels is distilled, then all of them are refined."""

    def __init__(
        self,
        channels: int,
        attention: nn.Module,
        *,
        activation: nn.Module,
        pointwise: Convolution = point,
        spatial: Convolution = conv,
    ) -> None:
        super().__init__()
        half = channels // 2
        for number in (1, 2, 3):
            self.add_module(f"c{number}_d", pointwise(channels, half))
            self.add_module(f"c{number}_r", spatial(channels, channels))
        self.c4, self.c5 = spatial(channels, half), pointwise(4 * half, channels)
        self.esa, self.act = attention, activation

    def forward(self, x: Tensor) -> Tensor:
        """Distil, refine, join, weigh."""
        rest, distilled = x, []
        for number in (1, 2, 3):
            distil, refine = (self.get_submodule(f"c{number}_{part}") for part in "dr")
            distilled.append(self.act(distil(rest)))
            rest = self.act(refine(rest) + rest)
        joined = torch.cat([*distilled, self.act(self.c4(rest))], 1)
        weighed: Tensor = self.esa(self.c5(joined))
        return weighed
