"""SAFMN++ and SAFMN v3: some channels are weighed by a coarse copy of themselves."""

from __future__ import annotations

__all__ = ["SAFMNPP", "SAFMNV3"]

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.nets.arguments import positive, whole
from prunekit.nets.layers import ImageNetwork, conv

_COARSE = 8
"""How many times smaller the coarse copy is."""


class _Modulation(nn.Module):
    """Some channels are weighed by a coarse copy of themselves, then all are mixed."""

    align_corners: ClassVar[bool] = False

    def __init__(self, channels: int, coarse: int) -> None:
        super().__init__()
        self.dwconv = conv(coarse, coarse, conv_groups=coarse, bias=False)
        self.out = conv(channels, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        seen, rest = self.divided(x)
        height, width = x.shape[2:]
        coarse = self.mixed(F.adaptive_max_pool2d(seen, (height // _COARSE, width // _COARSE)))
        corners = self.align_corners
        large = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=corners)
        mixed: Tensor = self.out(F.gelu(torch.cat([rest, F.gelu(large) * seen], 1)))
        return mixed

    def divided(self, x: Tensor) -> Sequence[Tensor]:
        """Return the channels to weigh, and all others."""
        raise NotImplementedError

    def mixed(self, coarse: Tensor) -> Tensor:
        """Return what is computed at the coarse size."""
        mixed: Tensor = self.dwconv(coarse)
        return mixed


class _SplitModulation(_Modulation):
    """Of SAFMN++: one convolution, then a split."""

    def __init__(self, channels: int, coarse: int) -> None:
        super().__init__(channels, coarse)
        self.sizes = (coarse, channels - coarse)
        self.proj = conv(channels, channels, bias=False)

    def divided(self, x: Tensor) -> Sequence[Tensor]:
        parts: Sequence[Tensor] = self.proj(x).split(self.sizes, 1)
        return parts


class _TwofoldModulation(_Modulation):
    """Of SAFMN v3: two convolutions, and one of a pixel at the coarse size."""

    align_corners = True

    def __init__(self, channels: int, coarse: int) -> None:
        super().__init__(channels, coarse)
        self.conv1 = conv(channels, coarse, bias=False)
        self.conv2 = conv(channels, channels - coarse, bias=False)
        self.conv3 = conv(coarse, coarse, 1, bias=False)

    def divided(self, x: Tensor) -> Sequence[Tensor]:
        return self.conv1(x), self.conv2(x)

    def mixed(self, coarse: Tensor) -> Tensor:
        mixed: Tensor = self.conv3(self.dwconv(coarse))
        return mixed


class _ConvolutionalMixer(nn.Module):
    """Two convolutions, with more channels between."""

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = conv(channels, hidden, kernel, bias=False)
        self.conv2 = conv(hidden, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.conv2(F.gelu(self.conv1(x)))
        return mixed


class _ModulatedBlock(nn.Module):
    """A modulation and a mixer, and one skip around both."""

    def __init__(self, modulation: nn.Module, mixer: nn.Module) -> None:
        super().__init__()
        self.conv1, self.conv2 = modulation, mixer

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.conv2(self.conv1(x))
        return mixed + x


class SAFMNPP(ImageNetwork):
    """SAFMN++ of team 23 in the NTIRE 2024 challenge, after SAFMN (Sun et al., ICCV 2023).

    The tensor names are those of the team's release, so its state dict loads strictly. Images must
    be at least 8 pixels high and wide.

    Args:
        scale: magnification, 2, 3 or 4 (the weights of the team are for 4).
        channels: width of the trunk.
        blocks: number of blocks.
        coarse: how many channels are weighed, fewer than there are.
        growth: width between the two convolutions of a mixer, as a multiple of `channels`.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in SAFMNPP(scale=4).parameters())
        211572
    """

    modulation: ClassVar[type[_Modulation]] = _SplitModulation
    mixer_kernel: ClassVar[int] = 3

    def __init__(
        self,
        scale: int = 4,
        channels: int = 36,
        blocks: int = 6,
        coarse: int = 12,
        *,
        growth: float = 1.5,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, rgb_range)
        whole(self, coarse=coarse)
        positive(self, growth=growth)
        if not coarse < channels:
            message = f"{type(self).__name__} weighs some of {channels} channels, not {coarse}"
            raise ValueError(message)
        hidden, kernel = int(channels * growth), self.mixer_kernel
        whole(self, **{"channels * growth": hidden})
        self.to_feat = conv(3, channels, bias=False)
        self.feats = nn.Sequential(
            *(
                _ModulatedBlock(
                    self.modulation(channels, coarse),
                    _ConvolutionalMixer(channels, hidden, kernel),
                )
                for _ in range(blocks)
            )
        )
        last = conv(channels, 3 * scale**2, bias=False)
        self.to_img = nn.Sequential(last, nn.PixelShuffle(scale))

    def enlarge(self, lr: Tensor) -> Tensor:
        """Super-resolve a batch of images whose pixels are 0 to `rgb_range`."""
        image = F.interpolate(lr, scale_factor=self.scale, mode="bilinear", align_corners=False)
        detail: Tensor = self.to_img(self.feats(self.to_feat(lr)))
        return detail + image


class SAFMNV3(SAFMNPP):
    """SAFMN v3 of team 19 in the NTIRE 2025 challenge, after SAFMN (Sun et al., ICCV 2023).

    The tensor names are those of the team's release, so its state dict loads strictly. There is
    no paper of it: it was written by the shapes of its tensors, and with them has 32.018 dB on
    Set5 where the team's code has 32.031, so some detail of it differs.

    Args:
        scale: magnification, 2, 3 or 4 (the weights of the team are for 4).
        channels: width of the trunk.
        blocks: number of blocks.
        coarse: how many channels are weighed, fewer than there are.
        rgb_range: largest pixel value that the weights were trained for.

    Shape:
        `(N, 3, H, W)` to `(N, 3, scale * H, scale * W)`, pixels 0 to 1.

    Example:
        >>> sum(p.numel() for p in SAFMNV3(scale=4).parameters())
        144672
    """

    modulation = _TwofoldModulation
    mixer_kernel = 1

    def __init__(
        self,
        scale: int = 4,
        channels: int = 40,
        blocks: int = 6,
        coarse: int = 12,
        *,
        rgb_range: float = 1.0,
    ) -> None:
        super().__init__(scale, channels, blocks, coarse, rgb_range=rgb_range)
