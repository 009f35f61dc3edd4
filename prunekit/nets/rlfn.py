"""RLFN: three convolutions, one skip and an attention a block; and the narrow one of NTIRE 2024."""

from __future__ import annotations

__all__ = ["RLFN", "SlimRLFN"]

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from prunekit.nets.arguments import whole, wholes
from prunekit.nets.attention import SpatialAttention
from prunekit.nets.layers import ImageNetwork, conv, numbered, point, shuffled

_ATTENTION = 16
"""Width of the attention's map."""


class RLFN(ImageNetwork):
    """Residual local feature network (Kong et al., CVPR Workshops 2022).

    The tensor names are those of the authors' release, so its state dicts load strictly. Images
    must be at least 15 pixels high and wide.

    Args:
        scale: magnification, 2, 3 or 4.
        channels: width of the trunk (52; 48 for RLFN-S, 46 for the winner of NTIRE 2022).
        blocks: number of residual local feature blocks (6; 4 for the winner).
        middle: width within the blocks, that of the trunk unless given (48 for the winner).
        rgb_range: largest pixel value that the weights were trained for (255 for all of them).

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in RLFN(scale=2).parameters())
        526856
    """

    def __init__(
        self,
        scale: int = 2,
        channels: int = 52,
        blocks: int = 6,
        middle: int | None = None,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        middle = channels if middle is None else middle
        whole(self, middle=middle)
        self.conv_1, self.conv_2 = conv(3, channels), conv(channels, channels)
        for number in range(1, blocks + 1):
            attention = SpatialAttention(channels, _ATTENTION)
            block = _LocalFeatures(channels, middle, attention)
            self.add_module(f"block_{number}", block)
        self.upsampler = shuffled(channels, scale)

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        value = first = self.conv_1(lr)
        for block in numbered(self, "block_"):
            value = block(value)
        hr: Tensor = self.upsampler(self.conv_2(value) + first)
        return hr


class SlimRLFN(ImageNetwork):
    """A narrow RLFN, whose attention has no skip (team 21 of the NTIRE 2024 challenge).

    The tensor names are those of the team's release, so its state dicts load strictly. Images
    must be at least 15 pixels high and wide.

    Args:
        scale: magnification, 2, 3 or 4 (the weights of the team are for 4).
        channels: width of the trunk.
        middles: width within each of the blocks.
        rgb_range: largest pixel value that the weights were trained for (255 for the team's).

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in SlimRLFN().parameters())
        207774
    """

    def __init__(
        self,
        scale: int = 4,
        channels: int = 30,
        middles: Sequence[int] = (30,) * 6,
        rgb_range: float = 1.0,
    ) -> None:
        wholes(self, middles=middles)
        super().__init__(scale, channels, len(middles), rgb_range)
        self.conv_1, self.conv_2 = conv(3, channels), conv(channels, channels)
        self.block_list = nn.Sequential(
            *(
                _LocalFeatures(channels, middle, SpatialAttention(channels, _ATTENTION, skip=False))
                for middle in middles
            )
        )
        shuffle = nn.PixelShuffle(scale)
        self.upsampler = nn.Sequential(
            OrderedDict(upsample_conv=conv(channels, 3 * scale**2), shuffle=shuffle)
        )

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        first = self.conv_1(lr)
        hr: Tensor = self.upsampler(self.conv_2(self.block_list(first)) + first)
        return hr


class _LocalFeatures(nn.Module):
    """Three convolutions and one skip around them, then attention."""

    def __init__(self, channels: int, middle: int, attention: nn.Module) -> None:
        super().__init__()
        self.c1_r, self.c2_r = conv(channels, middle), conv(middle, middle)
        self.c3_r, self.c5 = conv(middle, channels), point(channels, channels)
        self.esa, self.act = attention, nn.LeakyReLU(0.05)

    def forward(self, x: Tensor) -> Tensor:
        refined = self.act(self.c3_r(self.act(self.c2_r(self.act(self.c1_r(x))))))
        weighed: Tensor = self.esa(self.c5(refined + x))
        return weighed
