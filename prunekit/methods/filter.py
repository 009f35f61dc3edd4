"""Filter pruning: rank the units of every coupled group, remove the least important."""

from __future__ import annotations

__all__ = ["measure_filters", "plan_filters"]

from collections.abc import Mapping

from torch import nn

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.measure.sensitivity import Probe, measure_sensitivity
from prunekit.plan import Plan, Policy, Sensitivity, Target, make_plan
from prunekit.recipe import PruneSection
from prunekit.score import score_groups


def plan_filters(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    *,
    seed: int,
    held: Mapping[str, str],
    sensitivity: Sensitivity | None = None,
) -> Plan:
    """Score all groups by the criterion of the section and plan for its target.

    Since whole groups are ranked, layers that meet in an addition stay aligned by construction.
    Raises `PlanError` if the target is out of reach, or so small that nothing would be removed.
    """
    policy = _policy(section)
    scores = score_groups(model, graph.groups, section.criterion, seed=seed)
    held = {**held, **(sensitivity.unfit if sensitivity else {})}
    plan = make_plan(graph, scores, _target(section), policy, held=held, sensitivity=sensitivity)
    if not plan.tensors:
        message = (
            f"the target removes nothing: with round_to {policy.round_to} and min_width "
            f"{policy.min_width} no group gets narrower; raise the ratio, or lower these"
        )
        raise PlanError(message)
    return plan


def measure_filters(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    probe: Probe,
    *,
    seed: int,
    held: Mapping[str, str],
) -> Sensitivity:
    """Measure what it costs to remove filters of each group alone, those that the section would.

    Raises `PlanError` if no group may get narrower, `MeasureError` if the network gives no image.
    """
    scores = score_groups(model, graph.groups, section.criterion, seed=seed)
    return measure_sensitivity(model, graph, scores, probe, policy=_policy(section), held=held)


def _policy(section: PruneSection) -> Policy:
    return Policy(
        allocation=section.allocation,
        round_to=section.round_to,
        min_width=section.min_width,
        protect=section.protect,
    )


def _target(section: PruneSection) -> Target:
    given = section.target
    if given.channel_ratio is not None:
        return Target("channel_ratio", given.channel_ratio)
    if given.macs_ratio is not None:
        return Target("macs_ratio", given.macs_ratio)
    assert given.params_ratio is not None  # the recipe needs one of the three
    return Target("params_ratio", given.params_ratio)
