"""Filter pruning: rank the units of every coupled group, remove the least important."""

from __future__ import annotations

__all__ = ["plan_filters"]

from collections.abc import Mapping

from torch import nn

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.methods.wanted import Wanted, wanted_of
from prunekit.plan import Plan, make_plan
from prunekit.recipe import PruneSection
from prunekit.score import score_groups


def plan_filters(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    *,
    seed: int,
    held: Mapping[str, str],
    wanted: Wanted | None = None,
) -> Plan:
    """Score all groups by the criterion of the section and plan for its targets.

    Since whole groups are ranked, layers that meet in an addition stay aligned by construction.
    `wanted` is what the section asks for, if costs other than the graph's own count.
    Raises `PlanError` if a target is out of reach, or so small that nothing would be removed.
    """
    wanted = wanted or wanted_of(section)
    policy = wanted.policy
    scores = score_groups(model, graph.groups, section.criterion, seed=seed)
    plan = make_plan(graph, scores, wanted.targets, policy, held=held, costs=wanted.costs)
    if not plan.tensors:
        message = (
            f"the target removes nothing: with round_to {policy.round_to} and min_width "
            f"{policy.min_width} no group gets narrower; raise the ratio, or lower these"
        )
        raise PlanError(message)
    return plan
