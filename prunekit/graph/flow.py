"""The operators of a forward pass in order, each with the groups that lie on its output."""

from __future__ import annotations

__all__ = ["Band", "ChannelAxis", "Flow", "Step", "find_steps"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.groups import ChannelGroup
from prunekit.graph.labels import Axis, Labels, Reason
from prunekit.graph.lengths import LengthReader, terms_of
from prunekit.graph.record import Operator, Recording
from prunekit.graph.rules import Contraction
from prunekit.graph.solve import Solution

_COPIES = frozenset({"aten._to_copy", "aten._unsafe_view", "aten.clone", "aten.contiguous"})
"""Operators that hand on what they get although their schema says that the output is new."""


@dataclass(frozen=True)
class Band:
    """The indices of an axis that belong to one group."""

    group: str
    channels: int


@dataclass(frozen=True)
class ChannelAxis:
    """An axis of an operator's output whose indices are known."""

    axis: int
    bands: tuple[Band, ...]
    """The groups on it, the widest first."""
    frozen: int
    """How many of its indices are in no group, and so stay; with the bands they are the axis."""
    reasons: tuple[Reason, ...]
    """Why, the one that keeps most of them first."""


@dataclass(frozen=True)
class Step:
    """One operator of the forward pass."""

    operator: str
    """Name without overload, such as `aten.convolution`."""
    module: str
    """Dotted path of the module that called it; "" is the model itself."""
    sources: tuple[int, ...]
    """The earlier steps whose outputs it reads, by number."""
    state: tuple[str, ...]
    """The parameters and buffers that it reads."""
    inputs: tuple[int, ...]
    """The inputs of the model that it reads, by number."""
    shape: tuple[int, ...]
    """Of the first output."""
    axes: tuple[ChannelAxis, ...]
    """Axes of the first output whose indices are known; space, batch and size 1 are left out."""
    macs: int
    """Multiply-accumulates at full width and the traced size."""
    moves_only: bool
    """It hands on elements that it reads, unchanged: a view, a slice, a copy."""


@dataclass(frozen=True, eq=False)
class Flow:
    """What steps are made from, kept until somebody asks for them."""

    recording: Recording
    known: Mapping[int, tuple[Axis, ...]]
    """Axes of every value, by its number."""
    contractions: tuple[Contraction, ...]
    counted: tuple[int, ...]
    """How many contractions there were after each operator."""
    solution: Solution
    lengths: LengthReader
    """Of axes in terms of the groups, in their order."""
    groups: tuple[ChannelGroup, ...]


def find_steps(flow: Flow) -> tuple[Step, ...]:
    """Make a step of every operator, in order of execution."""
    recording = flow.recording
    effects = {operator.function: _effect(operator) for operator in recording.operators}
    state = {value.index: name for name, value in recording.state.items()}
    inputs = {value.index: number for number, value in enumerate(recording.inputs)}
    read_axes = _AxisReader(flow)
    memory = _Memory()
    steps = []
    for number, (operator, macs) in enumerate(zip(recording.operators, _macs(flow), strict=True)):
        operands = list(dict.fromkeys(value.index for value in operator.operands))
        outputs = [value.index for value in operator.outputs]
        effect = effects[operator.function]
        steps.append(
            Step(
                operator=operator.name,
                module=operator.module,
                sources=memory.read(operands),
                state=tuple(state[index] for index in operands if index in state),
                inputs=tuple(inputs[index] for index in operands if index in inputs),
                shape=recording.shapes[outputs[0]] if outputs else (),
                axes=read_axes(flow.known[outputs[0]]) if outputs else (),
                macs=macs,
                moves_only=effect.moves_only,
            )
        )
        memory.write(number, operands, outputs, effect)
    return tuple(steps)


def _macs(flow: Flow) -> list[int]:
    """Multiply-accumulates of every operator."""
    widths = {group.name: group.width for group in flow.groups}
    macs = [term.macs(widths) for term in terms_of(flow.contractions, flow.lengths)]
    return [sum(macs[start:end]) for start, end in pairwise((0, *flow.counted))]


@dataclass(frozen=True)
class _Effect:
    """What an operator does to memory."""

    writes: bool
    """Into its first operand."""
    views: bool
    """Its outputs lie in the memory of its first operand."""
    moves_only: bool


def _effect(operator: Operator) -> _Effect:
    schema = operator.function._schema  # noqa: SLF001 (torch keeps schemas private)
    views = not schema.is_mutable and any(value.alias_info for value in schema.returns)
    return _Effect(schema.is_mutable, views, views or operator.name in _COPIES)


class _Memory:
    """Knows which step wrote a value last, through whichever view."""

    def __init__(self) -> None:
        self._made: dict[int, int] = {}  # step that returned a value
        self._base: dict[int, int] = {}  # value whose memory a view lies in
        self._written: dict[int, int] = {}  # last step that wrote into the memory of a base

    def read(self, operands: Sequence[int]) -> tuple[int, ...]:
        """Steps that made what these values hold now, without repetition."""
        last = (
            max(self._made.get(index, -1), self._written.get(self._base.get(index, index), -1))
            for index in operands
        )
        return tuple(dict.fromkeys(step for step in last if step >= 0))

    def write(
        self, step: int, operands: Sequence[int], outputs: Sequence[int], effect: _Effect
    ) -> None:
        """Note what a step made."""
        if effect.views and operands:
            root = self._base.get(operands[0], operands[0])
            self._base.update((index, root) for index in outputs if index != root)
        if effect.writes:
            changed = outputs or operands[:1]
            self._written.update((self._base.get(index, index), step) for index in changed)
        self._made.update((index, step) for index in outputs)


class _AxisReader:
    """Turns the labels of an axis into bands; element-wise operators hand the same array on."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._seen: dict[int, tuple[Labels, ChannelAxis]] = {}  # with the array, so its id stays

    def __call__(self, axes: Sequence[Axis]) -> tuple[ChannelAxis, ...]:
        return tuple(
            self._read(position, labels)
            for position, labels in enumerate(axes)
            if labels is not None
        )

    def _read(self, position: int, labels: Labels) -> ChannelAxis:
        found = self._seen.get(id(labels))
        if found is None or found[1].axis != position:
            found = labels, self._make(position, labels)
            self._seen[id(labels)] = found
        return found[1]

    def _make(self, position: int, labels: Labels) -> ChannelAxis:
        solution, groups = self._flow.solution, self._flow.groups
        classes = solution.of(labels.reshape(-1))
        owners = self._flow.lengths.owner[classes]
        stays = solution.frozen_by[classes[owners < 0]]
        numbers = _most_first(stays[stays != Solution.FREE])
        return ChannelAxis(
            position,
            tuple(Band(groups[n].name, count) for n, count in _most_first(owners[owners >= 0])),
            len(stays),
            tuple(solution.reasons[n] for n, _ in numbers),
        )


def _most_first(numbers: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Each number with how often it is there, the most frequent first."""
    if not len(numbers):
        return []
    if (numbers == numbers[0]).all():  # nearly always, and far cheaper
        return [(int(numbers[0]), len(numbers))]
    found, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return [(int(found[i]), int(counts[i])) for i in order]
