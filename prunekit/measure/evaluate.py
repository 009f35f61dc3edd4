"""Super-resolving pairs of images or clips and scoring the result."""

from __future__ import annotations

__all__ = [
    "Take",
    "evaluate",
    "evaluate_bicubic",
    "frame_name",
    "super_resolve",
    "super_resolve_pair",
]

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import nn

from prunekit.data.image import Image, size_of
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.resize import upscale
from prunekit.errors import DataError, MeasureError
from prunekit.measure.clips import enlarge_clip
from prunekit.measure.feed import Feed
from prunekit.measure.infer import infer, to_image
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Protocol, score
from prunekit.measure.scores import ImageScore, Scores
from prunekit.progress import Progress, Silent

Pair = ImagePair | ClipPair

Take = Callable[[str, Image], None]
"""Told the name of every image or frame (`clip/00000000`) and what was made of it, with 8 bits."""


def evaluate(
    model: nn.Module,
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    protocol: Protocol,
    *,
    feed: Feed | None = None,
    progress: Progress,
    name: str = "",
    take: Take | None = None,
) -> Scores:
    """Super-resolve every LR image or clip and compare it with HR; one pair at a time is held.

    HR is cut as the protocol says already; `feed` is given for clips, and for clips alone; `name`
    is for the progress. Raises `MeasureError` if the network's output is not finite or not the
    size of HR, and `DataError` if an image is too small to be compared inside the border, or a
    clip too short for the network.
    """

    def enlarge(pair: Pair) -> Iterator[Image]:
        if isinstance(pair, ImagePair):
            yield super_resolve(model, pair.lr)
        else:
            assert feed is not None
            yield from enlarge_clip(model, pair.lr, feed)

    progress.start(f"evaluate {name}".rstrip(), len(pairs))
    scores = _score(enlarge, pairs, protocol, take=take, feed=feed, progress=progress)
    progress.finish(f"{scores.psnr:.2f} dB, SSIM {scores.ssim:.4f}")
    return scores


def evaluate_bicubic(
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    protocol: Protocol,
    *,
    take: Take | None = None,
) -> Scores:
    """Score MATLAB's bicubic enlargement, what a network has to beat, frame by frame of clips."""

    def enlarge(pair: Pair) -> Iterator[Image]:
        yield from (upscale(frame.lr, pair.scale) for frame in _frames(pair))

    return _score(enlarge, pairs, protocol, take=take)


def super_resolve(model: nn.Module, lr: Image) -> Image:
    """Run a network whose pixels are 0 to 1 on one image; the result is clamped and rounded.

    The network runs in evaluation mode, on its own device and in its own dtype. Raises
    `MeasureError` if the output is not one finite RGB image.
    """
    device, dtype = placement(model)
    batch = torch.from_numpy(lr.transpose(2, 0, 1).copy()).unsqueeze(0).to(device, dtype) / 255
    return to_image(infer(model, batch)[0])


def super_resolve_pair(model: nn.Module, pair: ImagePair) -> Image:
    """Return what a network makes of LR, of the size of HR.

    Raises `MeasureError`, which names the image, if it makes anything else.
    """
    try:
        sr = super_resolve(model, pair.lr)
    except MeasureError as error:
        message = f"image '{pair.name}': {error}"
        raise MeasureError(message) from error
    _check_size(sr, pair)
    return sr


def frame_name(clip: str, number: int) -> str:
    """Return what a frame of a clip is called, counted from 0."""
    return f"{clip}/{number:08d}"


def _score(
    enlarge: Callable[[Pair], Iterator[Image]],
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    protocol: Protocol,
    *,
    take: Take | None,
    feed: Feed | None = None,
    progress: Progress | None = None,
) -> Scores:
    told = Silent() if progress is None else progress
    images: list[ImageScore] = []
    scale = 0
    for pair in pairs:
        found = _score_pair(enlarge(pair), pair, protocol, take)
        images += found
        scale = pair.scale
        mean = Scores(protocol, scale, tuple(found))
        told.advance(**{protocol.key: mean.psnr}, ssim=mean.ssim)
    if not images:
        message = "the mean over no image is asked for; give at least one pair"
        raise ValueError(message)
    return Scores(protocol.at(scale), scale, tuple(images), feed)


def _score_pair(
    outputs: Iterator[Image], pair: Pair, protocol: Protocol, take: Take | None
) -> list[ImageScore]:
    """Compare what is made of an image, or of the frames of a clip, while it is made."""
    kind = "image" if isinstance(pair, ImagePair) else "clip"
    found: list[ImageScore] = []
    spent = 0.0
    for frame in _frames(pair):
        started = time.perf_counter()
        try:
            sr = next(outputs)  # ends with a copy to the host, after all GPU work
        except (MeasureError, DataError) as error:
            message = f"{kind} '{pair.name}': {error}"
            raise type(error)(message) from error
        spent += time.perf_counter() - started
        found.append(_compared(sr, frame, protocol))
        if take is not None:
            take(frame.name, sr)
    return [replace(score, seconds=spent / len(found)) for score in found]


def _frames(pair: Pair) -> Iterator[ImagePair]:
    """Take a clip apart, its frames numbered from 0; an image is itself."""
    if isinstance(pair, ImagePair):
        yield pair
        return
    for number, (lr, hr) in enumerate(zip(pair.lr, pair.hr, strict=True)):
        yield ImagePair(frame_name(pair.name, number), lr, hr)


def _compared(sr: Image, pair: ImagePair, protocol: Protocol) -> ImageScore:
    """Compare an output with HR.

    Raises `MeasureError` for one of another size, and `DataError` for an image too small to be
    compared.
    """
    _check_size(sr, pair)
    try:
        figures = score(sr, pair.hr, protocol, scale=pair.scale)
    except ValueError as error:
        message = f"image '{pair.name}' cannot be scored: {error}; leave it out"
        raise DataError(message) from error
    return ImageScore(pair.name, figures.psnr, figures.ssim, 0.0)


def _check_size(sr: Image, pair: ImagePair) -> None:
    if sr.shape != pair.hr.shape:
        message = (
            f"image '{pair.name}': the network turns {size_of(pair.lr)} pixels into {size_of(sr)} "
            f"where scale {pair.scale} asks for {size_of(pair.hr)}; set the scale of the network"
        )
        raise MeasureError(message)
