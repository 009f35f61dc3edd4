"""Running a network of video on a clip."""

from __future__ import annotations

__all__ = ["enlarge_clip"]

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.data.image import Image
from prunekit.measure.feed import Feed, window
from prunekit.measure.infer import infer, to_image
from prunekit.measure.mode import placement
from prunekit.measure.tiles import parts


def enlarge_clip(model: nn.Module, lr: Image, feed: Feed) -> Iterator[Image]:
    """Run a network on an 8-bit clip `(T, H, W, 3)`; returns every frame in order, 8-bit as well.

    It takes `(1, T, 3, H, W)` of 0 to 1, in evaluation mode, on its own device and in its own
    dtype. Raises `MeasureError` if the output is not finite or of another shape, and `DataError`
    for a clip that is too short.
    """
    if feed.target == "centre":
        chosen = [window(index, len(lr), feed) for index in range(len(lr))]
        for frames in chosen:
            yield to_image(infer(model, _batch(model, lr[frames]), centre=True)[0])
        return
    for first, end in parts(len(lr), feed.frames or 0):
        yield from map(to_image, infer(model, _batch(model, lr[first:end]))[0])


def _batch(model: nn.Module, lr: Image) -> Tensor:
    device, dtype = placement(model)
    planes = np.ascontiguousarray(lr.transpose(0, 3, 1, 2))
    return torch.from_numpy(planes).unsqueeze(0).to(device, dtype) / 255
