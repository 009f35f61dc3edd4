"""What a rule sees and says: an operator at work, with what is known of its operands' axes."""

from __future__ import annotations

__all__ = ["Axes", "Call", "Contraction", "Rule", "values_in"]

import math
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prunekit.graph.integers import (
    Attribute,
    AxisSize,
    Expression,
    Literal,
    Number,
    Operation,
    Size,
)
from prunekit.graph.labels import Axis, Cause, Count, Facts, Labels, Reason
from prunekit.graph.record import Operator, Value

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Contraction:
    """Multiply-accumulates of one operator: a constant times the widths of some axes."""

    module: str
    constant: int
    axes: tuple[Labels, ...]
    """The axes whose widths multiply the constant."""
    makes: Axis
    """Channels of its output."""
    reads: Axis
    """Channels of its operand over which it sums."""
    rows: Axis
    """The axis of its weight that makes them."""


@dataclass(frozen=True)
class Call:
    """An operator at work: its arguments, the shapes, and what is known of their axes."""

    operator: Operator
    shapes: Sequence[tuple[int, ...]]
    known: Mapping[int, Axes]
    """Axes of every value so far, by its number."""
    read: Container[int]
    """Numbers of the values that some operator reads or the model returns."""
    layers: Container[str]
    """Paths of torch's own layers, whose sizes follow their weights."""
    facts: Facts
    contractions: list[Contraction]

    # What is asked ----------------------------------------------------------------------------

    def axes(self, value: Any) -> Axes:
        """Axes of an argument; a number or an absent tensor has none."""
        return self.known[value.index] if isinstance(value, Value) else ()

    def shape(self, value: Any) -> tuple[int, ...]:
        """Shape of an argument; a number is a scalar."""
        return self.shapes[value.index] if isinstance(value, Value) else ()

    def argument(self, name: str) -> Any:
        """Argument by the name that the operator's schema gives it."""
        names = [a.name for a in self.operator.function._schema.arguments]
        return self.operator.arguments[names.index(name)]

    def has_argument(self, name: str) -> bool:
        """Whether this overload of the operator takes an argument of that name."""
        return any(a.name == name for a in self.operator.function._schema.arguments)

    @property
    def first(self) -> Value:
        """The first argument, which is the operand of most operators."""
        value: Value = self.operator.arguments[0]
        return value

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.shape(self.operator.outputs[0])

    def dims(self, given: Any, value: Any) -> list[int]:
        """Axes named by an argument, counted from the front; all of them for None or nothing."""
        rank = len(self.shape(value))
        if given is None or (not isinstance(given, int) and not len(given)):
            return list(range(rank))
        return [int(d) % rank for d in ([given] if isinstance(given, int) else given)]

    def outputs(self, *axes: Axes) -> Sequence[Axes]:
        """These axes, and for the outputs behind them, such as statistics, fixed ones."""
        return [*axes, *self.fixed_outputs()[len(axes) :]]

    def fixed_outputs(self) -> list[Axes]:
        """Outputs whose sizes nobody changes."""
        return [(None,) * len(self.shape(output)) for output in self.operator.outputs]

    # What is said -----------------------------------------------------------------------------

    def reason(self, text: str, cause: Cause) -> Reason:
        """A reason that names this operator and its module."""
        return Reason(text, self.operator.name, self.operator.module, cause)

    def unite(self, first: Axis, second: Axis) -> Axis:
        """Two axes are the same here; a fixed one freezes the other."""
        return self.facts.unite(first, second, self.reason("meets an axis of fixed size", "space"))

    def unite_all(self, axes: Sequence[Axis]) -> Axis:
        """All of these are the same here."""
        if not axes:
            return None
        first = axes[0]
        for other in axes[1:]:
            first = self.unite(first, other)
        return first

    def broadcast(self, values: Sequence[Any]) -> Axes:
        """Axes of tensors that are aligned from the end; a size of 1 says nothing."""
        operands = [(self.axes(value), self.shape(value)) for value in values]
        rank = max((len(shape) for _, shape in operands), default=0)
        return tuple(
            self.unite_all(
                [a[-p] for a, shape in operands if len(shape) >= p and shape[-p] > 1],
            )
            for p in range(rank, 0, -1)
        )

    def merge(self, axes: Sequence[Axis], sizes: Sequence[int]) -> Axis:
        """Neighbouring axes become one, the last fastest."""
        return self.facts.merge(axes, sizes, self.reason("several axes seen as one", "space"))

    def grid(self, axis: Axis, factors: Sequence[Axis], sizes: Sequence[int]) -> None:
        """An axis is the product of these factors, the last fastest."""
        free = axis is not None and sum(factor is not None for factor in factors) > 1
        text = "axis seen as several" if free else "meets an axis of fixed size"
        self.facts.grid(axis, factors, sizes, self.reason(text, "space"))

    def split(self, axis: Axis, sizes: Sequence[int]) -> Axes:
        """See an axis as several, the last fastest."""
        return self.facts.split(axis, sizes, self.reason("axis seen as several", "space"))

    def split_into(self, axis: Axis, first: Axis, sizes: tuple[int, int]) -> None:
        """The leading factor of an axis is `first`; what is inside it is free."""
        (inner,) = self.facts.axes((sizes[1],))
        self.grid(axis, (first, inner), sizes)

    def fixed(self, size: int) -> Labels:
        """Labels for an axis that must stay."""
        labels = self.facts.fresh(size)
        self.freeze([labels], "joined to an axis of fixed size", "space")
        return labels

    def freeze(self, axes: Sequence[Axis], text: str, cause: Cause) -> None:
        """These axes must stay."""
        for axis in axes:
            self.facts.freeze(axis, self.reason(text, cause))

    def freeze_all(self, text: str, cause: Cause) -> Sequence[Axes]:
        """All axes of all operands must stay, and so must what comes of them."""
        sizes = set()
        for value in values_in(self.operator.arguments):
            self.freeze(self.axes(value), text, cause)
            pairs = zip(self.axes(value), self.shape(value), strict=True)
            sizes |= {size for axis, size in pairs if axis is not None}
        return [
            tuple(self._stays(size, sizes, text, cause) for size in self.shape(output))
            for output in self.operator.outputs
        ]

    def _stays(self, size: int, channels: set[int], text: str, cause: Cause) -> Axis:
        """Frozen labels, so that what meets them learns why; space and batch need none."""
        if size not in channels:
            return None
        labels = self.facts.fresh(size)
        self.freeze([labels], text, cause)
        return labels

    def reduce(self, axis: Axis) -> None:
        """What is computed depends on all indices of the axis at once."""
        if axis is not None:
            self.facts.reduced.append(axis)

    def heads(self, axis: Axis) -> None:
        """The axis numbers independent matrix products."""
        if axis is not None:
            self.facts.heads.append(axis.reshape(-1))

    def written(self, axis: Axis, size: int) -> None:
        """The code gives the length of an axis, or torch worked it out."""
        if axis is None or self._is_length_of(size, axis):
            return
        if isinstance(size, Literal):
            self.freeze([axis], "size written in the code", "code")
        elif isinstance(size, Size):
            reason = self.reason("size that the code computes otherwise", "code")
            self.facts.counts.append(Count(axis, size.expression, reason))

    def counted(self, **attributes: tuple[Axis, int]) -> None:
        """How many parts an axis has: kept by a layer of torch's, else given by the code."""
        for name, (axis, size) in attributes.items():
            if self.operator.module in self.layers:
                self.sized(**{name: axis})
            else:
                self.written(axis, size)

    def made(self, size: int) -> Axis:
        """Labels for an axis that the code makes with this length."""
        if size <= 1:
            return None
        if isinstance(size, Literal):
            labels = self.facts.fresh(size)
            self.written(labels, size)
            return labels
        if isinstance(size, Size):
            if not self._may_change(size.expression):
                return None
            if isinstance(size.expression, AxisSize):
                return self.known[size.expression.value][size.expression.dim]
        labels = self.facts.fresh(size)
        self.written(labels, size)
        return labels

    def _is_length_of(self, size: int, axis: Labels) -> bool:
        """Whether a size is read off this very axis."""
        if not isinstance(size, Size) or not isinstance(size.expression, AxisSize):
            return False
        return self.known[size.expression.value][size.expression.dim] is axis

    def _may_change(self, expression: Expression) -> bool:
        """Whether some axis or attribute in it may."""
        match expression:
            case AxisSize(value, dim):
                return self.known[value][dim] is not None
            case Operation(_, left, right):
                return self._may_change(left) or self._may_change(right)
            case Attribute():
                return True
            case Number():
                return False

    def sized(self, **attributes: Axis) -> None:
        """The calling module, if it is the usual one, keeps these lengths in these attributes."""
        for name, axis in attributes.items():
            self.facts.sizes[self.operator.module, name] = axis

    def count(
        self,
        constant: int,
        axes: Sequence[tuple[Axis, int]],
        makes: Axis,
        reads: Axis,
        rows: Axis = None,
    ) -> None:
        """Note multiply-accumulates: `constant` times the sizes of `axes`."""
        fixed = math.prod(size for axis, size in axes if axis is None)
        labelled = tuple(axis for axis, _ in axes if axis is not None)
        self.contractions.append(
            Contraction(self.operator.module, constant * fixed, labelled, makes, reads, rows)
        )


Rule = Callable[[Call], Sequence[Axes]]
"""Axes of every output, from a call."""


def values_in(arguments: Any) -> list[Value]:
    """Every tensor among arguments, in order."""
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, list | tuple):
        return [value for item in arguments for value in values_in(item)]
    return []
