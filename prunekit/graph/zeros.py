"""Which values are zero in channels that are switched off: `relu(q)` is, `elu(q) + 1` is not."""

from __future__ import annotations

__all__ = ["Zeros"]

import cmath
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import torch

from prunekit.graph.labels import Axis, Labels
from prunekit.graph.rules import Contraction
from prunekit.graph.tape import Operator, Value, called

_PRODUCTS = frozenset(f"aten.{name}" for name in ("addmm", "addmv", "baddbmm", "bmm", "mm", "mv"))
"""Operators whose last two tensors are multiplied, and summed over an axis of both."""

_LAYERS = frozenset({"aten.convolution", "aten.linear"})

_ANYTHING = 0.7
"""Stands for what is not zero."""


class Zeros:
    """Follows, operator by operator, what is zero where the slices of parameters are.

    What it does not know it takes for zero: then it is the proof that fails.
    """

    def __init__(self, known: Mapping[int, tuple[Axis, ...]]) -> None:
        """Read the axes of values in `known`, which may still grow."""
        self._known = known
        self._others: set[int] = set()
        self._answers: dict[Hashable, bool] = {}

    def summed(self, operator: Operator, contractions: Sequence[Contraction]) -> list[Labels]:
        """Axes over which an operator sums what is not zero, asked of all of them in turn.

        It sums over channels that both of its factors have; in a channel that is switched off it is
        enough that one of them is zero.
        """
        factors = operator.operands[-2:] if operator.name in _PRODUCTS else ()
        counts = bool(factors) and all(x.index in self._others for x in factors)
        self._follow(operator)
        return [x.reads for x in contractions if counts and x.reads is not None]

    def _follow(self, operator: Operator) -> None:
        """Note what an operator makes."""
        others = [x for x in operator.operands if x.index in self._others]
        if torch.Tag.pointwise in operator.function.tags:
            gives_zero = self._gives_zero(operator, default=not others)
        elif operator.name in _PRODUCTS | _LAYERS:  # an axis of what they make is that of a factor
            kept = {id(axis) for x in others for axis in self._known[x.index] if axis is not None}
            made = [axis for x in operator.outputs for axis in self._known[x.index]]
            gives_zero = not any(id(axis) in kept for axis in made)
        else:
            gives_zero = not others
        if not gives_zero:
            self._others |= {x.index for x in operator.outputs}

    def _gives_zero(self, operator: Operator, *, default: bool) -> bool:
        """What an element-wise operator makes of zeros; asked once for every form of it."""
        arguments = [self._number(x) if isinstance(x, Value) else x for x in operator.arguments]
        tensors = tuple(isinstance(x, Value) for x in operator.arguments)
        key = (operator.function, tensors, repr(arguments))
        if key not in self._answers:
            pairs = zip(arguments, tensors, strict=True)
            filled = [torch.full((1,), x) if is_tensor else x for x, is_tensor in pairs]
            self._answers[key] = _is_zero(operator, filled, default=default)
        return self._answers[key]

    def _number(self, value: Value) -> float:
        """What stands for a tensor: zero if it has channels and is zero in them."""
        has_channels = any(axis is not None for axis in self._known[value.index])
        return 0.0 if has_channels and value.index not in self._others else _ANYTHING


def _is_zero(operator: Operator, arguments: list[Any], *, default: bool) -> bool:
    """Call it; nothing divided by nothing is no number, and taken for zero."""
    try:
        number = complex(called(operator.function, arguments).item())
    except (AttributeError, RuntimeError, TypeError):  # one that takes a mask, or returns two
        return default
    return number == 0 or cmath.isnan(number)
