"""What goes into a module and comes out of it, by the channel graph."""

from __future__ import annotations

__all__ = ["Border", "Borders"]

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from prunekit.graph import ChannelGraph
from prunekit.graph.labels import Axis
from prunekit.plan import inside


@dataclass(frozen=True)
class Border:
    """What crosses the border of a module."""

    reason: str = ""
    """Why it cannot be removed, if so."""
    groups: tuple[str, ...] = ()
    """Groups on the channels that pass through, those with most channels first."""


class Borders:
    """Knows for every value of a recording where it is made and read."""

    def __init__(self, graph: ChannelGraph) -> None:
        """Look through the recording of a graph once."""
        recording = graph.flow.recording
        self._graph = graph
        self._modules = [operator.module for operator in recording.operators]
        self._read = [{v.index for v in operator.operands} for operator in recording.operators]
        self._made = [{v.index for v in operator.outputs} for operator in recording.operators]
        self._state = {name: value.index for name, value in recording.state.items()}
        self._readers: dict[int, list[int]] = {}
        for number, operands in enumerate(self._read):
            for index in operands:
                self._readers.setdefault(index, []).append(number)
        for value in recording.outputs:
            self._readers.setdefault(value.index, []).append(len(self._read))

    def of(self, name: str, *, elsewhere: Collection[str]) -> Border:
        """Look at what a module reads and what of it is read, if it is called once.

        Args:
            name: path of the module.
            elsewhere: paths of modules in it that are called outside of it too.
        """
        own = [
            number
            for number, module in enumerate(self._modules)
            if inside(module, {name}) and module not in elsewhere
        ]
        if not own:
            return Border("computes nothing that the graph could follow")
        span = range(own[0], own[-1] + 1)  # what it calls of others lies in between
        for tensor, index in self._state.items():
            readers = self._readers.get(index, ())
            if inside(tensor, {name}) and not all(number in span for number in readers):
                return Border(f"holds '{tensor}', which is read outside of it")
        read, made = self._flows(span)
        leaving = [i for i in made if self._readers.get(i, [-1])[-1] >= span.stop]
        if len(leaving) != 1:
            return Border(f"hands on {len(leaving) or 'no'} tensors where it returns one")
        (out,) = leaving
        if not any(_same(self._graph, index, out) for index in read):
            return Border("returns other channels than it is given, by the channel graph")
        return Border(groups=_groups(self._graph, out))

    def _flows(self, span: range) -> tuple[set[int], set[int]]:
        """Values that operators read and did not make, and those that they made."""
        read: set[int] = set()
        made: set[int] = set()
        for number in span:
            read |= self._read[number] - made
            made |= self._made[number]
        return read - {*self._state.values()}, made


def _same(graph: ChannelGraph, first: int, second: int) -> bool:
    """Whether two values have the same channels, index by index, on all their axes."""
    shapes, known = graph.flow.recording.shapes, graph.flow.known
    return shapes[first] == shapes[second] and all(
        _same_axis(graph, one, other)
        for one, other in zip(known[first], known[second], strict=True)
    )


def _same_axis(graph: ChannelGraph, first: Axis, second: Axis) -> bool:
    if first is None or second is None:
        return first is second
    of = graph.flow.solution.of
    return np.array_equal(of(first.reshape(-1)), of(second.reshape(-1)))


def _groups(graph: ChannelGraph, value: int) -> tuple[str, ...]:
    axes: Sequence[Axis] = graph.flow.known[value]
    widths: dict[str, int] = {}
    for axis in axes:
        if axis is not None:
            widths |= dict(graph.flow.lengths.of(axis).each)
    return tuple(sorted(widths, key=lambda group: -graph.widths[group] * widths[group]))
