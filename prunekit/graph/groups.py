"""Groups: the channels that leave together, with the slices of every unit, and what must stay."""

from __future__ import annotations

__all__ = ["ChannelGroup", "FrozenAxis", "Member", "StateAxis", "find_frozen", "find_groups"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.labels import Labels, Reason
from prunekit.graph.solve import Solution

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class StateAxis:
    """An axis of a parameter or buffer."""

    tensor: str
    """Name in the state dict."""
    axis: int
    labels: Labels = field(repr=False)


@dataclass(frozen=True, eq=False)
class Member:
    """The part of a group that lies on one axis of one tensor."""

    tensor: str
    axis: int
    indices: Indices = field(repr=False)
    """`(width, indices of a unit)`: row u is what leaves with unit u."""


@dataclass(frozen=True, eq=False)
class ChannelGroup:
    """Units that touch the same axes in the same way; each may leave, whole or not at all."""

    name: str
    kind: str
    """What a unit is; `channel`."""
    width: int
    """How many units there are."""
    members: tuple[Member, ...] = field(repr=False)
    exact: bool
    """Removing a unit equals zeroing it, since no operator reduces over the axis."""
    params_share: float
    """Share of the model's parameters that lie in some slice of the group."""
    classes: Labels = field(repr=False)
    """Class of every unit in the solution."""

    @property
    def axes(self) -> int:
        """How many tensor axes the group spans."""
        return len(self.members)


@dataclass(frozen=True)
class FrozenAxis:
    """Indices of a tensor axis that must stay."""

    tensor: str
    axis: int
    count: int
    """How many of its indices."""
    reason: Reason


def find_groups(
    axes: Sequence[StateAxis], solution: Solution, marks: Sequence[Labels] = ()
) -> list[tuple[Labels, tuple[Member, ...]]]:
    """Classes and members of every group, in the order of the first axis that each touches.

    `marks` are other axes that tell units apart, such as the parts that a tensor is cut into.
    """
    numbers = np.concatenate([np.full(len(a.labels), i) for i, a in enumerate(axes)])
    places = np.concatenate([np.arange(len(a.labels)) for a in axes])
    classes = solution.of(np.concatenate([a.labels for a in axes]))
    free = solution.frozen_by[classes] == Solution.FREE
    numbers, places, classes = numbers[free], places[free], classes[free]
    units, first_seen, unit = np.unique(classes, return_index=True, return_inverse=True)
    signature = _signatures(numbers, unit, len(axes), len(units))
    signature = signature + _marked(marks, solution, units)
    group = _in_order_of_appearance(signature, first_seen)
    by_group = np.lexsort((first_seen, group))
    of_place = np.argsort(group[unit], kind="stable")
    ends = np.searchsorted(group[by_group], np.arange(group.max(initial=-1) + 2))
    place_ends = np.searchsorted(group[unit[of_place]], np.arange(group.max(initial=-1) + 2))
    rank = np.empty(len(units), dtype=np.int64)
    found = []
    for (start, stop), (first, last) in zip(pairwise(ends), pairwise(place_ends), strict=True):
        chosen, inside = by_group[start:stop], of_place[first:last]
        rank[chosen] = np.arange(len(chosen))
        members = _members(axes, numbers[inside], places[inside], rank[unit[inside]], len(chosen))
        found.append((units[chosen], members))
    return found


def _signatures(numbers: Indices, unit: Indices, axes: int, units: int) -> NDArray[np.uint64]:
    """One number a unit, equal for units that touch the same axes equally often.

    A sum of 63-bit random keys; others collide with a chance of about `units^2 / 2^63`.
    """
    keys = np.random.default_rng(0).integers(1, 2**63, size=axes, dtype=np.uint64) | np.uint64(1)
    signature = np.zeros(units, dtype=np.uint64)
    np.add.at(signature, unit, keys[numbers])  # wraps around
    return signature


def _marked(marks: Sequence[Labels], solution: Solution, units: Labels) -> NDArray[np.uint64]:
    """What the marks add to the signatures."""
    signature = np.zeros(len(units), dtype=np.uint64)
    if not marks or not len(units):
        return signature
    numbers = np.repeat(np.arange(len(marks)), [len(mark) for mark in marks])
    classes = solution.of(np.concatenate(marks))
    unit = np.minimum(np.searchsorted(units, classes), len(units) - 1)
    known = units[unit] == classes
    keys = np.random.default_rng(1).integers(1, 2**63, size=len(marks), dtype=np.uint64)
    np.add.at(signature, unit[known], (keys | np.uint64(1))[numbers[known]])
    return signature


def _in_order_of_appearance(signature: NDArray[np.uint64], first_seen: Indices) -> Indices:
    """Number of the group of every unit, counted by where the group is first seen."""
    names, inverse = np.unique(signature, return_inverse=True)
    earliest = np.full(len(names), len(first_seen) and first_seen.max())
    np.minimum.at(earliest, inverse, first_seen)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(earliest, kind="stable")] = np.arange(len(names))
    return rank[inverse]


def _members(
    axes: Sequence[StateAxis], numbers: Indices, places: Indices, rank: Indices, width: int
) -> tuple[Member, ...]:
    order = np.lexsort((places, rank, numbers))
    numbers, places = numbers[order], places[order]
    members = []
    for number in np.unique(numbers):
        indices = places[numbers == number].reshape(width, -1)
        members.append(Member(axes[number].tensor, axes[number].axis, indices))
    return tuple(members)


def find_frozen(axes: Sequence[StateAxis], solution: Solution) -> list[FrozenAxis]:
    """Every axis, or part of one, that must stay, with its reason."""
    frozen: list[FrozenAxis] = []
    for axis in axes:
        by = solution.frozen_by[solution.of(axis.labels)]
        numbers, counts = np.unique(by[by != Solution.FREE], return_counts=True)
        frozen.extend(
            FrozenAxis(axis.tensor, axis.axis, int(count), solution.reasons[number])
            for number, count in zip(numbers, counts, strict=True)
        )
    return frozen


def params_share(
    members: Sequence[Member], shapes: Mapping[str, tuple[int, ...]], parameters: Mapping[str, int]
) -> float:
    """Share of all parameter elements that lie in some slice of these members."""
    outside: dict[str, float] = {}
    for member in members:
        if member.tensor in parameters:
            kept = 1 - member.indices.size / shapes[member.tensor][member.axis]
            outside[member.tensor] = outside.get(member.tensor, 1.0) * kept
    touched = sum(parameters[name] * (1 - rest) for name, rest in outside.items())
    return touched / max(1, sum(parameters.values()))
