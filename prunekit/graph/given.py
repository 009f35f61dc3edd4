"""The integers in a Python-level call of a torch function."""

from __future__ import annotations

__all__ = ["Given"]

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.nn import functional as F

from prunekit.graph.integers import Literal, Size

_COUNTING = frozenset({"chunk", "dsplit", "flatten", "hsplit", "tensor_split", "vsplit"})
"""Functions whose single integers count parts or name axes, and are never the size of one."""


class Given:
    """What the caller of a function gave, to find its integers again in an operator.

    The arguments are read when an operator asks: most have no integers.
    """

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._call = (func, args, kwargs)
        self._integers: _Integers | None = None

    @property
    def is_scaled_by_width(self) -> bool:
        """Whether it is an attention whose scale torch takes from the width of the heads."""
        func, _, kwargs = self._call
        return func is F.scaled_dot_product_attention and kwargs.get("scale") is None

    def integer(self, value: int) -> int:
        """What is known of an integer argument of an operator; itself where torch made it."""
        return self._read().known.get(value, value)

    def sequence(self, values: Sequence[int]) -> list[int]:
        """What is known of a list of integers: by position in a list like it, or by value."""
        integers = self._read()
        for known in integers.lists:
            if len(known) == len(values) and _fits(known, values):
                return _filled(known, values)
        for known in integers.lists:
            places = range(len(values) - len(known) + 1)
            found = [i for i in places if _fits(known, values[i : i + len(known)])]
            if len(known) > 1 and len(found) == 1:  # x.unflatten(1, (4, 16))
                start, stop = found[0], found[0] + len(known)
                return [*values[:start], *_filled(known, values[start:stop]), *values[stop:]]
        return [integers.known.get(value, value) for value in values]

    def _read(self) -> _Integers:
        if self._integers is None:
            self._integers = _Integers(*self._call)
        return self._integers


class _Integers:
    """The integers of a call, in lists and by value."""

    def __init__(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self.lists: list[tuple[int, ...]] = []
        self.known: dict[int, int] = {}
        name = getattr(func, "__name__", "")
        run = [_traced(x) for x in args if _is_integer(x)]
        if run:
            self.lists.append(tuple(run))  # x.view(2, 3) is x.view((2, 3))
        if name == "narrow" and len(run) == 3:  # noqa: PLR2004 (dim, start, length)
            run.append(_traced(run[1] + run[2]))  # it arrives as the end of a slice
        if name not in _COUNTING:
            self._learn([*run, *kwargs.values()])
        for argument in (*args, *kwargs.values()):
            self._collect(argument)

    def _learn(self, integers: Sequence[Any]) -> None:
        """Keep integers by value; an expression says more than a literal."""
        for integer in filter(_is_integer, integers):
            if not isinstance(self.known.get(int(integer)), Size):
                self.known[int(integer)] = _traced(integer)

    def _collect(self, argument: Any) -> None:
        """Look into lists and slices."""
        if isinstance(argument, slice):
            self._learn([argument.start, argument.stop, argument.step])
        elif isinstance(argument, list | tuple):
            self._learn(argument)
            if all(map(_is_integer, argument)):
                self.lists.append(tuple(map(_traced, argument)))
            else:
                for item in argument:
                    self._collect(item)


def _is_integer(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _traced(value: Any) -> int:
    return value if isinstance(value, Size) else Literal(value)


def _fits(known: Sequence[int], values: Sequence[int]) -> bool:
    return all(k in (v, -1) for k, v in zip(known, values, strict=True))


def _filled(known: Sequence[int], values: Sequence[int]) -> list[int]:
    """The known integers, but where torch computes one it is torch's."""
    return [v if k == -1 else k for k, v in zip(known, values, strict=True)]
