"""Costs as functions of widths, for one choice of widths or for many at once."""

from __future__ import annotations

__all__ = ["Cost", "Products", "Total", "VectorCost", "macs_cost", "params_cost"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prunekit.graph import ChannelGraph
from prunekit.graph.lengths import Length

Array = NDArray[np.float64]

Cost = Callable[[Mapping[str, int]], float]
"""What a network costs when groups have these widths; a group that is left out is whole."""


class VectorCost(ABC):
    """A cost that is told of many choices of widths at once."""

    def __init__(self, graph: ChannelGraph) -> None:
        """Cost of the network of a graph."""
        self.widths = graph.widths

    @abstractmethod
    def many(self, widths: Array) -> Array:
        """Costs of choices: a row a group, in the order of the graph, and a column a choice."""

    def __call__(self, widths: Mapping[str, int]) -> float:
        """Cost of one choice."""
        column = [widths.get(name, width) for name, width in self.widths.items()]
        return float(self.many(np.array(column, dtype=np.float64)[:, None])[0])


class Products:
    """Products of lengths of axes. Whole numbers up to 2^53 come out exactly."""

    def __init__(
        self, groups: Iterable[str], products: Sequence[tuple[float, Sequence[Length]]]
    ) -> None:
        """Each product is a constant times the lengths that go with it."""
        rows = {name: row for row, name in enumerate(groups)}
        lengths: dict[object, int] = {}
        different = [Length(1, {})]
        factors: list[list[int]] = []
        for _, axes in products:
            factors.append([])
            for axis in axes:
                key = (axis.fixed, tuple(axis.each.items()))
                if key not in lengths:
                    lengths[key] = len(different)
                    different.append(axis)
                factors[-1].append(lengths[key])
        self._constants = np.array([constant for constant, _ in products], dtype=np.float64)
        self._fixed = np.array([length.fixed for length in different], dtype=np.float64)
        self._each = np.zeros((len(different), len(rows)))
        for number, length in enumerate(different):
            for name, each in length.each.items():
                self._each[number, rows[name]] = each
        deepest = max(map(len, factors), default=0)
        padded = [[*chosen, *[0] * (deepest - len(chosen))] for chosen in factors]
        self._factors = np.array(padded, dtype=np.int64).reshape(len(factors), deepest)

    def __call__(self, widths: Array) -> Array:
        """A row a product and a column a choice of widths."""
        lengths = self._fixed[:, None] + self._each @ widths
        value = np.repeat(self._constants[:, None], widths.shape[1], axis=1)
        for factor in self._factors.T:
            value *= lengths[factor]
        return value


class Total(VectorCost):
    """The sum of products."""

    def __init__(
        self, graph: ChannelGraph, products: Sequence[tuple[float, Sequence[Length]]]
    ) -> None:
        """Sum over these."""
        super().__init__(graph)
        self._products = Products(graph.widths, products)

    def many(self, widths: Array) -> Array:
        """Sums of choices."""
        total: Array = self._products(widths).sum(axis=0)
        return total


def macs_cost(graph: ChannelGraph) -> Total:
    """Multiply-accumulates at the traced size, as `graph.macs` counts them."""
    return Total(graph, [(term.constant, term.axes) for term in graph.terms])


def params_cost(graph: ChannelGraph) -> Total:
    """Parameters, as `graph.params` counts them."""
    each: dict[str, list[dict[str, int]]] = {
        name: [{} for _ in graph.shapes[name]] for name in graph.parameters
    }
    for group in graph.groups:
        for member in group.members:
            if member.tensor in each:
                each[member.tensor][member.axis][group.name] = member.indices.shape[1]
    return Total(
        graph,
        [
            (1, [_length(size, here, graph.widths) for size, here in zip(shape, axes, strict=True)])
            for (name, axes) in each.items()
            for shape in (graph.shapes[name],)
        ],
    )


def _length(size: int, each: Mapping[str, int], widths: Mapping[str, int]) -> Length:
    """An axis of so many indices, of which each unit of a group has some."""
    return Length(size - sum(count * widths[name] for name, count in each.items()), each)
