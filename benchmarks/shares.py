"""What a channel graph covers of a network: shares, and why the rest must stay."""

from __future__ import annotations

__all__ = ["OutputAxes", "Why", "output_axes", "prunable_share", "transposed", "weights_at_work"]

import math
import re
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.conv import _ConvTransposeNd

from prunekit.graph import ChannelGraph
from prunekit.graph.record import Recording

_LOOKS_UP = frozenset({"aten.index", "aten.index_select", "aten.embedding", "aten.gather"})
"""Operators that read rows of a table: positions, codes; its rows are no channels."""


@dataclass(frozen=True)
class Why:
    """Why indices of output axes must stay."""

    reason: str
    operator: str
    indices: int


@dataclass(frozen=True)
class OutputAxes:
    """Indices on the output axes of all weights: each makes one channel."""

    total: int
    grouped: int
    """In a group: they may leave."""
    whys: tuple[Why, ...]
    """The others, by reason, most first."""

    @property
    def frozen(self) -> int:
        """How many must stay."""
        return sum(why.indices for why in self.whys)

    @property
    def share(self) -> float:
        """Share that may leave."""
        return self.grouped / max(1, self.total)


def transposed(model: nn.Module) -> frozenset[str]:
    """Names of the weights of transposed convolutions, whose output axis is the second."""
    return frozenset(
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, _ConvTransposeNd)
    )


def weights_at_work(recording: Recording) -> frozenset[str]:
    """Names of the parameters that are read, and not only as tables to look things up in."""
    readers: dict[int, set[str]] = {}
    for operator in recording.operators:
        for value in operator.operands:
            readers.setdefault(value.index, set()).add(operator.name)
    return frozenset(
        name
        for name in recording.parameters
        if name in recording.state
        and not readers.get(recording.state[name].index, set()) <= _LOOKS_UP
    )


def output_axes(
    graph: ChannelGraph, transposed_weights: Collection[str], among: Collection[str] | None = None
) -> OutputAxes:
    """Count the indices on axis 0 of parameters of two or more axes (axis 1 if transposed).

    Axes of length 1 hold no channels and do not count. `among` are the parameters that do; all
    of them unless it is given.
    """
    axis_of = {
        name: int(name in transposed_weights)
        for name in graph.parameters
        if len(graph.shapes[name]) > 1 and (among is None or name in among)
    }
    total = sum(size for n, a in axis_of.items() if (size := graph.shapes[n][a]) > 1)
    grouped = sum(
        member.indices.size
        for group in graph.groups
        for member in group.members
        if axis_of.get(member.tensor) == member.axis
    )
    return OutputAxes(total, grouped, _whys(graph, axis_of))


def _whys(graph: ChannelGraph, axis_of: dict[str, int]) -> tuple[Why, ...]:
    """Why indices of these axes (by tensor) must stay, most first."""
    counts: Counter[tuple[str, str]] = Counter()
    for axis in graph.frozen:
        if axis_of.get(axis.tensor) == axis.axis:
            counts[without_numbers(axis.reason.text), axis.reason.operator or ""] += axis.count
    return tuple(Why(*key, indices) for key, indices in counts.most_common())


def without_numbers(text: str) -> str:
    """A reason without its sizes, so that equal reasons count together."""
    return re.sub(r"\d+", "n", re.sub(r"\([\d, ]*\)", "(...)", text))


def prunable_share(graph: ChannelGraph) -> float:
    """Share of the parameters that lie in a slice of some group."""
    kept = {name: dict(enumerate(graph.shapes[name])) for name in graph.parameters}
    for group in graph.groups:
        for member in group.members:
            if member.tensor in kept:
                kept[member.tensor][member.axis] -= member.indices.size
    sizes = {name: math.prod(graph.shapes[name]) for name in graph.parameters}
    outside = sum(math.prod(lengths.values()) for lengths in kept.values())
    return 1 - outside / max(1, sum(sizes.values()))
