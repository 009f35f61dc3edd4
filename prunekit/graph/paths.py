"""Read and write what a module holds by the way to it: `width`, `sizes[1]`, `config['dim']`."""

from __future__ import annotations

__all__ = ["read_path", "write_path"]

import ast
import copy
import re
import types
from collections.abc import Sequence
from typing import Any

_STEP = re.compile(r"\.?([^.\[\]]+)|\[('(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\]]+)\]")


def read_path(owner: object, path: str) -> object:
    """What lies at the end of a path. Raises `LookupError` where it leads nowhere."""
    value = owner
    for step in _steps(path):
        value = _get(value, step, path)
    return value


def write_path(owner: object, path: str, value: object) -> None:
    """Put a value at the end of a path; tuples on the way are made anew, all else is changed.

    Raises:
        LookupError: the path leads nowhere.
        TypeError: something on the way cannot be changed.
    """
    _replaced(owner, _steps(path), value, path)


_Step = tuple[str, Any]
"""'attribute' and its name, or 'item' and its key."""


def _steps(path: str) -> list[_Step]:
    try:
        return [
            ("attribute", name) if name else ("item", ast.literal_eval(key))
            for name, key in _STEP.findall(path)
        ]
    except (SyntaxError, ValueError) as error:
        message = f"'{path}' is no path"
        raise LookupError(message) from error


_CLOSED = (type, types.ModuleType, types.FunctionType, types.MethodType, types.BuiltinFunctionType)
"""What no size of a network is kept in; a path through it would lead out of the network."""


def _get(holder: Any, step: _Step, path: str) -> Any:
    kind, key = step
    if isinstance(holder, _CLOSED) or str(key).startswith("__"):
        message = f"'{path}' leads out of the network"
        raise LookupError(message)
    try:
        return getattr(holder, key) if kind == "attribute" else holder[key]
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        message = f"there is no '{path}' in {type(holder).__name__}"
        raise LookupError(message) from error


def _replaced(holder: Any, steps: Sequence[_Step], value: object, path: str) -> Any:
    """What to put in the place of a holder: itself, unless it is a tuple."""
    if not steps:
        return value
    (kind, key), *rest = steps
    before = _get(holder, steps[0], path)
    if rest and isinstance(before, list | dict) and _is_of_class(holder, key):
        before = vars(holder)[key] = copy.deepcopy(before)
    after = _replaced(before, rest, value, path)
    if after is before:
        return holder
    if kind == "attribute" and isinstance(holder, tuple):  # a named one
        return holder._replace(**{key: after})  # type: ignore[attr-defined]
    if isinstance(holder, tuple):
        items = [*holder[:key], after, *holder[key + 1 :]]
        return holder._make(items) if hasattr(holder, "_make") else type(holder)(items)
    if kind == "item":
        holder[key] = after
    elif key in getattr(holder, "__dict__", {}):
        vars(holder)[key] = after  # of a frozen dataclass too
    else:
        setattr(holder, key, after)
    return holder


def _is_of_class(holder: Any, key: str) -> bool:
    """Whether all objects of the class share what lies there."""
    return key not in getattr(holder, "__dict__", {key}) and hasattr(type(holder), key)
