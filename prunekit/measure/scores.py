"""Scoring a network on pairs that are read one by one: convention, figures of images, means."""

from __future__ import annotations

__all__ = ["Channels", "Convention", "ImageScore", "Scores", "score"]

import time
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from torch import nn

from prunekit.data.image import Image
from prunekit.data.pairs import ImagePair
from prunekit.errors import DataError, MeasureError
from prunekit.measure.evaluate import super_resolve
from prunekit.measure.quality import psnr_rgb, psnr_y, ssim_rgb, ssim_y
from prunekit.progress import Progress

Channels = Literal["y", "rgb"]
"""What is compared: luma of BT.601 (16 to 235, not rounded), or all of RGB."""


@dataclass(frozen=True)
class Convention:
    """How two 8-bit images are compared; figures of different conventions are no neighbours."""

    channels: Channels
    border: int  # pixels cut off every side
    scale: int  # HR is cut at the bottom and right to a multiple of it

    def psnr(self, sr: Image, hr: Image) -> float:
        """Peak signal-to-noise ratio in dB."""
        measure = psnr_y if self.channels == "y" else psnr_rgb
        return measure(sr, hr, self.border)

    def ssim(self, sr: Image, hr: Image) -> float:
        """Structural similarity, an 11x11 Gaussian window without padding."""
        measure = ssim_y if self.channels == "y" else ssim_rgb
        return measure(sr, hr, self.border)


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

    convention: Convention
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


def score(
    model: nn.Module,
    pairs: Iterable[ImagePair],
    convention: Convention,
    *,
    total: int,
    progress: Progress,
) -> Scores:
    """Super-resolve and compare pair by pair, so that one image at a time is held.

    Raises `MeasureError` if the network's output is not finite or not the size of HR, and
    `DataError` if an image is too small to be compared inside the border.
    """
    progress.start("evaluate", total)
    images = []
    for pair in pairs:
        figures = _score_pair(model, pair, convention)
        images.append(figures)
        progress.advance(psnr=figures.psnr, ssim=figures.ssim)
    scores = Scores(convention, tuple(images))
    progress.finish(f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.4f}")
    return scores


def _score_pair(model: nn.Module, pair: ImagePair, convention: Convention) -> ImageScore:
    started = time.perf_counter()
    try:
        sr = super_resolve(model, pair.lr)  # ends with a copy to the host, which waits for a GPU
    except MeasureError as error:
        message = f"image '{pair.name}': {error}"
        raise MeasureError(message) from error
    seconds = time.perf_counter() - started
    if sr.shape != pair.hr.shape:
        message = (
            f"image '{pair.name}': the network turns {_size(pair.lr)} pixels into {_size(sr)} "
            f"where scale {convention.scale} asks for {_size(pair.hr)}; set the scale of the "
            "network"
        )
        raise MeasureError(message)
    try:
        psnr, ssim = convention.psnr(sr, pair.hr), convention.ssim(sr, pair.hr)
    except ValueError as error:
        message = f"image '{pair.name}' cannot be scored: {error}; leave it out"
        raise DataError(message) from error
    return ImageScore(pair.name, psnr, ssim, seconds)


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
