"""Super-resolving pairs of images and scoring the result."""

from __future__ import annotations

__all__ = ["Take", "evaluate", "evaluate_bicubic", "super_resolve"]

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from prunekit.data.image import Image, size_of
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import upscale
from prunekit.errors import DataError, MeasureError
from prunekit.measure.infer import infer
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Protocol, score
from prunekit.measure.scores import ImageScore, Scores
from prunekit.progress import Progress, Silent

Take = Callable[[str, Image], None]
"""Told the name of every image and what was made of it, with 8 bits."""


def evaluate(
    model: nn.Module,
    pairs: Sequence[ImagePair],
    protocol: Protocol,
    *,
    progress: Progress,
    name: str = "",
    take: Take | None = None,
) -> Scores:
    """Super-resolve every LR image and compare it with its HR image; one pair at a time is held.

    HR is cut as the protocol says already; `name` is for the progress. Raises `MeasureError` if
    the network's output is not finite or not the size of HR, and `DataError` if an image is too
    small to be compared inside the border.
    """
    progress.start(f"evaluate {name}".rstrip(), len(pairs))
    scores = _score(lambda pair: _super_resolve_pair(model, pair), pairs, protocol, progress, take)
    progress.finish(f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.4f}")
    return scores


def evaluate_bicubic(
    pairs: Sequence[ImagePair], protocol: Protocol, *, take: Take | None = None
) -> Scores:
    """Score MATLAB's bicubic enlargement, what a network has to beat."""
    return _score(lambda pair: upscale(pair.lr, pair.scale), pairs, protocol, Silent(), take)


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


def _score(
    enlarge: Callable[[ImagePair], Image],
    pairs: Sequence[ImagePair],
    protocol: Protocol,
    progress: Progress,
    take: Take | None,
) -> Scores:
    images: list[ImageScore] = []
    scale = 0
    for pair in pairs:
        started = time.perf_counter()
        sr = enlarge(pair)  # ends with a copy to the host, after all GPU work
        seconds = time.perf_counter() - started
        images.append(_compared(sr, pair, protocol, seconds))
        scale = pair.scale
        if take is not None:
            take(pair.name, sr)
        progress.advance(**{protocol.key: images[-1].psnr}, ssim=images[-1].ssim)
    if not images:
        message = "the mean over no image is asked for; give at least one pair"
        raise ValueError(message)
    return Scores(protocol.at(scale), scale, tuple(images))


def _super_resolve_pair(model: nn.Module, pair: ImagePair) -> Image:
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
            f"image '{pair.name}': the network turns {size_of(pair.lr)} pixels into {size_of(sr)} "
            f"where scale {pair.scale} asks for {size_of(pair.hr)}; set the scale of the network"
        )
        raise MeasureError(message)
    return sr


def _compared(sr: Image, pair: ImagePair, protocol: Protocol, seconds: float) -> ImageScore:
    """Compare an output with HR. Raises `DataError` for an image too small to be compared."""
    try:
        figures = score(sr, pair.hr, protocol, scale=pair.scale)
    except ValueError as error:
        message = f"image '{pair.name}' cannot be scored: {error}; leave it out"
        raise DataError(message) from error
    return ImageScore(pair.name, figures.psnr, figures.ssim, seconds)
