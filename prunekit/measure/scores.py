"""Scoring a network by a protocol on pairs read one by one: figures of images, and their means."""

from __future__ import annotations

__all__ = ["ImageScore", "Scores", "score_network"]

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from torch import nn

from prunekit.data.pairs import ImagePair
from prunekit.measure.evaluate import score_pair, super_resolve_pair
from prunekit.measure.protocol import Protocol
from prunekit.progress import Progress


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

    protocol: Protocol
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


def score_network(
    model: nn.Module,
    pairs: Sequence[ImagePair],
    protocol: Protocol,
    *,
    scale: int,
    progress: Progress,
) -> Scores:
    """Super-resolve and compare pair by pair, so that one image at a time is held.

    HR is cut as the protocol says already. Raises `MeasureError` if the network's output is not
    finite or not the size of HR, and `DataError` if an image is too small to be compared inside
    the border.
    """
    progress.start("evaluate", len(pairs))
    images = []
    for pair in pairs:
        started = time.perf_counter()
        sr = super_resolve_pair(model, pair)  # ends with a copy to the host, after all GPU work
        seconds = time.perf_counter() - started
        figures = score_pair(sr, pair, protocol)
        images.append(ImageScore(pair.name, figures.psnr, figures.ssim, seconds))
        progress.advance(psnr=figures.psnr, ssim=figures.ssim)
    scores = Scores(protocol, scale, tuple(images))
    progress.finish(f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.4f}")
    return scores
