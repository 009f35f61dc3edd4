"""What each group costs, and what freezing costs, as shares of all parameters and macs."""

from __future__ import annotations

__all__ = ["FrozenCost", "GroupShare", "frozen_costs", "group_shares", "stuck_share"]

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunekit.graph.graph import ChannelGraph
from prunekit.graph.groups import FrozenAxis
from prunekit.graph.labels import Cause
from prunekit.graph.lengths import Term


@dataclass(frozen=True)
class GroupShare:
    """What would go if a whole group went. Shares of groups overlap: a weight has two sides."""

    name: str
    params: float
    """Share of all parameters."""
    macs: float
    """Share of all multiply-accumulates at the traced size."""


@dataclass(frozen=True)
class FrozenCost:
    """What one reason keeps from being pruned. Shares of reasons overlap as those of groups do."""

    text: str
    operator: str
    """The operator that said so; empty when it is a matter of policy."""
    cause: Cause
    modules: tuple[str, ...]
    """Modules that called it, in order of appearance; "" is the model itself."""
    axes: tuple[FrozenAxis, ...]
    """What it keeps."""
    params_share: float
    """Share of all parameters that no group can remove and that lie on one of these axes.

    An axis of space, such as the extent of a kernel, is held against them only where there is
    no other: it is no channel.
    """
    outputs_share: float
    """Share of the channels that convolutions and matrix products make that it keeps."""


def group_shares(graph: ChannelGraph) -> dict[str, GroupShare]:
    """Shares of every group, by its name."""
    gone: dict[str, int] = defaultdict(int)
    for term in graph.terms:
        for name in {name for axis in term.axes for name in axis.each}:
            gone[name] += _macs_gone(term, name, graph.widths)
    total = max(1, graph.macs())
    return {
        group.name: GroupShare(group.name, group.params_share, gone[group.name] / total)
        for group in graph.groups
    }


def frozen_costs(graph: ChannelGraph) -> tuple[FrozenCost, ...]:
    """What each reason costs, the dearest first; modules with the same reason are one."""
    by_reason: dict[tuple[str, str, Cause], list[FrozenAxis]] = defaultdict(list)
    for frozen in graph.frozen:
        reason = frozen.reason
        by_reason[reason.text, reason.operator, reason.cause].append(frozen)
    stuck = _stuck(graph)
    counts = _frozen_counts(graph.frozen)
    channels = {f.tensor for f in graph.frozen if f.reason.cause != "space"}
    outputs = {f: graph.shapes[f[0]][f[1]] for f in graph.output_axes}
    total = max(1, graph.params())
    costs = [
        FrozenCost(
            text=text,
            operator=operator,
            cause=cause,
            modules=tuple(dict.fromkeys(frozen.reason.module for frozen in axes)),
            axes=tuple(axes),
            params_share=_stuck_by(
                [f for f in axes if f.reason.cause != "space" or f.tensor not in channels],
                stuck,
                counts,
            )
            / total,
            outputs_share=sum(f.count for f in axes if (f.tensor, f.axis) in outputs)
            / max(1, sum(outputs.values())),
        )
        for (text, operator, cause), axes in by_reason.items()
    ]
    return tuple(sorted(costs, key=lambda c: (-c.params_share, -c.outputs_share, c.text)))


def stuck_share(graph: ChannelGraph) -> float:
    """Share of all parameters that lie in no slice of any group, so that no plan removes them."""
    return sum(_stuck(graph).values()) / max(1, graph.params())


def _macs_gone(term: Term, name: str, widths: Mapping[str, int]) -> int:
    """Multiply-accumulates of a term that go when the whole group goes."""
    return term.macs(widths) - term.macs({**widths, name: 0})


def _frozen_counts(frozen: Iterable[FrozenAxis]) -> Counter[tuple[str, int]]:
    """How many indices of an axis are frozen, for whatever reason."""
    counts: Counter[tuple[str, int]] = Counter()
    for one in frozen:
        counts[one.tensor, one.axis] += one.count
    return counts


def _stuck(graph: ChannelGraph) -> dict[str, int]:
    """Elements of every parameter at frozen indices of all its axes.

    Every index is in a group or frozen, so these are the elements in no slice of any group.
    """
    counts = _frozen_counts(graph.frozen)
    return {
        name: math.prod(
            counts[name, axis] for axis, size in enumerate(graph.shapes[name]) if size > 1
        )
        for name in graph.parameters
    }


def _stuck_by(
    axes: Sequence[FrozenAxis], stuck: Mapping[str, int], counts: Mapping[tuple[str, int], int]
) -> float:
    """Elements of `stuck` that lie on one of these axes."""
    free: dict[str, float] = {}
    for (tensor, axis), count in _frozen_counts(axes).items():
        if tensor in stuck:
            free[tensor] = free.get(tensor, 1.0) * (1 - count / counts[tensor, axis])
    return sum(stuck[name] * (1 - rest) for name, rest in free.items())
