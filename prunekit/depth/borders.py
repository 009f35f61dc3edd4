"""What goes into a module and comes out of it, by the channel graph."""

from __future__ import annotations

__all__ = ["Border", "find_border"]

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


def find_border(graph: ChannelGraph, name: str, *, elsewhere: Collection[str]) -> Border:
    """Look at what a module reads and what of it is read, if it is called once.

    Args:
        graph: of the network.
        name: path of the module.
        elsewhere: paths of modules in it that are called outside of it too.
    """
    recording = graph.flow.recording
    own = [
        number
        for number, operator in enumerate(recording.operators)
        if inside(operator.module, {name}) and operator.module not in elsewhere
    ]
    if not own:
        return Border("computes nothing that the graph could follow")
    span = range(own[0], own[-1] + 1)  # what it calls of others lies in between
    read, made = _flows(graph, span)
    before, after = recording.operators[: span.start], recording.operators[span.stop :]
    state = {value.index: tensor for tensor, value in recording.state.items()}
    for operator in (*before, *after):
        for value in operator.operands:
            if inside(state.get(value.index, ""), {name}):
                return Border(f"holds '{state[value.index]}', which is read outside of it")
    wanted = {value.index for operator in after for value in operator.operands}
    wanted |= {value.index for value in recording.outputs}
    leaving = made & wanted
    if len(leaving) != 1:
        return Border(f"hands on {len(leaving) or 'no'} tensors where it returns one")
    (out,) = leaving
    if not any(_same(graph, index, out) for index in read - state.keys()):
        return Border("returns other channels than it is given, by the channel graph")
    return Border(groups=_groups(graph, out))


def _flows(graph: ChannelGraph, span: range) -> tuple[set[int], set[int]]:
    """Values that operators read and did not make, and those that they made."""
    read: set[int] = set()
    made: set[int] = set()
    for operator in graph.flow.recording.operators[span.start : span.stop]:
        read |= {value.index for value in operator.operands} - made
        made |= {value.index for value in operator.outputs}
    return read, made


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
