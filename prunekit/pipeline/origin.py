"""How the dense network of a slim file was built, and building it again."""

from __future__ import annotations

__all__ = ["build_origin", "origin_of"]

import importlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from prunekit.errors import FileFormatError, RecipeError
from prunekit.nets import NETWORKS, create
from prunekit.surgery import SlimFile

_LIBRARIES = ("spandrel.architectures.", "spandrel_extra_arches.architectures.")
"""Packages whose networks remember their arguments, and that a file may name to be imported."""

_LEAST_MEMORY = 2**28
"""Bytes that a dense network may take whatever the file holds."""

_LARGEST_RATIO = 200
"""Times as many bytes as the slim network that the dense one may take."""

_LEAST_LIMIT = 4096
"""Numbers up to this are taken for arguments whatever the file holds."""


def origin_of(model: nn.Module) -> dict[str, object]:
    """Factory and arguments of a network that remembers them, as those of spandrel do; or nothing.

    A slim network remembers those of the dense one.
    """
    kind = type(model)
    arguments = getattr(model, "hyperparameters", None)
    if not kind.__module__.startswith(_LIBRARIES) or not isinstance(arguments, dict):
        return {}
    try:
        plain = json.loads(json.dumps(arguments))
    except (TypeError, ValueError):  # an argument that is no plain value
        return {}
    return {"factory": f"{kind.__module__}:{kind.__qualname__}", "arguments": plain}


def build_origin(file: Path, content: SlimFile) -> nn.Module:
    """Build the dense network that a slim file says it was made from.

    Only built-in networks and those of spandrel are built: nothing else that a file names is
    imported.

    Raises:
        FileFormatError: it names another network, or cannot be built as it says.
    """
    network = content.network
    arguments = network.get("arguments") or {}
    name, factory = network.get("network"), network.get("factory")
    known = isinstance(name, str) and name in NETWORKS
    library = isinstance(factory, str) and factory.startswith(_LIBRARIES)
    if not isinstance(arguments, dict) or not (known or library):
        source = factory or "a network of your own"
        named = factory if isinstance(factory, str) else "package.module:Class"
        message = (
            f"{file}: was made from {source}; build it and pass it as `model`, or on the command "
            f"line name it with this file as its weights: {named} --weights {file}"
        )
        raise FileFormatError(message)
    _check_numbers(file, content, arguments)
    held = sum(tensor.numel() * tensor.element_size() for tensor in content.tensors.values())
    try:
        with _Bounded(_LEAST_MEMORY + _LARGEST_RATIO * held):
            if known:
                assert isinstance(name, str)
                return create(name, **arguments)
            return _of_library(file, str(factory), arguments)
    except (RecipeError, _TooLargeError, MemoryError, RecursionError, TypeError) as error:
        message = (
            f"{file}: the network cannot be built as the file says ({type(error).__name__}: "
            f"{error}); the file is damaged, or build it and pass it as `model`"
        )
        raise FileFormatError(message) from error


class _TooLargeError(Exception):
    """More memory is asked for than what the file holds can explain."""


class _Bounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of all tensors that are made, before they are."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._left = limit

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        size = args[0] if args else kwargs.get("size")
        if isinstance(size, list | tuple) and all(isinstance(n, int) for n in size):
            dtype = kwargs.get("dtype") or torch.get_default_dtype()
            self._left -= math.prod(size) * dtype.itemsize
        if self._left < 0:
            message = "it needs far more memory than the slim network"
            raise _TooLargeError(message)
        return func(*args, **kwargs)


def _of_library(file: Path, factory: str, arguments: Mapping[str, object]) -> nn.Module:
    module_name, _, class_name = factory.partition(":")
    try:
        kind = getattr(importlib.import_module(module_name), class_name, None)
    except Exception as error:  # it is not there, or made for another torch
        message = (
            f"{file}: was made from {factory}, which cannot be imported ({type(error).__name__}: "
            f"{error}); install 'prunekit[spandrel]', or build it and pass it as `model`"
        )
        raise FileFormatError(message) from error
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        message = f"{file}: names {factory}, which is no network; the file is damaged"
        raise FileFormatError(message)
    try:
        return kind(**arguments)
    except _TooLargeError:
        raise
    except Exception as error:  # the architecture's own code can fail in any way
        message = (
            f"{file}: {factory} cannot be built as the file says ({type(error).__name__}: "
            f"{error}); build it and pass it as `model`"
        )
        raise FileFormatError(message) from error


def _check_numbers(file: Path, content: SlimFile, arguments: Mapping[str, object]) -> None:
    """Refuse arguments that are far larger than anything in the file, which would fill memory."""
    sizes = [size for tensor in content.plan.tensors for size in tensor.shape]
    sizes += [size for tensor in content.tensors.values() for size in tensor.shape]
    limit = max([_LEAST_LIMIT, len(content.tensors), *sizes])
    for number in _numbers(arguments):
        if abs(number) > limit:
            message = f"{file}: an argument of the network is {number}; the file is damaged"
            raise FileFormatError(message)


def _numbers(value: object) -> Iterator[float]:
    if isinstance(value, int | float):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _numbers(item)
    elif isinstance(value, list):
        for item in value:
            yield from _numbers(item)
