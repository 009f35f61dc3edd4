"""RRDBNet: residual blocks in residual blocks, each densely connected; ESRGAN and Real-ESRGAN."""

from __future__ import annotations

__all__ = ["RRDBNet"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.arguments import whole
from prunekit.nets.layers import ImageNetwork, conv

_REDUCTION = {1: 4, 2: 2, 4: 1}
"""How much the image is reduced, by moving pixels to channels, before it is enlarged four times."""

_BRANCH = 0.2
"""Factor on every residual branch."""


class RRDBNet(ImageNetwork):
    """Residual in residual dense blocks (ESRGAN, Wang et al., ECCV Workshops 2018).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 1, 2 or 4; below 4 the image's sides must be multiples of 4 // scale.
        channels: width of the trunk.
        blocks: number of residual in residual dense blocks (23; 6 for the anime network).
        growth: channels that every dense layer adds.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in RRDBNet(scale=4, blocks=6).parameters())
        4467779
    """

    scales = (1, 2, 4)

    def __init__(
        self,
        scale: int = 4,
        channels: int = 64,
        blocks: int = 23,
        growth: int = 32,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        whole(self, growth=growth)
        self.reduction = _REDUCTION[scale]
        self.conv_first = conv(3 * self.reduction**2, channels)
        self.body = nn.Sequential(*(_ResidualInResidual(channels, growth) for _ in range(blocks)))
        self.conv_body = conv(channels, channels)
        self.conv_up1, self.conv_up2 = conv(channels, channels), conv(channels, channels)
        self.conv_hr, self.conv_last = conv(channels, channels), conv(channels, 3)
        self.lrelu = nn.LeakyReLU(0.2)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        image = F.pixel_unshuffle(lr, self.reduction) if self.reduction > 1 else lr
        first = self.conv_first(image)
        value = first + self.conv_body(self.body(first))
        for layer in (self.conv_up1, self.conv_up2):
            value = self.lrelu(layer(F.interpolate(value, scale_factor=2, mode="nearest")))
        hr: Tensor = self.conv_last(self.lrelu(self.conv_hr(value)))
        return hr


class _DenseBlock(nn.Module):
    """Five convolutions, each of which sees all before it; the last makes the residual."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, growth)
        self.conv2 = conv(channels + growth, growth)
        self.conv3 = conv(channels + 2 * growth, growth)
        self.conv4 = conv(channels + 3 * growth, growth)
        self.conv5 = conv(channels + 4 * growth, channels)
        self.lrelu = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        seen = x
        for layer in (self.conv1, self.conv2, self.conv3, self.conv4):
            seen = torch.cat([seen, self.lrelu(layer(seen))], 1)
        residual: Tensor = self.conv5(seen)
        return x + residual * _BRANCH


class _ResidualInResidual(nn.Module):
    """Three dense blocks, and a residual branch around them."""

    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (_DenseBlock(channels, growth) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.rdb3(self.rdb2(self.rdb1(x)))
        return x + residual * _BRANCH
