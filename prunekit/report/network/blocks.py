"""The operators of a network as nested boxes, one a module, with repeated blocks folded."""

from __future__ import annotations

__all__ = ["Box", "Row", "nest", "quiet_steps"]

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from prunekit.graph.flow import ChannelAxis, Step

_LONGEST_PERIOD = 8
"""Blocks that alternate, such as windows shifted and not, repeat after a few."""

_LONG_RUN = 4
"""Operators without channels that are put out of sight."""


@dataclass(frozen=True)
class Row:
    """One operator."""

    step: int
    name: str
    """The module that is this operator alone, by its path inside the box; "" if it has others."""


@dataclass(frozen=True)
class Box:
    """A module at work, the repeats of the blocks above it, or operators without channels."""

    name: str
    """Path inside the box around it, such as `body.0`; of repeats the range of it.

    Empty for a run of operators that carry no channels.
    """
    children: tuple[Row | Box, ...]
    repeats: int = 0
    """How many times more the blocks above are repeated in this box; 0 for a module."""


def nest(steps: Sequence[Step], *, hidden: Iterable[int] = ()) -> tuple[Row | Box, ...]:
    """Put every operator in the boxes of its modules, in order of execution.

    A module that is called twice has two boxes. A module with one operator is a row.

    Args:
        steps: all operators.
        hidden: numbers of those that are left out.
    """
    left_out = frozenset(hidden)
    numbers = [number for number in range(len(steps)) if number not in left_out]
    return _Nest(steps).children(numbers, ())


def quiet_steps(steps: Sequence[Step]) -> frozenset[int]:
    """Find what moves no channels: views that keep every group, constants made in the code."""
    quiet: set[int] = set()
    alive: list[bool] = []  # whether it depends on an input or a parameter
    for number, step in enumerate(steps):
        alive.append(bool(step.inputs or step.state) or any(alive[s] for s in step.sources))
        if not alive[number] or (step.moves_only and _keeps_channels(step, steps)):
            quiet.add(number)
    return frozenset(quiet)


def _keeps_channels(step: Step, steps: Sequence[Step]) -> bool:
    """Whether on its output are the channels that it reads, all of them and as many.

    Where none is in a group, nothing tells channels from space, so it keeps what it does not cut.
    """
    if not step.sources:  # it turns a parameter, or the image
        return True
    before = steps[step.sources[0]]
    widths = _widths(step.axes)
    same = widths == _widths(before.axes)
    uncut = math.prod(step.shape) >= math.prod(before.shape)
    return len(step.sources) == 1 and same and (bool(widths) or uncut)


def _carries(axis: ChannelAxis) -> bool:
    """Whether an axis is one of channels, free or not."""
    return bool(axis.bands) or any(reason.cause != "space" for reason in axis.reasons)


def _widths(axes: Iterable[ChannelAxis]) -> list[tuple[str, int]]:
    return sorted((band.group, band.channels) for axis in axes for band in axis.bands)


class _Nest:
    """Builds the boxes."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._paths = [tuple(step.module.split(".")) if step.module else () for step in steps]
        self._span: dict[str, tuple[int, int]] = {}  # first and last step that makes a group
        for number, step in enumerate(steps):
            for group in _groups(step):
                first, _ = self._span.get(group, (number, number))
                self._span[group] = (first, number)

    def children(self, numbers: Sequence[int], prefix: tuple[str, ...]) -> tuple[Row | Box, ...]:
        """Boxes and rows of these operators, all inside the module `prefix`."""
        depth = len(prefix)
        children: list[Row | Box] = []
        makes: list[Hashable] = []
        for part, run in groupby(numbers, key=lambda n: self._paths[n][depth : depth + 1]):
            inside = list(run)
            if part:
                children.append(self._box(inside, prefix + part, depth))
                makes.append(self._make(inside, depth + 1))
            else:
                children.extend(Row(number, "") for number in inside)
                makes.extend(self._make([number], depth) for number in inside)
        return self._without_blanks(_folded(children, makes))

    def _without_blanks(self, children: Sequence[Row | Box]) -> tuple[Row | Box, ...]:
        """Put long runs of operators on which no channels lie, such as masks, in boxes."""
        result: list[Row | Box] = []
        for blank, run in groupby(children, key=self._is_blank):
            inside = tuple(run)
            long = blank and len(inside) >= _LONG_RUN and len(inside) < len(children)
            result.extend([Box("", inside)] if long else inside)
        return tuple(result)

    def _is_blank(self, child: Row | Box) -> bool:
        if isinstance(child, Box):
            return False
        step = self._steps[child.step]
        return not step.macs and not any(_carries(axis) for axis in step.axes)

    def _box(self, numbers: Sequence[int], path: tuple[str, ...], depth: int) -> Row | Box:
        """A module; with a single thing in it, that thing under both names."""
        children = self.children(numbers, path)
        name = ".".join(path[depth:])
        if len(children) > 1:
            return Box(name, children)
        only = children[0]
        inner = f"{name}.{only.name}" if only.name else name
        return Row(only.step, inner) if isinstance(only, Row) else Box(inner, only.children)

    def _make(self, numbers: Sequence[int], depth: int) -> Hashable:
        """What blocks have in common to be shown as one.

        Groups that live only inside a block count by their order in it, others by their name.
        """
        first, last = numbers[0], numbers[-1]
        local: dict[str, int] = {}

        def known_as(group: str) -> str | int:
            start, end = self._span[group]
            if first <= start and end <= last:
                return local.setdefault(group, len(local))
            return group

        made = []
        for number in numbers:
            step = self._steps[number]
            axes = tuple(
                (a.axis, tuple((known_as(b.group), b.channels) for b in a.bands), a.frozen)
                for a in step.axes
            )
            wiring = tuple(self._wire(number, source, first) for source in step.sources)
            path = self._paths[number][depth:]
            made.append((path, step.operator, step.shape, step.macs, axes, wiring))
        return tuple(made)

    def _wire(self, number: int, source: int, first: int) -> Hashable:
        """What a step of a block reads: a step of the block, or a stream from outside.

        A stream that the block or what follows writes to again is known by its name, one that has
        ended by how far back it was made.
        """
        if source >= first:
            return number - source
        groups = _groups(self._steps[source])
        return tuple(g if self._span[g][1] >= first else number - source for g in groups)


def _groups(step: Step) -> list[str]:
    return [band.group for axis in step.axes for band in axis.bands]


def _folded(children: Sequence[Row | Box], makes: Sequence[Hashable]) -> tuple[Row | Box, ...]:
    """Keep the first of blocks that repeat, and put the rest in one box."""
    result: list[Row | Box] = []
    at = 0
    while at < len(children):
        period, times = _repeats(makes, at)
        block = children[at : at + period]
        if times > 1 and any(isinstance(child, Box) for child in block):
            rest = children[at + period : at + period * times]
            result.extend(block)
            result.append(Box(_range(rest), tuple(rest), repeats=times - 1))
            at += period * times
        else:
            result.append(children[at])
            at += 1
    return tuple(result)


def _repeats(makes: Sequence[Hashable], at: int) -> tuple[int, int]:
    """Period and number of the repeats that start here and reach farthest."""
    best = (1, 1)
    for period in range(1, min(_LONGEST_PERIOD, (len(makes) - at) // 2) + 1):
        end = at + period
        while end < len(makes) and makes[end] == makes[end - period]:
            end += 1
        times = (end - at) // period
        if times > 1 and period * times > best[0] * best[1]:
            best = (period, times)
    return best


def _range(children: Sequence[Row | Box]) -> str:
    names = [child.name for child in children if child.name]
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
