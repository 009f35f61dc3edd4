"""EDSR: the residual network that super-resolution baselines are measured against, and LEDSR."""

from __future__ import annotations

__all__ = ["EDSR", "LEDSR"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.arguments import positive
from prunekit.nets.layers import SHUFFLES, ImageNetwork, conv, mean_colour, shuffled


class EDSR(ImageNetwork):
    """Enhanced deep residual network (Lim et al., CVPR Workshops 2017).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the residual trunk (64 for EDSR-baseline, 256 for EDSR).
        blocks: number of residual blocks (16 for EDSR-baseline, 32 for EDSR).
        res_scale: factor on every residual branch (0.1 for EDSR).
        rgb_range: largest pixel value that the weights were trained for (255 for the release).

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in EDSR(scale=2).parameters())
        1369859
    """

    def __init__(
        self,
        scale: int = 2,
        channels: int = 64,
        blocks: int = 16,
        res_scale: float = 1.0,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        positive(self, res_scale=res_scale)
        self.sub_mean = _MeanShift(rgb_range, sign=-1)
        self.head = nn.Sequential(conv(3, channels))
        self.body = nn.Sequential(
            *(_ResidualBlock(channels, res_scale) for _ in range(blocks)),
            conv(channels, channels),
        )
        self.tail = self._new_tail(channels)
        self.add_mean = _MeanShift(rgb_range, sign=1)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        shallow = self.head(self.sub_mean(lr))
        deep = self.body(shallow) + shallow
        hr: Tensor = self.add_mean(self.tail(deep))
        return hr

    def _new_tail(self, channels: int) -> nn.Sequential:
        return nn.Sequential(_upsampler(self.scale, channels), conv(channels, 3))


class LEDSR(EDSR):
    """Lightweight EDSR: its tail is one convolution and a pixel shuffle (ASSL, Zhang et al., 2021).

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the residual trunk (256 before pruning, 49 after it).
        blocks: number of residual blocks.
        res_scale: factor on every residual branch.
        rgb_range: largest pixel value that the weights were trained for (255 for the release).

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in LEDSR(scale=2, channels=49).parameters())
        721390
    """

    def _new_tail(self, channels: int) -> nn.Sequential:
        return shuffled(channels, self.scale)


class _ResidualBlock(nn.Module):
    """conv - ReLU - conv on a branch, scaled and added back; no normalisation."""

    def __init__(self, channels: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels), nn.ReLU(inplace=True), conv(channels, channels)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        branch: Tensor = self.body(x)
        return x + branch * self.res_scale


class _MeanShift(nn.Module):
    """Take the mean colour of DIV2K off (sign -1) or put it back (sign 1).

    A fixed 1x1 convolution whose tensors are buffers: they are in the state dict under the
    names of the release, and are not counted as parameters.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, rgb_range: float, *, sign: int) -> None:
        super().__init__()
        self.register_buffer("weight", nn.init.dirac_(torch.empty(3, 3, 1, 1)))
        self.register_buffer("bias", mean_colour(sign * rgb_range))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


def _upsampler(scale: int, channels: int) -> nn.Sequential:
    """Convolution and pixel shuffle, once per factor of the scale (2, 3 or 2 * 2)."""
    steps = [(conv(channels, channels * r * r), nn.PixelShuffle(r)) for r in SHUFFLES[scale]]
    return nn.Sequential(*(module for step in steps for module in step))
