"""Integers that remember where they come from: tensor shapes, module attributes, or the code."""

from __future__ import annotations

__all__ = [
    "Attribute",
    "AxisSize",
    "Expression",
    "Literal",
    "Number",
    "Operation",
    "Quotient",
    "Size",
    "comparisons_to",
    "divisions_to",
    "leaves",
    "length_of",
    "number_of",
    "values_noted",
]

import functools
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


_LARGEST_POWER = 4
"""Up to which a power is followed as a product."""


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


def leaves(expression: Expression) -> Iterator[AxisSize | Attribute]:
    """The axes and attributes that an expression is made of, from left to right."""
    match expression:
        case Operation(_, left, right):
            yield from leaves(left)
            yield from leaves(right)
        case AxisSize() | Attribute():
            yield expression


_NOTE: ContextVar[Callable[[Size], object] | None] = ContextVar("_NOTE", default=None)


@contextmanager
def values_noted(note: Callable[[Size], object]) -> Iterator[None]:
    """Tell `note` of every `Size` with which the code is seen to compute in floats.

    As in `q * q.shape[-1] ** -0.5`: there the length is no size of anything, but a value.
    """
    token = _NOTE.set(note)
    try:
        yield
    finally:
        _NOTE.reset(token)


_COMPARED: ContextVar[list[tuple[Expression, Expression]] | None] = ContextVar(
    "_COMPARED", default=None
)


@contextmanager
def comparisons_to(pairs: list[tuple[Expression, Expression]]) -> Iterator[None]:
    """Append what of two sizes that the code compares, and that are equal, they follow from."""
    token = _COMPARED.set(pairs)
    try:
        yield
    finally:
        _COMPARED.reset(token)


_DIVIDED: ContextVar[list[tuple[Expression, int]] | None] = ContextVar("_DIVIDED", default=None)


@contextmanager
def divisions_to(pairs: list[tuple[Expression, int]]) -> Iterator[None]:
    """Append expressions of which the code makes plain integers, and what they come to.

    As in `int(c / heads)`, of which nobody can say where it is used.
    """
    token = _DIVIDED.set(pairs)
    try:
        yield
    finally:
        _DIVIDED.reset(token)


def number_of(value: Any) -> Any:
    """What a `Size` is as a value; anything else is itself."""
    if not isinstance(value, Size):
        return value
    note = _NOTE.get()
    if note is not None:
        note(value)
    return int(value)


def length_of(value: Any) -> Any:
    """What a `Size` or `Quotient` is in the network that is run; anything else is itself."""
    return value.length if isinstance(value, _Decided) else value


class Literal(int):
    """An integer that the caller of torch gave and of which no more is known.

    It is written in the code as a number, or computed there in a way that is not followed (from
    floats, by `int()`, by numpy).
    """

    __slots__ = ()

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickle as a plain integer."""
        return int, (int(self),)


class _Decided:
    """Compares by its length."""

    length: Any

    def __eq__(self, other: object) -> Any:
        return self.length == length_of(other)

    def __ne__(self, other: object) -> Any:
        return self.length != length_of(other)

    def __lt__(self, other: Any) -> Any:
        return self.length < length_of(other)

    def __le__(self, other: Any) -> Any:
        return self.length <= length_of(other)

    def __gt__(self, other: Any) -> Any:
        return self.length > length_of(other)

    def __ge__(self, other: Any) -> Any:
        return self.length >= length_of(other)

    def __hash__(self) -> int:
        return hash(self.length)

    def __bool__(self) -> bool:
        return bool(self.length)


class Size(_Decided, int):
    """An integer with the expression that it follows from.

    It is printed and pickled as the plain integer. The operators + - * // %, negation and small
    powers with other integers give a `Size` again; anything else gives what it gives for `int`.

    Where a dense network is run as if channels had left, the integer is what is left, since the
    code may compute anything with it; torch is told, and the code decides by, the `length`.
    """

    expression: Expression
    depth: int
    """Nested operations in the expression."""
    length: int
    """What it is in the network that is run; mostly the integer itself."""

    def __new__(  # noqa: PYI034 (3.10 has no Self)
        cls, value: int, expression: Expression, depth: int = 0, *, length: int | None = None
    ) -> Size:
        """Make the integer `value`, which follows from `expression`."""
        size = super().__new__(cls, value)
        size.expression = expression
        size.depth = depth
        size.length = int(value) if length is None else length
        return size

    def __eq__(self, other: object) -> bool:
        equal = bool(self.length == length_of(other))
        pairs = _COMPARED.get() if equal else None
        if pairs is not None and isinstance(other, Size):
            pairs.append((self.expression, other.expression))
        return equal

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = _Decided.__hash__

    def __add__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) + other
        return _combined("+", self, other) if isinstance(other, int) else NotImplemented

    def __radd__(self, other: Any) -> Any:
        return _combined("+", other, self) if isinstance(other, int) else NotImplemented

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) - other
        return _combined("-", self, other) if isinstance(other, int) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return _combined("-", other, self) if isinstance(other, int) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        if isinstance(other, float):
            return number_of(self) * other
        return _combined("*", self, other) if isinstance(other, int) else NotImplemented

    def __rmul__(self, other: Any) -> Any:
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
        return _divided(self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return _divided(other, self)

    def __pow__(self, other: Any, modulus: Any = None) -> Any:
        if type(other) is int and 0 < other <= _LARGEST_POWER and modulus is None:
            return functools.reduce(operator.mul, [self] * other)
        return pow(number_of(self), number_of(other), modulus)

    def __rpow__(self, other: Any, modulus: Any = None) -> Any:
        return pow(other, number_of(self), modulus)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """What numpy computes with it, as in `np.sqrt(n)`."""
        return getattr(ufunc, method)(*map(number_of, inputs), **options)

    def __float__(self) -> float:
        return float(number_of(self))

    def __neg__(self) -> int:
        return _combined("-", 0, self)

    def __pos__(self) -> int:
        return self

    def __abs__(self) -> int:
        return self if self.length >= 0 else -self

    def __copy__(self) -> Size:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Size:
        return self

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        """Pickle as a plain integer: the recording that it speaks of stays behind."""
        return int, (int(self),)


class Quotient(_Decided, float):
    """A `Size` divided by an integer, or the other way round.

    `math.ceil` and `math.floor` make it a `Size` again; `int` and `round` give plain integers, and
    what they came to is told where somebody asks for it (`divisions_to`).
    """

    parts: tuple[int, int]
    """What is divided by what."""
    length: float
    """What it is in the network that is run, by which the code decides."""

    def __new__(cls, value: float, parts: tuple[int, int]) -> Quotient:  # noqa: PYI034
        """Make the number `value`, which is one part over the other."""
        quotient = super().__new__(cls, value)
        quotient.parts = parts
        quotient.length = length_of(parts[0]) / length_of(parts[1])
        return quotient

    def __floor__(self) -> int:
        return self.parts[0] // self.parts[1]

    def __ceil__(self) -> int:
        return -(-self.parts[0] // self.parts[1])

    def __int__(self) -> int:
        self._tell("//")
        return int(float(self))

    def __trunc__(self) -> int:
        return int(self)

    def __round__(self, digits: Any = None) -> Any:
        self._tell("//")
        self._tell("%")
        return round(float(self), digits)

    def _tell(self, symbol: str) -> None:
        """The code makes something of what this operation on the parts gives."""
        pairs = _DIVIDED.get()
        if pairs is not None and self.parts[1]:
            left, right = self.parts
            value = _SYMBOLS[symbol](int(left), int(right))
            pairs.append((Operation(symbol, _expression(left), _expression(right)), value))

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        """Pickle as a plain number."""
        return float, (float(self),)


def _divided(left: Any, right: Any) -> Any:
    """Compute, and keep what was divided if both are integers."""
    value = number_of(left) / number_of(right)
    if isinstance(left, int) and isinstance(right, int):
        return Quotient(value, (left, right))
    return value


def _combined(symbol: str, left: int, right: int) -> int:
    """Compute, and keep the expression unless it has become too deep to be of use."""
    if not isinstance(right, Size) and (symbol, right) in _RIGHT_NEUTRAL:
        return left
    if not isinstance(left, Size) and (symbol, left) in _LEFT_NEUTRAL:
        return right
    value: int = _SYMBOLS[symbol](int(left), int(right))
    length: int = _SYMBOLS[symbol](length_of(left), length_of(right))
    depth = 1 + max(getattr(left, "depth", 0), getattr(right, "depth", 0))
    if depth > _DEEPEST:
        return value
    expression = Operation(symbol, _expression(left), _expression(right))
    return Size(value, expression, depth, length=length)


def _expression(value: int) -> Expression:
    return value.expression if isinstance(value, Size) else Number(int(value))
