"""Other sizes to try a network at."""

from __future__ import annotations

__all__ = ["larger_size", "shape_of", "smaller_size"]

from typing import TypeGuard

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from prunekit.graph import Inputs
from prunekit.graph.record import plain


def larger_size(inputs: Inputs) -> Inputs:
    """Images half as high again and twice as wide; other tensors as they are."""
    resized: Inputs = tree_map(_resized, plain(inputs))
    return resized


def smaller_size(inputs: Inputs) -> Inputs:
    """Images half as high again and half as wide; other tensors as they are."""
    resized: Inputs = tree_map(_narrowed, plain(inputs))
    return resized


def _resized(value: object) -> object:
    if not _is_image(value):
        return value
    taller = _taller(value)
    return torch.cat([taller, taller.flip(-1)], dim=-1)


def _narrowed(value: object) -> object:
    return _taller(value)[..., : -(-value.shape[-1] // 2)] if _is_image(value) else value


def _is_image(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim >= 4 and value.is_floating_point()  # noqa: PLR2004


def _taller(image: Tensor) -> Tensor:
    return torch.cat([image, image[..., : image.shape[-2] // 2, :]], dim=-2)


def shape_of(inputs: Inputs) -> tuple[int, ...]:
    """Shape of the first input that is a tensor."""
    tensors = (x for x in tree_flatten(plain(inputs))[0] if isinstance(x, Tensor))
    return next((tuple(tensor.shape) for tensor in tensors), ())
