"""Figures of images by a protocol, and their means."""

from __future__ import annotations

__all__ = ["ImageScore", "Scores"]

from dataclasses import dataclass, field
from statistics import fmean

from prunekit.measure.protocol import Protocol


@dataclass(frozen=True)
class ImageScore:
    """The figures of one image."""

    name: str
    psnr: float  # dB; infinite for an image without error
    ssim: float
    seconds: float  # the network's pass, with the way to the device and back


@dataclass(frozen=True)
class Scores:
    """The figures of a set of images, and how they were compared."""

    protocol: Protocol  # with border and crop in pixels
    scale: int
    images: tuple[ImageScore, ...]  # in the order of the pairs
    psnr: float = field(init=False)  # dB; mean over the images, as all three
    ssim: float = field(init=False)
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        for figure in ("psnr", "ssim", "seconds"):
            mean = fmean(getattr(image, figure) for image in self.images)
            object.__setattr__(self, figure, mean)
