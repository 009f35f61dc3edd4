"""Running a network on one image, or saying why it gives none."""

from __future__ import annotations

__all__ = ["infer"]

import torch
from torch import Tensor, nn

from prunekit.errors import MeasureError
from prunekit.measure.mode import in_mode


def infer(model: nn.Module, batch: Tensor) -> Tensor:
    """Run a network in evaluation mode on `(1, 3, H, W)`, of its own device and dtype.

    Raises `MeasureError` if it fails or the output is not one finite RGB image.
    """
    try:
        with in_mode(model, training=False), torch.inference_mode():
            output = model(batch)
    except Exception as error:  # the network's own code can fail in any way
        message = (
            f"the network fails on an image of {batch.shape[3]}x{batch.shape[2]} pixels "
            f"({type(error).__name__}: {error}); give it images that it takes"
        )
        raise MeasureError(message) from error
    _check_output(output)
    assert isinstance(output, Tensor)
    return output


def _check_output(output: object) -> None:
    if not isinstance(output, Tensor) or output.ndim != 4 or output.shape[:2] != (1, 3):  # noqa: PLR2004
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        message = (
            f"the network turns one RGB image into {found} where (1, 3, height, width) is "
            "needed; wrap it in a module that returns the image alone"
        )
        raise MeasureError(message)
    if not torch.isfinite(output).all():
        message = (
            "the network's output holds values that are not finite, so it has no PSNR; check its "
            "weights, or train with a lower learning_rate"
        )
        raise MeasureError(message)
