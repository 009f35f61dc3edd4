"""Tensors with the units of a group in reverse order."""

from __future__ import annotations

__all__ = ["reverse_units"]

from collections.abc import Iterable

import torch
from torch import Tensor

from prunekit.graph.groups import Indices


def reverse_units(tensor: Tensor, axis: int, groups: Iterable[Indices]) -> Tensor:
    """Of each group the last unit first; what is of none stays where it is.

    Args:
        tensor: anything, on any device.
        axis: where the units lie.
        groups: `(width, indices of a unit)` of each, no index twice.
    """
    order = torch.arange(tensor.shape[axis])
    for indices in groups:
        places, sources = indices.ravel(), indices[::-1].ravel().copy()
        order[torch.from_numpy(places)] = torch.from_numpy(sources)
    return tensor.index_select(axis, order.to(tensor.device))
