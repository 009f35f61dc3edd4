"""IMDN: channels are split off step by step, and weighed by their contrast."""

from __future__ import annotations

__all__ = ["IMDN"]

import torch
from torch import Tensor, nn

from prunekit.nets.attention import ContrastAttention
from prunekit.nets.layers import ImageNetwork, chained, conv, numbered, point, shuffled


class IMDN(ImageNetwork):
    """Information multi-distillation network (Hui et al., ACM MM 2019).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the trunk, at least 16; a quarter of it is distilled.
        blocks: number of multi-distillation blocks.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in IMDN(scale=2).parameters())
        694404
    """

    least_channels = 16

    def __init__(
        self, scale: int = 2, channels: int = 64, blocks: int = 6, rgb_range: float = 1.0
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        self.fea_conv = conv(3, channels)
        for number in range(1, blocks + 1):
            self.add_module(f"IMDB{number}", _MultiDistillation(channels))
        self.c = nn.Sequential(point(channels * blocks, channels), nn.LeakyReLU(0.05))
        self.LR_conv, self.upsampler = conv(channels, channels), shuffled(channels, scale)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        first = self.fea_conv(lr)
        fused = self.c(chained(numbered(self, "IMDB"), first))
        hr: Tensor = self.upsampler(self.LR_conv(fused) + first)
        return hr


class _MultiDistillation(nn.Module):
    """Three times a quarter of the channels is split off and kept, the rest refined."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kept = channels // 4
        rest = channels - self.kept
        self.c1, self.c2 = conv(channels, channels), conv(rest, channels)
        self.c3, self.c4 = conv(rest, channels), conv(rest, self.kept)
        self.c5 = point(4 * self.kept, channels)
        self.cca, self.act = ContrastAttention(4 * self.kept), nn.LeakyReLU(0.05)

    def forward(self, x: Tensor) -> Tensor:
        rest, distilled = x, []
        for layer in (self.c1, self.c2, self.c3):
            value = self.act(layer(rest))
            split, rest = value.split((self.kept, value.shape[1] - self.kept), 1)
            distilled.append(split)
        joined = torch.cat([*distilled, self.c4(rest)], 1)
        mixed: Tensor = self.c5(self.cca(joined))
        return mixed + x
