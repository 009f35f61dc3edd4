"""Switch off caches and scripted functions while a network is recorded."""

from __future__ import annotations

__all__ = ["uncached"]

import copy
import functools
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor

from prunekit.graph.integers import Size

_FOREIGN = frozenset({"torch", *sys.stdlib_module_names})
_CACHE: Any = type(functools.cache(len))
_EINOPS = "einops.einops"
_EINOPS_CACHE = "_reconstruct_from_shape"
"""einops keeps the axes it found by shape; what it is given and gives back are sizes."""


@contextmanager
def uncached(model: nn.Module) -> Iterator[None]:
    """Let what a model's own source files define run as the Python that it is written in.

    A traced integer is equal to any integer of its value, so a cache would answer with what it
    kept for another tensor, and would hand what it learns now to the caller's later calls; einops
    has one, too. In scripted functions integers are out of sight. All is as it was afterwards, also
    lists and dictionaries of classes and files in which the model keeps what it computed.
    """
    owners = _owners(model)
    found = list(_wrappers(owners))
    kept = [(value, copy.copy(value)) for value in _containers(owners)]
    for owner, name, _, function in found:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, wrapper, _ in found:
            setattr(owner, name, wrapper)
        for container, content in kept:
            if _holds_traces(container):
                _refill(container, content)


def _owners(model: nn.Module) -> list[Any]:
    """The classes of a model's modules, and the source files that they are from."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    own = {c for c in classes if c.__module__.partition(".")[0] not in _FOREIGN}
    files = {sys.modules.get(c.__module__) for c in own} - {None}
    return [*own, *files]


def _wrappers(owners: Iterable[Any]) -> Iterator[tuple[Any, str, Any, Any]]:
    """Owner, name, wrapper and plain function of what a model may call."""
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if (function := _plain(value)) is not None:
                yield owner, name, value, function
    einops = sys.modules.get(_EINOPS)
    cache = getattr(einops, _EINOPS_CACHE, None)
    if (function := _plain(cache)) is not None:
        yield einops, _EINOPS_CACHE, cache, function


def _plain(value: object) -> Any:
    """The function in a cache or a scripted function; None for anything else."""
    if isinstance(value, torch.jit.ScriptFunction):
        return getattr(value, "_torchdynamo_inline", None)
    return value.__wrapped__ if isinstance(value, _CACHE) else None


def _containers(owners: Iterable[Any]) -> Iterator[Any]:
    for owner in owners:
        for name, value in list(vars(owner).items()):
            if type(value) in (dict, list) and not name.startswith("__"):
                yield value


def _refill(container: Any, content: Any) -> None:
    container.clear()
    if isinstance(container, list):
        container.extend(content)
    else:
        container.update(content)


def _holds_traces(container: Any) -> bool:
    """Whether it learned something in a recording that is of no use outside."""
    items = container if isinstance(container, list) else (*container, *container.values())
    parts = (part for x in items for part in (x if isinstance(x, tuple | list) else (x,)))
    return any(isinstance(part, FakeTensor | Size) for part in parts)
