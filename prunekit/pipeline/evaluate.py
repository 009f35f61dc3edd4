"""Scoring a network on folders of images, and the figures as JSON."""

from __future__ import annotations

__all__ = ["evaluate", "scores_json"]

import json
import math
from pathlib import Path

from torch import nn

from prunekit.data.pairs import Folder, find_pairs
from prunekit.errors import DataError
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import evaluate as evaluate_pairs
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Channels, Protocol
from prunekit.measure.scores import Scores
from prunekit.progress import Progress, Silent

_FORMAT = "prunekit-scores/1"

_CHANNELS = {"y": "Y of BT.601 (16 to 235), not rounded", "rgb": "RGB"}


def evaluate(
    model: nn.Module,
    data: str | Path,
    *,
    lr: str | Path | None = None,
    scale: int | None = None,
    channels: Channels = "y",
    border: int | None = None,
    progress: Progress | None = None,
) -> Scores:
    """Super-resolve a folder of images and compare the 8-bit result with the originals.

    Args:
        model: takes and gives RGB from 0 to 1; it runs on its own device and in its own dtype.
        data: folder of HR images; each is cut at the bottom and right to a multiple of the scale.
        lr: folder of LR images, called as HR or with the scale behind (`babyx2.png`); made from HR
            by MATLAB's bicubic unless given.
        scale: magnification; what the network's attribute `scale` says unless given.
        channels: compare luma (`"y"`), or all of `"rgb"`.
        border: pixels to cut off every side before comparing; `scale` of them unless given.
        progress: told where the work stands.

    Raises:
        DataError: a file is missing, cannot be read, or is not of the size it should be.
        MeasureError: the network gives no usable image.
    """
    factor = _scale(model) if scale is None else scale
    if factor < 1 or (border or 0) < 0:
        message = f"scale {factor} or border {border} is no size; name a scale above 0"
        raise DataError(message)
    protocol = Protocol(channels, border)
    folder = Folder(Path(data), lr=Path(lr) if lr is not None else None)
    pairs = find_pairs(folder, factor, modcrop=protocol.modcrop_at(factor))
    told = Silent() if progress is None else progress
    return evaluate_pairs(model, pairs, protocol, progress=told)


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
            "border": protocol.border_at(scale),
            "modcrop": protocol.modcrop_at(scale),
            "sr": "clamped and rounded to 8 bits",
            "ssim": "11x11 Gaussian window of sigma 1.5, no padding",
            "mean": "over images",
        },
        "psnr": _finite(scores.psnr),
        "ssim": scores.ssim,
        "seconds": scores.seconds,
        "images": [
            {"name": i.name, "psnr": _finite(i.psnr), "ssim": i.ssim, "seconds": i.seconds}
            for i in scores.images
        ],
        "device": str(placement(model)[0]),
        "dtype": str(placement(model)[1]).removeprefix("torch."),
        "environment": environment(),
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _scale(model: nn.Module) -> int:
    scale = getattr(model, "scale", None)
    if isinstance(scale, int):
        return scale
    message = f"a {type(model).__name__} does not tell its scale; name it with --scale"
    raise DataError(message)
