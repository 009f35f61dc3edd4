"""Labels: every index of every tensor axis gets a number, and operators say which are the same.

A label stands for one channel seen at one place. Operators only append facts here, as whole
arrays; `prunekit.graph.solve` draws the conclusions.
"""

from __future__ import annotations

__all__ = ["Axis", "Cause", "Count", "Facts", "Labels", "Product", "Reason"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.int64]
"""One label per index of an axis."""

Axis = Labels | None
"""The labels of an axis, or None for an axis that never loses an index (batch, space, size 1)."""

Cause = Literal[
    "image",  # the axis carries the image, or is an output of the model
    "code",  # the code says a size, a position or an order
    "values",  # which index is meant depends on what is computed
    "space",  # height, width, time, tokens, the extent of a kernel: no channels
    "choice",  # one of two ways to shrink was chosen, and this is the other
    "unread",  # nothing reads it when the model is evaluated
    "opaque",  # the caller said so
    "unknown",  # an operator without a rule
]
"""Kinds of reasons; all but the last are in the network or in the caller's words."""


@dataclass(frozen=True)
class Reason:
    """Why an axis must stay as it is."""

    text: str
    operator: str = ""
    """The operator that said so; empty when it is a matter of policy."""
    module: str = ""
    """Dotted path of the module that called it; "" is the model itself."""
    cause: Cause = "unknown"


@dataclass(frozen=True)
class Product:
    """Axis of `a * b * ...` slots seen as a grid: a slot leaves when its index of any factor does.

    Attention heads, grouped convolutions and channel shuffles are products.
    """

    slots: Labels
    """Shape `(a, b, ..., copies)`: the last are slots that differ along a fixed factor only."""
    factors: tuple[Labels, ...]
    """Shapes `(a,), (b,), ...`."""
    reason: Reason
    """Where the axis was seen so."""


@dataclass(frozen=True)
class Count:
    """The code says how long an axis is, by an expression of other lengths and attributes."""

    axis: Labels
    expression: Any
    """A `prunekit.graph.integers.Expression`."""
    reason: Reason


@dataclass
class Facts:
    """What the operators of one forward pass said; written by rules, read by the solver."""

    count: int = 0
    equal: list[tuple[Labels, Labels]] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    frozen: list[tuple[Labels, Reason]] = field(default_factory=list)
    reduced: list[Labels] = field(default_factory=list)
    """Labels over which some operator reduces: removing one is not the same as zeroing it."""
    heads: list[Labels] = field(default_factory=list)
    """Labels that number independent matrix products, as attention heads do."""
    conv_groups: list[Labels] = field(default_factory=list)
    """Labels that number the groups of a grouped convolution."""
    counts: list[Count] = field(default_factory=list)
    sizes: dict[tuple[str, str], Axis] = field(default_factory=dict)
    """Axis whose length a module keeps in an attribute, by module path and attribute."""

    def mark(self) -> tuple[int, ...]:
        """Where the facts end now, for `undo`."""
        return tuple(len(one) for one in self._lists)

    def undo(self, mark: Sequence[int]) -> None:
        """Forget what was said since; labels that were handed out stay so."""
        for one, length in zip(self._lists, mark, strict=True):
            del one[length:]

    @property
    def _lists(self) -> tuple[list[Any], ...]:
        return (
            self.equal,
            self.products,
            self.frozen,
            self.reduced,
            self.heads,
            self.conv_groups,
            self.counts,
        )

    def fresh(self, size: int) -> Labels:
        """New labels, one an index."""
        labels = np.arange(self.count, self.count + size, dtype=np.int64)
        self.count += size
        return labels

    def axes(self, shape: Sequence[int]) -> tuple[Axis, ...]:
        """Fresh labels for every axis longer than 1."""
        return tuple(self.fresh(size) if size > 1 else None for size in shape)

    def freeze(self, axis: Axis, reason: Reason) -> None:
        """Say that an axis must stay."""
        if axis is not None and axis.size:
            self.frozen.append((axis.reshape(-1), reason))

    def unite(self, first: Axis, second: Axis, reason: Reason) -> Axis:
        """Say that two axes are the same, index by index; meeting a fixed axis freezes."""
        if first is None or second is None:
            self.freeze(first, reason)
            self.freeze(second, reason)
            return None
        if first.size != second.size:
            message = f"{first.size} channels cannot be the same as {second.size}"
            raise ValueError(message)
        if first is not second:
            self.equal.append((first.reshape(-1), second.reshape(-1)))
        return first

    def merge(self, axes: Sequence[Axis], sizes: Sequence[int], reason: Reason) -> Axis:
        """Join neighbouring axes into one, the last fastest."""
        labelled = [i for i, axis in enumerate(axes) if axis is not None]
        if not labelled:
            return None
        if len(labelled) == 1:
            return _along(axes[labelled[0]], labelled[0], sizes)
        slots = self.fresh(int(np.prod(sizes)))
        self.grid(slots, axes, sizes, reason)
        return slots

    def split(self, axis: Axis, sizes: Sequence[int], reason: Reason) -> tuple[Axis, ...]:
        """See one axis as several, the last fastest."""
        if axis is None:
            return tuple(None for _ in sizes)
        if sum(size > 1 for size in sizes) == 1:
            return tuple(axis if size > 1 else None for size in sizes)
        axes = self.axes(sizes)
        self.grid(axis, axes, sizes, reason)
        return axes

    def grid(
        self, axis: Axis, factors: Sequence[Axis], sizes: Sequence[int], reason: Reason
    ) -> None:
        """Say that an axis is the product of `factors`, the last fastest.

        A factor without labels is fixed: what differs only along it leaves as one.
        """
        labelled = [i for i, factor in enumerate(factors) if factor is not None]
        if axis is None or not labelled:
            for fixed in (axis, *factors):
                self.freeze(fixed, reason)
        elif len(labelled) == 1:
            self.unite(axis, _along(factors[labelled[0]], labelled[0], sizes), reason)
        else:
            others = [i for i in range(len(sizes)) if i not in labelled]
            slots = axis.reshape(tuple(sizes)).transpose(*labelled, *others)
            slots = slots.reshape(*(sizes[i] for i in labelled), -1)
            kept = tuple(factor for factor in factors if factor is not None)
            self.products.append(Product(slots, kept, reason))


def _along(axis: Axis, position: int, sizes: Sequence[int]) -> Labels:
    """Labels of a whole grid that differ along one of its factors only."""
    assert axis is not None
    shape = [1] * len(sizes)
    shape[position] = sizes[position]
    return np.broadcast_to(axis.reshape(shape), tuple(sizes)).reshape(-1)
