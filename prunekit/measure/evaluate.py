"""Super-resolving pairs of images and scoring the result."""

from __future__ import annotations

__all__ = [
    "Evaluation",
    "ImageQuality",
    "Quality",
    "evaluate",
    "evaluate_bicubic",
    "score_pair",
    "super_resolve",
    "super_resolve_pair",
]

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from torch import nn

from prunekit.data.image import Image
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import upscale
from prunekit.errors import DataError, MeasureError
from prunekit.measure.infer import infer
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Figures, Protocol, score
from prunekit.progress import Progress


@dataclass(frozen=True)
class ImageQuality:
    """The figures of one image."""

    name: str
    psnr_y: float  # dB; infinite for an image without error
    ssim_y: float


@dataclass(frozen=True)
class Quality:
    """The means over images, on Y of BT.601 of 8-bit images."""

    psnr_y: float  # dB
    ssim_y: float
    border: int  # pixels cut off every side before comparing
    images: tuple[ImageQuality, ...]  # in the order of the pairs


@dataclass(frozen=True)
class Evaluation:
    """What a network made of some images, and how good that is."""

    quality: Quality
    outputs: tuple[Image, ...]  # 8-bit, in the order of the pairs


def evaluate(
    model: nn.Module,
    pairs: Sequence[ImagePair],
    *,
    border: int,
    progress: Progress,
    name: str = "network",
) -> Evaluation:
    """Super-resolve every LR image and compare it with its HR image; `name` is for the progress.

    Raises `MeasureError` if the network's output is not finite or not the size of HR, and
    `DataError` if an image is too small to be compared inside the border.
    """
    progress.start(f"evaluate {name}", len(pairs))
    outputs, images = [], []
    for pair in pairs:
        sr = super_resolve_pair(model, pair)
        figures = _compare(sr, pair, border)
        outputs.append(sr)
        images.append(figures)
        progress.advance(psnr_y=figures.psnr_y)
    quality = _mean(images, border)
    progress.finish(f"{quality.psnr_y:.2f} dB, SSIM {quality.ssim_y:.4f}")
    return Evaluation(quality=quality, outputs=tuple(outputs))


def evaluate_bicubic(pairs: Sequence[ImagePair], *, border: int) -> Evaluation:
    """Score MATLAB's bicubic enlargement, what a network has to beat."""
    outputs = tuple(upscale(pair.lr, pair.scale) for pair in pairs)
    images = [_compare(sr, pair, border) for sr, pair in zip(outputs, pairs, strict=True)]
    return Evaluation(quality=_mean(images, border), outputs=outputs)


def super_resolve(model: nn.Module, lr: Image) -> Image:
    """Run a network whose pixels are 0 to 1 on one image; the result is clamped and rounded.

    The network runs in evaluation mode, on its own device and in its own dtype. Raises
    `MeasureError` if the output is not one finite RGB image.
    """
    device, dtype = placement(model)
    batch = torch.from_numpy(lr.transpose(2, 0, 1).copy()).unsqueeze(0).to(device, dtype) / 255
    output = infer(model, batch)
    pixels = output[0].float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    return np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0))


def super_resolve_pair(model: nn.Module, pair: ImagePair) -> Image:
    """Return what a network makes of LR, of the size of HR.

    Raises `MeasureError`, which names the image, if it makes anything else.
    """
    try:
        sr = super_resolve(model, pair.lr)
    except MeasureError as error:
        message = f"image '{pair.name}': {error}"
        raise MeasureError(message) from error
    if sr.shape != pair.hr.shape:
        message = (
            f"image '{pair.name}': the network turns {_size(pair.lr)} pixels into {_size(sr)} "
            f"where scale {pair.scale} asks for {_size(pair.hr)}; set the scale of the network"
        )
        raise MeasureError(message)
    return sr


def score_pair(sr: Image, pair: ImagePair, protocol: Protocol) -> Figures:
    """Compare an output with HR. Raises `DataError` for an image too small to be compared."""
    try:
        return score(sr, pair.hr, protocol, scale=pair.scale)
    except ValueError as error:
        message = f"image '{pair.name}' cannot be scored: {error}; leave it out"
        raise DataError(message) from error


def _compare(sr: Image, pair: ImagePair, border: int) -> ImageQuality:
    figures = score_pair(sr, pair, Protocol("y", border))
    return ImageQuality(pair.name, figures.psnr, figures.ssim)


def _mean(images: Sequence[ImageQuality], border: int) -> Quality:
    if not images:
        message = "the mean over no image is asked for; give at least one pair"
        raise ValueError(message)
    return Quality(
        psnr_y=fmean(image.psnr_y for image in images),
        ssim_y=fmean(image.ssim_y for image in images),
        border=border,
        images=tuple(images),
    )


def _size(image: Image) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
