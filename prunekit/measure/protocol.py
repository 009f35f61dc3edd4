"""How papers and challenges compare images: which channels, which border, which crop."""

from __future__ import annotations

__all__ = [
    "PROTOCOLS",
    "Channels",
    "Figures",
    "Protocol",
    "ProtocolName",
    "choose_protocol",
    "psnr_of",
    "score",
]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from prunekit.data.image import Image
from prunekit.errors import MeasureError, did_you_mean
from prunekit.measure.quality import psnr_rgb, psnr_y, ssim_rgb, ssim_y

Metric = Callable[[Image, Image, int], float]
Channels = Literal["y", "rgb"]
ProtocolName = Literal["y", "rgb", "gtmod12", "ntire", "reds4", "vid4"]

_METRICS: Mapping[Channels, tuple[Metric, Metric]] = MappingProxyType(
    {"y": (psnr_y, ssim_y), "rgb": (psnr_rgb, ssim_rgb)}
)


@dataclass(frozen=True)
class Protocol:
    """A convention by which figures are stated; images are compared as 8-bit ones in all."""

    channels: Channels  # Y of BT.601 with 16 to 235, not rounded; or R, G and B
    border: int | None  # pixels cut off every side; None: the scale
    modcrop: int | None = None  # HR is cut to a multiple of this first; None: the scale

    @property
    def label(self) -> str:
        """What tables call the PSNR: `PSNR-Y` or `PSNR-RGB`."""
        return f"PSNR-{self.channels.upper()}"

    @property
    def key(self) -> str:
        """What logs call the PSNR: `psnr_y` or `psnr_rgb`."""
        return f"psnr_{self.channels}"

    def at(self, scale: int) -> Protocol:
        """Return it with border and crop in pixels at a scale."""
        return replace(self, border=self.border_at(scale), modcrop=self.modcrop_at(scale))

    def border_at(self, scale: int) -> int:
        """Pixels cut off every side at a scale."""
        return scale if self.border is None else self.border

    def modcrop_at(self, scale: int) -> int:
        """What the sides of HR are a multiple of at a scale."""
        return scale if self.modcrop is None else self.modcrop

    def __str__(self) -> str:
        channels = "Y of BT.601" if self.channels == "y" else "RGB"
        border, crop = (
            "scale" if size is None else str(size) for size in (self.border, self.modcrop)
        )
        return f"{channels}, border {border}, modcrop {crop}"


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        "y": Protocol("y", border=None),  # Set5 to Urban100 in EDSR, RCAN, IMDN and most others
        "rgb": Protocol("rgb", border=None),
        "gtmod12": Protocol("y", border=None, modcrop=12),  # those sets in BasicSR
        "ntire": Protocol("rgb", border=4),  # efficient super-resolution, x4
        "reds4": Protocol("rgb", border=0),  # video: four clips of REDS, in EDVR and BasicVSR
        "vid4": Protocol("y", border=0),  # video: four clips, in BasicVSR
    }
)
"""The usual ones by name."""

_CHANNELS: tuple[Channels, ...] = ("y", "rgb")


def choose_protocol(
    name: str | Protocol | None = None,
    *,
    channels: Channels | None = None,
    border: int | None = None,
    modcrop: int | None = None,
) -> Protocol:
    """Take a protocol or that of a name, `y` unless given, with what is stated otherwise.

    Raises `MeasureError` for what there is not, and for the names `y` and `rgb` beside the other
    channels.
    """
    if isinstance(name, str) and name not in PROTOCOLS:
        message = f"there is no protocol '{name}'{did_you_mean(name, PROTOCOLS)}"
        raise MeasureError(message)
    if channels is not None and channels not in _CHANNELS:
        message = f"there are no channels '{channels}'; compare 'y' or 'rgb'"
        raise MeasureError(message)
    if channels is not None and name in _CHANNELS and name != channels:
        message = f"protocol '{name}' contradicts channels '{channels}'; leave one of both out"
        raise MeasureError(message)
    for what, size, least in (("border", border, 0), ("modcrop", modcrop, 1)):
        if size is not None and size < least:
            message = f"{what} {size} is no size; name {least} or more pixels"
            raise MeasureError(message)
    base = name if isinstance(name, Protocol) else PROTOCOLS[name or "y"]
    return Protocol(
        channels=base.channels if channels is None else channels,
        border=base.border if border is None else border,
        modcrop=base.modcrop if modcrop is None else modcrop,
    )


def psnr_of(sr: Image, hr: Image, channels: Channels) -> float:
    """PSNR in dB of two 8-bit RGB images, on Y or on RGB, up to their edges."""
    return _METRICS[channels][0](sr, hr, 0)


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
