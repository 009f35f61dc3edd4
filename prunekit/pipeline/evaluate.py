"""Scoring a network on folders of images or clips, and the figures as JSON."""

from __future__ import annotations

__all__ = ["evaluate", "evaluate_source", "scores_json"]

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from prunekit.data.pairs import ClipPair, Clips, Folder, ImagePair, find_clips, find_pairs
from prunekit.errors import DataError, MeasureError
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import evaluate as evaluate_pairs
from prunekit.measure.feed import Feed, Padding, TargetFrames, choose_feed
from prunekit.measure.infer import infer
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Channels, Protocol, ProtocolName, choose_protocol
from prunekit.measure.scores import ClipScore, ImageScore, Scores
from prunekit.progress import Progress, Silent

_FORMAT = "prunekit-scores/1"

_SIDE = 64
"""Of the image by which the scale of a network is found that does not tell it."""

_CHANNELS = {"y": "Y of BT.601 (16 to 235), not rounded", "rgb": "RGB"}


def evaluate(
    model: nn.Module,
    data: str | Path,
    *,
    lr: str | Path | None = None,
    names: Sequence[str] | None = None,
    scale: int | None = None,
    protocol: Protocol | ProtocolName | None = None,
    channels: Channels | None = None,
    border: int | None = None,
    modcrop: int | None = None,
    clips: bool = False,
    frames: int | Literal["whole"] | None = None,
    target: TargetFrames | None = None,
    padding: Padding | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Super-resolve a folder of images or clips and compare the 8-bit result with the originals.

    Figures of clips are means over the frames of each, and then over the clips.

    Args:
        model: takes and gives RGB from 0 to 1; it runs on its own device and in its own dtype.
            Images are `(1, 3, H, W)`, clips `(1, T, 3, H, W)`.
        data: folder of HR images; each is cut at the bottom and right to a multiple of `modcrop`.
        lr: folder of LR images, called as HR or with the scale behind (`babyx2.png`); made from HR
            by MATLAB's bicubic unless given.
        names: take only these images, without their suffix, or these clips.
        scale: magnification; what the network's attribute `scale` says, or else it does, unless
            given.
        protocol: how images are compared, of `prunekit.measure.protocol` or by its name; `y` if
            not given: luma, and `scale` pixels cut off every side.
        channels: compare luma (`"y"`), or all of `"rgb"`, whatever the protocol says.
        border: pixels to cut off every side before comparing, likewise.
        modcrop: what the sides of HR are a multiple of, likewise.
        clips: the folder holds clips, each a folder of frames; so does `lr`.
        frames: for networks of clips: `whole` gives the network whole clips, as REDS4 and Vid4 are
            evaluated; a number gives it parts of at most so many frames, each by itself, or with
            target `centre` windows of so many. Without it every frame is an image by itself.
        target: the network gives back `all` the frames it is given, or the `centre` alone.
        padding: with target `centre`, which frames stand for those beyond the ends of a clip:
            `replicate`, `reflection`, `reflection_circle` (unless given) or `circle`, as in
            BasicSR.
        progress: told where the work stands.

    Raises:
        DataError: a file is missing, cannot be read, or is not of the size it should be.
        MeasureError: the network gives no usable image, or the protocol is none.
    """
    chosen = choose_protocol(protocol, channels=channels, border=border, modcrop=modcrop)
    feed = choose_feed(frames, target=target, padding=padding)
    kind = Clips if clips else Folder
    source = kind(Path(data), None if names is None else tuple(names), Path(lr) if lr else None)
    return evaluate_source(model, source, chosen, scale=scale, feed=feed, progress=progress)


def evaluate_source(
    model: nn.Module,
    source: Clips | Folder,
    protocol: Protocol,
    *,
    scale: int | None = None,
    feed: Feed | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Do what `evaluate` does, told in parts."""
    factor = _scale(model) if scale is None else scale
    if factor < 1:
        message = f"scale {factor} is no size; name one of 1 or more"
        raise DataError(message)
    if factor == 1 and source.lr is None:
        message = (
            "a network of scale 1 keeps the size of an image, so LR cannot be made from HR; name "
            "the folder of what it takes with --lr"
        )
        raise DataError(message)
    if feed is not None and not isinstance(source, Clips):
        message = "frames, target and padding are of clips; say that the folder holds clips"
        raise MeasureError(message)
    crop = protocol.modcrop_at(factor)
    pairs: Sequence[ImagePair] | Sequence[ClipPair] = (
        find_clips(source, factor, modcrop=crop)
        if isinstance(source, Clips) and feed is not None
        else find_pairs(source, factor, modcrop=crop)
    )
    return evaluate_pairs(model, pairs, protocol, feed=feed, progress=progress or Silent())


def scores_json(scores: Scores, model: nn.Module, /, **told: object) -> str:
    """Return the figures as JSON, with the convention and what they were measured on.

    `told` says more, such as where the images are from. A PSNR without end is `null`.
    """
    protocol, scale = scores.protocol, scores.scale
    content = {
        "format": _FORMAT,
        **told,
        "scale": scale,
        "convention": {
            "channels": _CHANNELS[protocol.channels],
            "border": protocol.border,
            "modcrop": protocol.modcrop,
            "sr": "clamped and rounded to 8 bits",
            "ssim": "11x11 Gaussian window of sigma 1.5, no padding",
            "mean": f"over {scores.over}",
        },
        "psnr": _finite(scores.psnr),
        "ssim": scores.ssim,
        "seconds": scores.seconds,
        "clips": [{**_figures(clip), "frames": clip.frames} for clip in scores.clips],
        "images": [_figures(image) for image in scores.images],
        "device": str(placement(model)[0]),
        "dtype": str(placement(model)[1]).removeprefix("torch."),
        "environment": environment(),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _figures(score: ImageScore | ClipScore) -> dict[str, object]:
    figures = {"psnr": _finite(score.psnr), "ssim": score.ssim, "seconds": score.seconds}
    return {"name": score.name, **figures}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scale(model: nn.Module) -> int:
    """What the network says, or else does."""
    scale = getattr(model, "scale", None)
    if isinstance(scale, int):
        return scale
    device, dtype = placement(model)
    why = ""
    try:
        height, width = infer(
            model, torch.full((1, 3, _SIDE, _SIDE), 0.5, device=device, dtype=dtype)
        ).shape[-2:]
    except MeasureError as error:
        why = f" ({error})"
    else:
        if height == width and height % _SIDE == 0:
            return height // _SIDE
    message = f"a {type(model).__name__} does not tell its scale{why}; name it with --scale"
    raise DataError(message)
