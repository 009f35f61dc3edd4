"""EDSR: the residual network that super-resolution baselines are measured against."""

from __future__ import annotations

__all__ = ["EDSR"]

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DIV2K_MEAN = (0.4488, 0.4371, 0.4040)


class EDSR(nn.Module):
    """Enhanced deep residual network (Lim et al., CVPR Workshops 2017).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the residual trunk (64 for EDSR-baseline, 256 for EDSR).
        blocks: number of residual blocks (16 for EDSR-baseline, 32 for EDSR).
        res_scale: factor on every residual branch (0.1 for EDSR).
        rgb_range: largest value of a pixel; images are `[0, rgb_range]`.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`.

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
        super().__init__()
        if channels < 1 or blocks < 1:
            message = f"EDSR needs channels and blocks, not {channels} and {blocks} of them"
            raise ValueError(message)
        self.scale = scale
        self.sub_mean = _MeanShift(rgb_range, sign=-1)
        self.head = nn.Sequential(_conv(3, channels))
        self.body = nn.Sequential(
            *(_ResidualBlock(channels, res_scale) for _ in range(blocks)),
            _conv(channels, channels),
        )
        self.tail = nn.Sequential(_upsampler(scale, channels), _conv(channels, 3))
        self.add_mean = _MeanShift(rgb_range, sign=1)

    def forward(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images."""
        shallow = self.head(self.sub_mean(lr))
        deep = self.body(shallow) + shallow
        return cast("Tensor", self.add_mean(self.tail(deep)))


class _ResidualBlock(nn.Module):
    """conv - ReLU - conv on a branch, scaled and added back; no normalisation."""

    def __init__(self, channels: int, res_scale: float) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels), nn.ReLU(inplace=True), _conv(channels, channels)
        )
        self.res_scale = res_scale

    def forward(self, x: Tensor) -> Tensor:
        branch = cast("Tensor", self.body(x))
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
        self.register_buffer("weight", torch.eye(3).reshape(3, 3, 1, 1))
        self.register_buffer("bias", sign * rgb_range * torch.tensor(_DIV2K_MEAN))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


def _conv(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1)


def _upsampler(scale: int, channels: int) -> nn.Sequential:
    """Convolution and pixel shuffle, once per factor of the scale (2, 3 or 2 * 2)."""
    factors = {2: (2,), 3: (3,), 4: (2, 2)}
    if scale not in factors:
        message = f"EDSR has no upsampler for scale {scale}; choose 2, 3 or 4"
        raise ValueError(message)
    steps = [(_conv(channels, channels * r * r), nn.PixelShuffle(r)) for r in factors[scale]]
    return nn.Sequential(*(module for step in steps for module in step))
