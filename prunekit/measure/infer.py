"""Running a network on one image or clip, or saying why it gives none."""

from __future__ import annotations

__all__ = ["infer", "to_image"]

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.data.image import ByteImage
from prunekit.errors import MeasureError
from prunekit.measure.mode import in_mode


def infer(model: nn.Module, batch: Tensor, *, centre: bool = False) -> Tensor:
    """Run a network in evaluation mode on `(1, 3, H, W)` or on a clip `(1, T, 3, H, W)`.

    The batch is of its own device and dtype. Of a clip it gives back every frame, or with `centre`
    one image. Raises `MeasureError` if it fails or the output is anything else, or not finite.
    """
    frames = batch.shape[1] if batch.ndim == 5 else 0  # noqa: PLR2004 (a clip)
    try:
        with in_mode(model, training=False), torch.no_grad():
            output = model(batch)
    except Exception as error:  # the network's own code can fail in any way
        what, else_ = (
            (f"a clip of {frames} frames", "clips that it takes")
            if frames
            else ("an image", "images that it takes, or clips with 'frames' if it is of video")
        )
        message = (
            f"the network fails on {what} of {batch.shape[-1]}x{batch.shape[-2]} pixels "
            f"({type(error).__name__}: {error}); give it {else_}"
        )
        raise MeasureError(message) from error
    _check_output(output, frames, centre=centre)
    assert isinstance(output, Tensor)
    return output


def to_image(planes: Tensor) -> ByteImage:
    """Clamp and round planes `(3, H, W)` of 0 to 1 to an 8-bit image."""
    pixels = planes.float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    return np.ascontiguousarray(pixels.numpy().transpose(1, 2, 0))


def _check_output(output: object, frames: int, *, centre: bool) -> None:
    wanted = (1, frames, 3) if frames and not centre else (1, 3)
    found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
    if not isinstance(output, Tensor) or found[:-2] != wanted:
        given = f"a clip of {frames} RGB frames" if frames else "one RGB image"
        message = (
            f"the network turns {given} into {found} where ({', '.join(map(str, wanted))}, height, "
            f"width) is needed; {_remedy(output, frames, centre=centre)}"
        )
        raise MeasureError(message)
    if not torch.isfinite(output).all():
        message = (
            "the network's output holds values that are not finite, so it has no PSNR; check its "
            "weights, or train with a lower learning_rate"
        )
        raise MeasureError(message)


def _remedy(output: object, frames: int, *, centre: bool) -> str:
    """Say what to do; a network of clips that gives back the other is fed otherwise."""
    dimensions = output.ndim if isinstance(output, Tensor) else 0
    if frames and not centre and dimensions == 4:  # noqa: PLR2004 (an image)
        return "if that is the frame in the middle, set target centre"
    if frames and centre and dimensions == 5:  # noqa: PLR2004 (a clip)
        return "if that is every frame, set target all"
    return f"wrap it in a module that returns the {'image' if not frames else 'frames'} alone"
