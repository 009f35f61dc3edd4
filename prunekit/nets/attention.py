"""Attention of the distillation networks: over channels, and over space at a coarse size."""

from __future__ import annotations

__all__ = ["ContrastAttention", "DeepSpatialAttention", "SpatialAttention"]

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.layers import Convolution, conv, point


class ContrastAttention(nn.Module):
    """Channel attention on deviation plus mean of each channel (IMDN, Hui et al., 2019)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 16
        self.conv_du = nn.Sequential(
            point(channels, inner), nn.ReLU(), point(inner, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        mean = x.mean((2, 3), keepdim=True)
        contrast = (x - mean).square().mean((2, 3), keepdim=True).sqrt() + mean
        weights: Tensor = self.conv_du(contrast)
        return x * weights


class SpatialAttention(nn.Module):
    """Enhanced spatial attention: a coarse map over few channels (Liu et al., CVPR 2020).

    With one convolution on the coarse map, as in RLFN. The image must be at least 15 pixels high
    and wide.

    Args:
        channels: width of what is weighed.
        inner: width of the map.
        pointwise: makes the layers of one pixel.
        spatial: makes the layers at the coarse size.
        strided: the layer that halves the map; a plain convolution unless given.
        skip: whether a convolution connects both ends.
    """

    def __init__(
        self,
        channels: int,
        inner: int,
        *,
        pointwise: Convolution = point,
        spatial: Convolution = conv,
        strided: nn.Module | None = None,
        skip: bool = True,
    ) -> None:
        super().__init__()
        self.conv1, self.conv4 = pointwise(channels, inner), pointwise(inner, channels)
        self.conv_f = pointwise(inner, inner) if skip else nn.Identity()
        self.conv2 = strided or nn.Conv2d(inner, inner, 3, 2)
        self.conv3 = spatial(inner, inner)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh every value."""
        reduced: Tensor = self.conv1(x)
        coarse = self.coarse(F.max_pool2d(self.conv2(reduced), 7, 3))
        seen = F.interpolate(coarse, x.shape[2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(seen + self.conv_f(reduced)))

    def coarse(self, pooled: Tensor) -> Tensor:
        """Return what is computed at the coarse size."""
        mixed: Tensor = self.conv3(pooled)
        return mixed


class DeepSpatialAttention(SpatialAttention):
    """Enhanced spatial attention with three convolutions on the coarse map, as in RFDN."""

    def __init__(
        self,
        channels: int,
        inner: int,
        *,
        pointwise: Convolution = point,
        spatial: Convolution = conv,
        strided: nn.Module | None = None,
        activation: nn.Module | None = None,
    ) -> None:
        super().__init__(channels, inner, pointwise=pointwise, spatial=spatial, strided=strided)
        self.conv_max, self.conv3_ = spatial(inner, inner), spatial(inner, inner)
        self.act = activation or nn.ReLU()

    def coarse(self, pooled: Tensor) -> Tensor:
        """Return what is computed at the coarse size."""
        mixed: Tensor = self.conv3_(self.act(self.conv3(self.act(self.conv_max(pooled)))))
        return mixed
