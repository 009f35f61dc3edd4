"""PAN: every value is weighed by a convolution of one pixel, also while it is enlarged."""

from __future__ import annotations

__all__ = ["PAN"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.arguments import whole
from prunekit.nets.layers import ImageNetwork, conv, point


class PAN(ImageNetwork):
    """Pixel attention network (Zhao et al., ECCV Workshops 2020).

    The tensor names are those of the authors' release, so its state dicts load strictly.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the trunk.
        blocks: number of self-calibrated blocks.
        above: width of the layers behind the enlargement.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in PAN(scale=2).parameters())
        261403
    """

    least_channels = 2

    def __init__(
        self,
        scale: int = 2,
        channels: int = 40,
        blocks: int = 16,
        above: int = 24,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        whole(self, above=above)
        self.act = nn.LeakyReLU(0.2)
        self.conv_first, self.trunk_conv = conv(3, channels), conv(channels, channels)
        self.SCPA_trunk = nn.Sequential(*(_SelfCalibrated(channels) for _ in range(blocks)))
        self.steps = 2 if scale == 4 else 1  # noqa: PLR2004
        for number in range(1, self.steps + 1):
            self.add_module(f"upconv{number}", conv(channels if number == 1 else above, above))
            self.add_module(f"att{number}", _PixelAttention(above))
            self.add_module(f"HRconv{number}", conv(above, above))
        self.conv_last = conv(above, 3)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Enlarge by nearest neighbours, step by step, and add the image."""
        first = self.conv_first(lr)
        value = first + self.trunk_conv(self.SCPA_trunk(first))
        factor = self.scale // self.steps
        for number in range(1, self.steps + 1):
            enlarge, weigh, refine = (
                self.get_submodule(f"{name}{number}") for name in ("upconv", "att", "HRconv")
            )
            value = enlarge(F.interpolate(value, scale_factor=factor, mode="nearest"))
            value = self.act(refine(self.act(weigh(value))))
        image = F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)
        detail: Tensor = self.conv_last(value)
        return detail + image


class _PixelAttention(nn.Module):
    """Every value is weighed by a convolution of one pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = point(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.conv(x))


class _PixelAttentionConv(nn.Module):
    """A convolution that is weighed by pixel attention on its input, and another."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.k2 = point(channels, channels)
        self.k3 = conv(channels, channels, bias=False)
        self.k4 = conv(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.k4(self.k3(x) * torch.sigmoid(self.k2(x)))
        return mixed


class _SelfCalibrated(nn.Module):
    """Half of the channels with pixel attention and half without, joined and added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.conv1_a = conv(channels, half, 1, bias=False)
        self.conv1_b = conv(channels, half, 1, bias=False)
        self.k1 = nn.Sequential(conv(half, half, bias=False))
        self.PAConv = _PixelAttentionConv(half)
        self.conv3 = conv(2 * half, channels, 1, bias=False)
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        plain = self.act(self.k1(self.act(self.conv1_a(x))))
        weighed = self.act(self.PAConv(self.act(self.conv1_b(x))))
        mixed: Tensor = self.conv3(torch.cat([plain, weighed], 1))
        return mixed + x
