"""How papers and challenges compare images: which channels, which border, which crop."""

from __future__ import annotations

__all__ = ["PROTOCOLS", "Channels", "Figures", "Protocol", "score"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from prunekit.data.image import Image
from prunekit.measure.quality import psnr_rgb, psnr_y, ssim_rgb, ssim_y

Metric = Callable[[Image, Image, int], float]
Channels = Literal["y", "rgb"]

_METRICS: Mapping[Channels, tuple[Metric, Metric]] = MappingProxyType(
    {"y": (psnr_y, ssim_y), "rgb": (psnr_rgb, ssim_rgb)}
)


@dataclass(frozen=True)
class Protocol:
    """A convention by which figures are stated; images are compared as 8-bit ones in all."""

    channels: Channels  # Y of BT.601 with 16 to 235, not rounded; or R, G and B
    border: int | None  # pixels cut off every side; None: the scale
    modcrop: int | None = None  # HR is cut to a multiple of this first; None: the scale

    def border_at(self, scale: int) -> int:
        """Pixels cut off every side at a scale."""
        return scale if self.border is None else self.border

    def modcrop_at(self, scale: int) -> int:
        """What the sides of HR are a multiple of at a scale."""
        return scale if self.modcrop is None else self.modcrop

    def __str__(self) -> str:
        channels = "Y of BT.601" if self.channels == "y" else "RGB"
        border = "scale" if self.border is None else self.border
        return f"{channels}, border {border}, HR cut to a multiple of {self.modcrop or 'scale'}"


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "y": Protocol("y", border=None),  # Set5 to Urban100 in EDSR, RCAN, IMDN and most others
        "y_mod12": Protocol("y", border=None, modcrop=12),  # `GTmod12` of BasicSR
        "ntire": Protocol("rgb", border=4),  # efficient super-resolution, x4
        "reds4": Protocol("rgb", border=0),  # frames of the REDS4 clips
    }
)
"""The usual ones by name."""


@dataclass(frozen=True)
class Figures:
    """How near an image is to another by some protocol."""

    psnr: float  # dB; infinite for equal images
    ssim: float


def score(sr: Image, hr: Image, protocol: Protocol, *, scale: int) -> Figures:
    """Compare an 8-bit RGB output with HR, both cut to `protocol.modcrop_at(scale)` already.

    Raises `ValueError` if the shapes differ or too little is left inside the border.
    """
    psnr, ssim = _METRICS[protocol.channels]
    border = protocol.border_at(scale)
    return Figures(psnr(sr, hr, border), ssim(sr, hr, border))
