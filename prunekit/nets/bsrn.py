"""BSRN: the distillation of RFDN with blueprint separable convolutions, and BSRN-S."""

from __future__ import annotations

__all__ = ["BSRN", "BSRNS"]

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.attention import ContrastAttention, DeepSpatialAttention
from prunekit.nets.layers import (
    ImageNetwork,
    PointLinear,
    chained,
    conv,
    numbered,
    point,
    shuffled,
)
from prunekit.nets.rfdn import FeatureDistillation


class _Blueprint(nn.Module):
    """Blueprint separable convolution: of one pixel, then depthwise (Haase and Amthor, 2020)."""

    def __init__(self, pointwise: nn.Module, channels: int, *, stride: int = 1) -> None:
        super().__init__()
        self.pw = pointwise
        padding = 1 if stride == 1 else 0
        self.dw = nn.Conv2d(channels, channels, 3, stride, padding, groups=channels)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.dw(self.pw(x))
        return mixed


def _blueprint(inputs: int, outputs: int, *, stride: int = 1) -> _Blueprint:
    """Make the convolution of BSRN, whose first part has no bias."""
    return _Blueprint(conv(inputs, outputs, 1, bias=False), outputs, stride=stride)


def _linear_blueprint(inputs: int, outputs: int) -> _Blueprint:
    """Make the convolution of BSRN-S, whose first part is a linear layer."""
    return _Blueprint(PointLinear(inputs, outputs), outputs)


class _SeparableDistillation(FeatureDistillation):
    """That of RFDN with blueprint convolutions, two attentions and a skip."""

    def __init__(self, channels: int) -> None:
        inner = channels // 4
        attention = DeepSpatialAttention(
            channels,
            inner,
            spatial=_blueprint,
            strided=_blueprint(inner, inner, stride=2),
            activation=nn.GELU(),
        )
        super().__init__(channels, attention, activation=nn.GELU(), spatial=_blueprint)
        self.cca = ContrastAttention(channels)

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = self.cca(super().forward(x))
        return weighed + x


class _WeighedDistillation(FeatureDistillation):
    """That of RFDN with linear layers, a skip, and a learned weight for each channel."""

    def __init__(self, channels: int) -> None:
        attention = DeepSpatialAttention(
            channels,
            channels // 4,
            pointwise=PointLinear,
            spatial=_linear_blueprint,
            activation=nn.GELU(),
        )
        super().__init__(
            channels,
            attention,
            activation=nn.GELU(),
            pointwise=PointLinear,
            spatial=_linear_blueprint,
        )
        self.cw = nn.Parameter(torch.ones(1, channels))
        self.conv_out = PointLinear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = self.conv_out(super().forward(x) * self.cw[:, :, None, None])
        return weighed + x


class BSRN(ImageNetwork):
    """Blueprint separable residual network (Li et al., CVPR Workshops 2022).

    The tensor names are those of the authors' release, so its state dicts load strictly. Images
    must be at least 15 pixels high and wide.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the trunk, at least 16.
        blocks: number of separable distillation blocks.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in BSRN(scale=2).parameters())
        331628
    """

    least_channels = 16

    def __init__(
        self, scale: int = 2, channels: int = 64, blocks: int = 8, rgb_range: float = 1.0
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        self.fea_conv = self._spatial(4 * 3, channels)
        for number in range(1, blocks + 1):
            self.add_module(f"B{number}", self._block(channels))
        self.c1 = self._pointwise(channels * blocks, channels)
        self.c2 = self._spatial(channels, channels)
        self.upsampler = nn.Sequential(OrderedDict(upsampleOneStep=shuffled(channels, scale)))

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images, which go in four times."""
        first = self.fea_conv(torch.cat([lr] * 4, 1))
        fused = F.gelu(self.c1(chained(numbered(self, "B"), first)))
        hr: Tensor = self.upsampler(self.c2(fused) + first)
        return hr

    def _block(self, channels: int) -> nn.Module:
        return _SeparableDistillation(channels)

    def _spatial(self, inputs: int, outputs: int) -> nn.Module:
        return _blueprint(inputs, outputs)

    def _pointwise(self, inputs: int, outputs: int) -> nn.Module:
        return point(inputs, outputs)


class BSRNS(BSRN):
    """BSRN-S, which won the model complexity track of NTIRE 2022 (Li et al., 2022).

    Args:
        scale: magnification, 2, 3 or 4 (the weights of the authors are for 4).
        channels: width of the trunk, at least 4.
        blocks: number of distillation blocks.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in BSRNS(scale=4).parameters())
        156288
    """

    least_channels = 4

    def __init__(
        self, scale: int = 4, channels: int = 48, blocks: int = 5, rgb_range: float = 1.0
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)

    def _block(self, channels: int) -> nn.Module:
        return _WeighedDistillation(channels)

    def _spatial(self, inputs: int, outputs: int) -> nn.Module:
        return _linear_blueprint(inputs, outputs)

    def _pointwise(self, inputs: int, outputs: int) -> nn.Module:
        return PointLinear(inputs, outputs)
