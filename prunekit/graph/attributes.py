"""Exchange the integers that modules hold by integers that remember their attribute."""

from __future__ import annotations

__all__ = ["trace_attributes"]

import argparse
import copy
import dataclasses
import types
from collections.abc import Mapping, MutableMapping
from typing import Any

import torch
from torch import nn

from prunekit.graph.integers import Attribute, Size

_STOPS = (nn.Module, torch.Tensor, type)
"""What is traced under its own name, or not at all."""


_TRACED = (nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase, nn.Transformer)
"""Layers of torch whose own code computes with their sizes."""


def trace_attributes(
    model: nn.Module, private: nn.Module, left: Mapping[Attribute, int] | None = None
) -> None:
    """Exchange every plain integer that the modules of a private copy hold, in place.

    Found are integers in attributes, of the class too, in lists, tuples and dictionaries, and in
    the attributes of dataclasses, namespaces and objects from the packages of the model's own
    modules, at any depth.
    torch's own layers mostly keep theirs: operator rules know them by name.

    Args:
        model: the model; what the copy shares with it stays as it is.
        private: its copy.
        left: what some are where channels have left; the code then computes with that.
    """
    packages = {_package(module) for module in model.modules()} - {"einops", "torch"}
    originals = dict(model.named_modules())
    inherited = vars(nn.Module()).keys()
    seen: set[int] = set()
    for name, module in private.named_modules():
        if type(module).__module__.startswith("torch.nn.") and not isinstance(module, _TRACED):
            continue
        walk = _Walk(name, packages, seen, left or {})
        attributes = vars(module)
        for key in [key for key in attributes if key not in inherited]:
            attributes[key] = walk.traced(attributes[key], vars(originals[name]).get(key), key)
        for key, value in _class_sizes(type(module)).items():
            if key not in attributes:
                attributes[key] = walk.traced(copy.deepcopy(value), value, key)
        if _package(module) == "einops" and "axes_lengths" in attributes:  # kept there twice
            attributes["_axes_lengths"] = tuple(attributes["axes_lengths"].items())


def _class_sizes(cls: type) -> dict[str, Any]:
    """Attributes of a class and its bases that are integers or hold some, but for torch's."""
    found: dict[str, Any] = {}
    for base in cls.__mro__:
        if not base.__module__.startswith("torch."):
            for key, value in vars(base).items():
                if not key.startswith("__"):
                    found.setdefault(key, value)
    return {key: value for key, value in found.items() if _is_of_integers(value)}


def _is_of_integers(value: object) -> bool:
    """Whether it is an integer, or a list, tuple or dictionary in which there are some."""
    match value:
        case list() | tuple():
            return any(map(_is_of_integers, value))
        case dict():
            return any(map(_is_of_integers, value.values()))
    return type(value) is int


class _Walk:
    """The way through the attributes of one module."""

    def __init__(
        self, module: str, packages: set[str], seen: set[int], left: Mapping[Attribute, int]
    ) -> None:
        self._module = module
        self._packages = packages
        self._left = left
        self._seen = seen  # ids of containers, which may hold each other

    def traced(self, value: Any, original: Any, path: str) -> Any:
        """What to put in the place of a value that was copied from `original`."""
        if type(value) is int:
            attribute = Attribute(self._module, path)
            return Size(self._left.get(attribute, value), attribute, length=value)
        if isinstance(value, tuple):
            return self._tuple(value, original, path)
        if isinstance(value, _STOPS) or id(value) in self._seen:
            return value
        if type(value) is not type(original) or value is original:  # the caller's own
            return value
        if isinstance(value, list | MutableMapping) or self._is_record(value):
            self._seen.add(id(value))
            self._container(value, original, path)
        return value

    def _tuple(self, value: tuple[Any, ...], original: Any, path: str) -> tuple[Any, ...]:
        before = original if isinstance(original, tuple) and len(original) == len(value) else value
        items = [
            self.traced(item, other, f"{path}[{i}]")
            for i, (item, other) in enumerate(zip(value, before, strict=True))
        ]
        if all(new is old for new, old in zip(items, value, strict=True)):
            return value
        if type(value) in (tuple, torch.Size):
            return type(value)(items)
        return value._make(items) if hasattr(value, "_make") else value

    def _container(self, value: Any, original: Any, path: str) -> None:
        if isinstance(value, list):
            for i, (item, other) in enumerate(zip(value, original, strict=False)):
                value[i] = self.traced(item, other, f"{path}[{i}]")
        elif isinstance(value, MutableMapping):
            for key in filter(_is_literal, list(value)):
                value[key] = self.traced(value[key], original.get(key), f"{path}[{key!r}]")
        for key, item in list(getattr(value, "__dict__", {}).items()):
            vars(value)[key] = self.traced(item, vars(original).get(key), f"{path}.{key}")

    def _is_record(self, value: Any) -> bool:
        known = dataclasses.is_dataclass(value) or isinstance(
            value, argparse.Namespace | types.SimpleNamespace
        )
        return hasattr(value, "__dict__") and (known or _package(value) in self._packages)


def _is_literal(key: object) -> bool:
    """Whether a path can name the key of a dictionary."""
    if isinstance(key, tuple):
        return type(key) is tuple and all(map(_is_literal, key))
    return type(key) in (str, int, bool, bytes, type(None))


def _package(value: object) -> str:
    return type(value).__module__.partition(".")[0]
