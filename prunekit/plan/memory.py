"""Peak activation memory as a function of the widths, from what each operator reads and makes."""

from __future__ import annotations

__all__ = ["PeakMemory"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunekit.graph import ChannelGraph
from prunekit.graph.flow import Flow
from prunekit.graph.lengths import Length
from prunekit.graph.tape import Operator
from prunekit.plan.costs import Products, VectorCost

Array = NDArray[np.float64]

_HANDED_ON = frozenset({"aten._unsafe_view", "aten._reshape_alias"})
"""Operators whose output lies in the memory of their operand although the schema does not say."""


class PeakMemory(VectorCost):
    """Most bytes that the tensors of a forward pass take at once, at the traced size.

    A tensor lives from the operator that makes it to the last that reads it or a view of it, and
    the output to the end: what a runtime needs that frees as soon as it can. Eager PyTorch frees
    no later unless the network's own code holds on to a tensor in a variable. Counted are float32
    tensors; weights, the input, and what kernels take for themselves are left out.
    """

    def __init__(self, graph: ChannelGraph, *, element_size: int = 4) -> None:
        """Peak of the network of a graph, with so many bytes a number."""
        super().__init__(graph)
        events = _events(graph.flow)
        numbers = {root: row for row, root in enumerate(dict.fromkeys(e.root for e in events))}
        sizes = [_size(graph.flow, root, element_size) for root in numbers]
        self._bytes = Products(graph.widths, sizes)
        self._rows = np.array([numbers[event.root] for event in events], dtype=np.int64)
        self._signs = np.array([event.sign for event in events], dtype=np.float64)

    def many(self, widths: Array) -> Array:
        """Bytes at the peak of every choice."""
        if not len(self._rows):
            return np.zeros(widths.shape[1])
        held = np.cumsum(self._bytes(widths)[self._rows] * self._signs[:, None], axis=0)
        peak: Array = held.max(axis=0)
        return peak


@dataclass(frozen=True)
class _Event:
    """Memory of a tensor is taken (1) or given back (-1)."""

    root: int
    """The value that the memory was made for."""
    sign: int


def _events(flow: Flow) -> list[_Event]:
    """Everything that happens to memory, in order."""
    recording = flow.recording
    roots = _roots(recording.operators)
    given = {value.index for value in (*recording.state.values(), *recording.inputs)}
    last = {
        roots.get(value.index, value.index): number
        for number, operator in enumerate(recording.operators)
        for value in (*operator.operands, *operator.outputs)
    }
    last |= {roots.get(v.index, v.index): len(recording.operators) for v in recording.outputs}
    freed: dict[int, list[int]] = {}
    for root, number in last.items():
        freed.setdefault(number, []).append(root)
    held: set[int] = set()
    events = []
    for number, operator in enumerate(recording.operators):
        made = dict.fromkeys(roots.get(v.index, v.index) for v in operator.outputs)
        new = [root for root in made if root not in held and root not in given]
        gone = [root for root in freed.get(number, ()) if root in held or root in new]
        held = (held | set(new)) - set(gone)
        events += [_Event(root, 1) for root in new] + [_Event(root, -1) for root in gone]
    return events


def _roots(operators: Sequence[Operator]) -> dict[int, int]:
    """Values that lie in the memory of another one, and in whose."""
    roots: dict[int, int] = {}
    for operator in operators:
        schema = operator.function._schema  # noqa: SLF001 (torch keeps schemas private)
        aliased = any(value.alias_info for value in schema.returns)
        if (aliased or operator.name in _HANDED_ON) and operator.operands:
            first = operator.operands[0].index
            root = roots.get(first, first)
            roots |= {v.index: root for v in operator.outputs if v.index != root}
    return roots


def _size(flow: Flow, value: int, element_size: int) -> tuple[float, list[Length]]:
    """Bytes of a tensor: a constant, and the lengths that follow the widths."""
    shape = flow.recording.shapes[value]
    axes: Mapping[int, Length] = {
        position: length
        for position, labels in enumerate(flow.known[value])
        if labels is not None and (length := flow.lengths.of(labels)).each
    }
    rest = math.prod(size for position, size in enumerate(shape) if position not in axes)
    return float(element_size * rest), list(axes.values())
