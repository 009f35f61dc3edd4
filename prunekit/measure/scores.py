"""Figures of images by a protocol, and their means."""

from __future__ import annotations

__all__ = ["ImageScore", "Scores"]

from dataclasses import dataclass
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

    @property
    def psnr(self) -> float:
        """Mean over the images, in dB."""
        return fmean(image.psnr for image in self.images)

    @property
    def ssim(self) -> float:
        """Mean over the images."""
        return fmean(image.ssim for image in self.images)

    @property
    def seconds(self) -> float:
        """Mean over the images."""
        return fmean(image.seconds for image in self.images)
