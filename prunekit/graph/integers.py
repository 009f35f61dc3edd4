"""Integers that remember where they come from: tensor shapes, module attributes, or the code."""

from __future__ import annotations

__all__ = [
    "Attribute",
    "AxisSize",
    "Expression",
    "Literal",
    "Number",
    "Operation",
    "Size",
    "evaluate",
    "leaves",
    "number_of",
    "values_as",
]

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

_SYMBOLS = MappingProxyType(
    {
        "+": operator.add,
        "-": operator.sub,
        "*": operator.mul,
        "//": operator.floordiv,
        "%": operator.mod,
    }
)

_RIGHT_NEUTRAL = frozenset({("+", 0), ("-", 0), ("*", 1), ("//", 1)})
_LEFT_NEUTRAL = frozenset({("+", 0), ("*", 1)})
"""Numbers that change nothing, as `sum` and einops use them."""

_DEEPEST = 64
"""Nested operations up to which an expression is kept; a count in a loop would grow for ever."""


@dataclass(frozen=True, slots=True)
class AxisSize:
    """Length of an axis of a tensor."""

    value: int
    """Number of the tensor in the recording."""
    dim: int
    """Its axis, counted from the front."""

    def __repr__(self) -> str:
        return f"value{self.value}.shape[{self.dim}]"


@dataclass(frozen=True, slots=True)
class Attribute:
    """An integer that a module holds."""

    module: str
    """Dotted path of the module ("" is the model)."""
    path: str
    """Where in the module: `num_heads`, `split_sizes[1]`, `options['heads']`, `config.dim`."""

    def __repr__(self) -> str:
        return f"{self.module}.{self.path}" if self.module else self.path


@dataclass(frozen=True, slots=True)
class Number:
    """An integer written in the code."""

    number: int

    def __repr__(self) -> str:
        return str(self.number)


@dataclass(frozen=True, slots=True)
class Operation:
    """What two expressions make."""

    symbol: str
    """One of + - * // %, as in Python."""
    left: Expression
    right: Expression

    def __repr__(self) -> str:
        return f"({self.left!r} {self.symbol} {self.right!r})"


Expression: TypeAlias = AxisSize | Attribute | Number | Operation


def evaluate(expression: Expression, lookup: Callable[[AxisSize | Attribute], int]) -> int:
    """Value of an expression when axes and attributes have the values that `lookup` tells."""
    match expression:
        case Number(number):
            return number
        case Operation(symbol, left, right):
            value: int = _SYMBOLS[symbol](evaluate(left, lookup), evaluate(right, lookup))
            return value
        case AxisSize() | Attribute():
            return lookup(expression)


def leaves(expression: Expression) -> Iterator[AxisSize | Attribute]:
    """The axes and attributes that an expression is made of, from left to right."""
    match expression:
        case Operation(_, left, right):
            yield from leaves(left)
            yield from leaves(right)
        case AxisSize() | Attribute():
            yield expression


_NUMBER: ContextVar[Callable[[Size], int] | None] = ContextVar("_NUMBER", default=None)


@contextmanager
def values_as(number: Callable[[Size], int]) -> Iterator[None]:
    """Ask `number` for the value of a `Size` wherever the code computes with it in floats.

    As in `q * q.shape[-1] ** -0.5`: there the length is no size of anything, but a value.
    """
    token = _NUMBER.set(number)
    try:
        yield
    finally:
        _NUMBER.reset(token)


def number_of(value: Any) -> Any:
    """What a `Size` is as a value; anything else is itself."""
    number = _NUMBER.get()
    if not isinstance(value, Size):
        return value
    return int(value) if number is None else number(value)


class Literal(int):
    """An integer that the caller of torch gave and of which no more is known.

    It is written in the code as a number, or computed there in a way that is not followed (from
    floats, by `int()`, by numpy).
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickle as a plain integer."""
        return int, (int(self),)


class Size(int):
    """An integer with the expression that it follows from.

    It is equal to, hashed, printed and pickled as the plain integer. The operators + - * // % and
    negation with other integers give a `Size` again; anything else gives what it gives for `int`,
    or for what `values_as` takes it for where floats are computed.
    """

    expression: Expression
    depth: int
    """Nested operations in the expression."""

    def __new__(cls, value: int, expression: Expression, depth: int = 0) -> Size:  # noqa: PYI034 (3.10 has no Self)
        """Make the integer `value`, which follows from `expression`."""
        size = super().__new__(cls, value)
        size.expression = expression
        size.depth = depth
        return size

    def __add__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) + other
        return _combined("+", self, other) if isinstance(other, int) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        if isinstance(other, float):
            return other + number_of(self)
        return _combined("+", other, self) if isinstance(other, int) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) - other
        return _combined("-", self, other) if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        if isinstance(other, float):
            return other - number_of(self)
        return _combined("-", other, self) if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) * other
        return _combined("*", self, other) if isinstance(other, int) else NotImplemented

    def __rmul__(self, other: Any) -> Any:
        if isinstance(other, float):
            return other * number_of(self)
        return _combined("*", other, self) if isinstance(other, int) else NotImplemented

    def __floordiv__(self, other: int) -> int:
        return _combined("//", self, other) if isinstance(other, int) else NotImplemented

    def __rfloordiv__(self, other: int) -> int:
        return _combined("//", other, self) if isinstance(other, int) else NotImplemented

    def __mod__(self, other: int) -> int:
        return _combined("%", self, other) if isinstance(other, int) else NotImplemented

    def __rmod__(self, other: int) -> int:
        return _combined("%", other, self) if isinstance(other, int) else NotImplemented

    def __divmod__(self, other: int) -> tuple[int, int]:
        return (self // other, self % other) if isinstance(other, int) else NotImplemented

    def __rdivmod__(self, other: int) -> tuple[int, int]:
        return (other // self, other % self) if isinstance(other, int) else NotImplemented

    def __truediv__(self, other: Any) -> Any:
        return number_of(self) / number_of(other)

    def __rtruediv__(self, other: Any) -> Any:
        return other / number_of(self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if isinstance(other, int) and other >= 0:
            return int(self).__pow__(int(other), modulus)
        return number_of(self) ** number_of(other)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        return other ** (number_of(self) if isinstance(other, float) else int(self))

    def __float__(self) -> float:
        return float(number_of(self))

    def __neg__(self) -> int:
        return _combined("-", 0, self)

    def __pos__(self) -> int:
        return self

    def __copy__(self) -> Size:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Size:
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickle as a plain integer: the recording that it speaks of stays behind."""
        return int, (int(self),)


def _combined(symbol: str, left: int, right: int) -> int:
    """Compute, and keep the expression unless it has become too deep to be of use."""
    if not isinstance(right, Size) and (symbol, right) in _RIGHT_NEUTRAL:
        return left
    if not isinstance(left, Size) and (symbol, left) in _LEFT_NEUTRAL:
        return right
    value: int = _SYMBOLS[symbol](int(left), int(right))
    depth = 1 + max(getattr(left, "depth", 0), getattr(right, "depth", 0))
    if depth > _DEEPEST:
        return value
    return Size(value, Operation(symbol, _expression(left), _expression(right)), depth)


def _expression(value: int) -> Expression:
    return value.expression if isinstance(value, Size) else Number(int(value))
