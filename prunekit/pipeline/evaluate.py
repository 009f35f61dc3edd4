"""Scoring a network on folders of images, and the figures as JSON."""

from __future__ import annotations

__all__ = ["evaluate", "scores_json"]

import json
import math
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from prunekit.data.pairs import Folder, find_pairs
from prunekit.errors import DataError, MeasureError
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import evaluate as evaluate_pairs
from prunekit.measure.mode import placement
from prunekit.measure.protocol import Channels, Protocol, ProtocolName, choose_protocol
from prunekit.measure.scores import Scores
from prunekit.progress import Progress, Silent

_FORMAT = "prunekit-scores/1"

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
    progress: Progress | None = None,
) -> Scores:
    """Super-resolve a folder of images and compare the 8-bit result with the originals.

    Args:
        model: takes and gives RGB from 0 to 1; it runs on its own device and in its own dtype.
        data: folder of HR images; each is cut at the bottom and right to a multiple of `modcrop`.
        lr: folder of LR images, called as HR or with the scale behind (`babyx2.png`); made from HR
            by MATLAB's bicubic unless given.
        names: take only these images, without their suffix.
        scale: magnification; what the network's attribute `scale` says unless given.
        protocol: how images are compared, of `prunekit.measure.protocol` or by its name; `y` if
            not given: luma, and `scale` pixels cut off every side.
        channels: compare luma (`"y"`), or all of `"rgb"`, whatever the protocol says.
        border: pixels to cut off every side before comparing, likewise.
        modcrop: what the sides of HR are a multiple of, likewise.
        progress: told where the work stands.

    Raises:
        DataError: a file is missing, cannot be read, or is not of the size it should be.
        MeasureError: the network gives no usable image, or the protocol is none.
    """
    factor = _scale(model) if scale is None else scale
    if factor < 1:
        message = f"scale {factor} is no size; name one of 1 or more"
        raise DataError(message)
    if not isinstance(protocol, Protocol):
        chosen = choose_protocol(protocol, channels=channels, border=border, modcrop=modcrop)
    elif (channels, border, modcrop) == (None, None, None):
        chosen = protocol
    else:
        message = "a protocol of one's own says all; leave channels, border and modcrop out"
        raise MeasureError(message)
    folder = Folder(
        Path(data), None if names is None else tuple(names), Path(lr) if lr is not None else None
    )
    pairs = find_pairs(folder, factor, modcrop=chosen.modcrop_at(factor))
    told = Silent() if progress is None else progress
    return evaluate_pairs(model, pairs, chosen, progress=told)


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
