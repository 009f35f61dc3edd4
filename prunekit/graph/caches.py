"""Switch off caches and scripted functions while a network is recorded."""

from __future__ import annotations

__all__ = ["uncached"]

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from prunekit.graph.outside import CACHE, outside_of, plain_function

_EINOPS = "einops.einops"
_EINOPS_CACHE = "_reconstruct_from_shape"
"""einops keeps the axes it found by shape; what it is given and gives back are sizes."""


@contextmanager
def uncached(model: nn.Module, *, scripted: bool = False) -> Iterator[None]:
    """Let what a model's own code caches be computed anew, and leave its caches as they are.

    A traced integer is equal to any integer of its value, so a cache would answer with what it
    kept for another tensor, and would hand what it learns now to the caller's later calls; einops
    has one, too. In scripted functions integers are out of sight; they stay with `scripted`. All is
    as it was afterwards, also where the code keeps what it computed by itself.
    """
    outside = outside_of(model)
    found = [
        each for each in _wrappers(outside.owners) if not scripted or isinstance(each[2], CACHE)
    ]
    for owner, name, _, function in found:
        setattr(owner, name, function)
    try:
        with outside.unchanged():
            yield
    finally:
        for owner, name, wrapper, _ in found:
            setattr(owner, name, wrapper)


def _wrappers(owners: Iterable[Any]) -> Iterator[tuple[Any, str, Any, Any]]:
    """Owner, name, wrapper and plain function of what a model may call."""
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if (function := _unwrapped(value)) is not None:
                yield owner, name, value, function
    einops = sys.modules.get(_EINOPS)
    cache = getattr(einops, _EINOPS_CACHE, None)
    if (function := _unwrapped(cache)) is not None:
        yield einops, _EINOPS_CACHE, cache, function


def _unwrapped(value: object) -> Any:
    return plain_function(value) if isinstance(value, CACHE | torch.jit.ScriptFunction) else None
