"""CARN-M: blocks that cascade, of grouped convolutions, one block used three times."""

from __future__ import annotations

__all__ = ["CARNM"]

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.arguments import whole, wholes
from prunekit.nets.layers import SHUFFLES, ImageNetwork, conv, mean_colour, point


class CARNM(ImageNetwork):
    """Cascading residual network for mobiles (Ahn et al., ECCV 2018), one for all scales.

    The tensor names are those of the authors' release, so its state dict loads strictly.

    Args:
        scale: the magnification that is run, one of `heads`.
        channels: width of the trunk, a multiple of `conv_groups`.
        conv_groups: groups of the grouped convolutions.
        heads: magnifications that there are upsamplers for, out of 2, 3 and 4.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in CARNM().parameters())
        414811
    """

    def __init__(
        self,
        scale: int = 2,
        channels: int = 64,
        conv_groups: int = 4,
        heads: Sequence[int] = (2, 3, 4),
        rgb_range: float = 1.0,
    ) -> None:
        wholes(self, heads=heads)
        super().__init__(scale, channels, len(heads), rgb_range)
        if scale not in heads or not set(heads) <= set(SHUFFLES):
            message = f"CARNM has heads for 2, 3 and 4 and needs that of scale {scale}, not {heads}"
            raise ValueError(message)
        whole(self, conv_groups=conv_groups)
        if channels % conv_groups:
            message = f"CARNM needs channels that are a multiple of {conv_groups}, not {channels}"
            raise ValueError(message)
        self.sub_mean, self.add_mean = _Shift(rgb_range, sign=-1), _Shift(rgb_range, sign=1)
        self.entry, self.exit = conv(3, channels), conv(channels, 3)
        self.b1, self.b2, self.b3 = (_Cascade(channels, conv_groups) for _ in range(3))
        self.c1, self.c2, self.c3 = (_Fusion(joined, channels) for joined in (2, 3, 4))
        self.upsample = nn.ModuleDict(
            {f"up{head}": _Upsampler(channels, conv_groups, head) for head in heads}
        )

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        first = self.entry(self.sub_mean(lr))
        value = _cascade([self.b1, self.b2, self.b3], [self.c1, self.c2, self.c3], first)
        hr: Tensor = self.add_mean(self.exit(self.upsample[f"up{self.scale}"](value)))
        return hr


class _Shift(nn.Module):
    """The mean colour of DIV2K is taken off (sign -1) or put back (sign 1); it is not trained."""

    def __init__(self, rgb_range: float, *, sign: int) -> None:
        super().__init__()
        self.shifter = point(3, 3)
        nn.init.dirac_(self.shifter.weight)
        self.shifter.bias = nn.Parameter(mean_colour(sign * rgb_range))

    def forward(self, x: Tensor) -> Tensor:
        shifted: Tensor = self.shifter(x)
        return shifted


class _Fusion(nn.Module):
    """A convolution of one pixel behind a join."""

    def __init__(self, joined: int, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(point(joined * channels, channels), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.body(x)
        return mixed


class _EfficientResidual(nn.Module):
    """Two grouped convolutions and one of a pixel, and a skip around them."""

    def __init__(self, channels: int, conv_groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, channels, conv_groups=conv_groups),
            nn.ReLU(),
            conv(channels, channels, conv_groups=conv_groups),
            nn.ReLU(),
            point(channels, channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


def _cascade(layers: Sequence[nn.Module], fusions: Sequence[nn.Module], x: Tensor) -> Tensor:
    """Join every layer's output to all before it; one fusion mixes them."""
    joined = x
    for layer, fuse in zip(layers, fusions, strict=True):
        joined = torch.cat([joined, layer(x)], 1)
        x = fuse(joined)
    return x


class _Cascade(nn.Module):
    """A cascade of one residual block, used three times."""

    def __init__(self, channels: int, conv_groups: int) -> None:
        super().__init__()
        self.b1 = _EfficientResidual(channels, conv_groups)
        self.c1, self.c2, self.c3 = (_Fusion(joined, channels) for joined in (2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return _cascade([self.b1] * 3, [self.c1, self.c2, self.c3], x)


class _Upsampler(nn.Module):
    """Grouped convolutions, each with a pixel shuffle."""

    def __init__(self, channels: int, conv_groups: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for step in SHUFFLES[scale]:
            layers += [conv(channels, channels * step**2, conv_groups=conv_groups), nn.ReLU()]
            layers += [nn.PixelShuffle(step)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        enlarged: Tensor = self.body(x)
        return enlarged
