"""Choose the blocks that leave: the least important ones first, until the targets are met."""

from __future__ import annotations

__all__ = ["DepthPlan", "check_block_reach", "choose_blocks", "plan_blocks"]

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prunekit.depth.parts import Part
from prunekit.depth.rest import without_blocks
from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.plan import (
    Cost,
    GroupPlan,
    Limit,
    Plan,
    Reached,
    Resource,
    Target,
    inside,
    limits_of,
    reached_by,
)

_RESOURCES: tuple[Resource, ...] = ("blocks", "params", "macs")


@dataclass(frozen=True)
class DepthPlan:
    """A plan that removes blocks, and how it came about."""

    plan: Plan
    order: tuple[str, ...]
    """Paths of the blocks that leave, the least important first, those inside others too."""
    reached: tuple[Reached, ...]
    """What it comes to, target by target."""


def choose_blocks(
    graph: ChannelGraph,
    parts: Sequence[Part],
    scores: Mapping[str, float],
    targets: Sequence[Target],
    *,
    sized: ChannelGraph | None = None,
) -> DepthPlan:
    """Remove blocks in a fixed order until all targets are met; a larger one removes more of them.

    First leaves the block with the least score for what its removal saves of the targets' costs,
    as a share of those of the network. A block around others leaves after all of these, by what it
    holds beside them. One without a score stays, with those around it.

    Args:
        graph: of the network.
        parts: what may leave, as `parts_of` finds it in `sized`.
        scores: of them, as far as they have one.
        targets: `block_ratio` is a share of the parts, others are of the whole network.
        sized: the graph at the size at which macs count; `graph` if not given.

    Raises:
        PlanError: a target is out of reach (the message says what is in reach), or is none that
            the removal of blocks can be aimed at.
    """
    stays = {part.name for part in parts} - scores.keys()
    scored = [p for p in parts if p.name not in stays and stays.isdisjoint(p.inner)]
    limits = _limits(sized or graph, parts, targets)
    _check(limits, scored, parts)
    gone: list[str] = []
    for name in _order(scored, scores, limits):
        if all(limit.cost(dict.fromkeys(gone, 0)) <= limit.most for limit in limits):
            break
        gone.append(name)
    if not gone:
        asked = " and ".join(f"{t.kind} {t.amount:g}" for t in targets)
        message = f"the target removes nothing: the network meets {asked} as it is; ask for more"
        raise PlanError(message)
    named = [part.name for part in parts if part.name in gone]
    return DepthPlan(
        plan_blocks(graph, named), tuple(gone), reached_by(limits, dict.fromkeys(gone, 0))
    )


def check_block_reach(
    graph: ChannelGraph, parts: Sequence[Part], targets: Sequence[Target]
) -> tuple[Reached, ...]:
    """Say what each target can reach at most, before anything is scored.

    Raises `PlanError` as `choose_blocks` does; `graph` is that at the size at which macs count.
    """
    limits = _limits(graph, parts, targets)
    _check(limits, parts, parts)
    return reached_by(limits, {part.name: 0 for part in parts})


def plan_blocks(graph: ChannelGraph, names: Collection[str]) -> Plan:
    """The plan that removes these blocks, and what is in them, and leaves the rest as it is."""
    blocks = [n for n in dict.fromkeys(names) if not inside(n, {*names} - {n})]
    rest = without_blocks(graph, blocks)
    return Plan(
        groups=tuple(
            GroupPlan(group.name, group.width, tuple(range(group.width)))
            if any(not inside(member.tensor, blocks) for member in group.members)
            else GroupPlan(group.name, group.width, ())
            for group in graph.groups
        ),
        tensors=(),
        attributes=(),
        fingerprint=graph.fingerprint,
        params=(graph.params(), rest.params()),
        macs=(graph.macs(), rest.macs()),
        blocks=tuple(blocks),
    )


def _limits(
    graph: ChannelGraph, parts: Sequence[Part], targets: Sequence[Target]
) -> tuple[Limit, ...]:
    for target in targets:
        if target.resource not in _RESOURCES:
            message = (
                f"{target.kind} cannot be aimed at by removing blocks; ask for params_ratio, "
                "macs_ratio or block_ratio"
            )
            raise PlanError(message)
    costs: dict[Resource, Cost] = {
        "blocks": _cost(len(parts), {part.name: 1 for part in parts}),
        "params": _cost(graph.params(), {part.name: part.params for part in parts}),
        "macs": _cost(graph.macs(), {part.name: part.macs for part in parts}),
    }
    return limits_of(graph, targets, costs)


def _cost(whole: int, savings: Mapping[str, int]) -> Cost:
    """What is left when the blocks that are named are gone."""
    return lambda gone: float(whole - sum(savings[name] for name in gone))


def _check(limits: Sequence[Limit], scored: Sequence[Part], parts: Sequence[Part]) -> None:
    """Raise `PlanError` if the removal of all blocks does not reach a target."""
    everything = {part.name: 0 for part in scored}
    for limit in limits:
        left = limit.cost(everything)
        if left <= limit.most:
            continue
        reach = limit.reached(everything)
        most = f"{math.floor(1000 * reach) / 1000:g} can be removed"
        least = f"{left:,.0f} of {limit.dense:,.0f} are left"
        silent = len(parts) - len(scored)
        untold = f" ({silent} others have nothing that the criterion scores)" if silent else ""
        message = (
            f"{limit.target.kind} {limit.target.amount:g} is out of reach: "
            f"{most if limit.target.is_ratio else least} with all {len(scored)} blocks that may "
            f"leave{untold}; {'lower' if limit.target.is_ratio else 'raise'} the target, or remove "
            "channels as well"
        )
        raise PlanError(message)


def _order(
    parts: Sequence[Part], scores: Mapping[str, float], limits: Sequence[Limit]
) -> Iterator[str]:
    """Paths in the order that they leave in."""
    saved = {part.name: _saving(part.name, limits) for part in parts}
    ranks = {n: scores[n] / saving if saving else math.inf for n, saving in saved.items()}
    left = {part.name: part for part in parts}
    while left:
        free = [name for name, part in left.items() if left.keys().isdisjoint(part.inner)]
        name = min(free, key=ranks.__getitem__)
        del left[name]
        yield name


def _saving(name: str, limits: Sequence[Limit]) -> float:
    """What the removal of a block saves, as shares of the network's costs."""
    return sum((limit.dense - limit.cost({name: 0})) / limit.dense for limit in limits)
