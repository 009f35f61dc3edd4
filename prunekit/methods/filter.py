"""Filter pruning: rank the units of every coupled group, remove the least important."""

from __future__ import annotations

__all__ = ["measure_filters", "plan_filters"]

from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.measure.sensitivity import Probe, measure_sensitivity
from prunekit.methods.wanted import Wanted, wanted_of
from prunekit.plan import Plan, Sensitivity, make_plan
from prunekit.recipe import PruneSection
from prunekit.score import NOTHING, Criterion, Evidence, Scores, score_some


def plan_filters(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    *,
    seed: int,
    held: Mapping[str, str],
    criterion: Criterion,
    evidence: Evidence = NOTHING,
    sensitivity: Sensitivity | None = None,
    wanted: Wanted | None = None,
) -> Plan:
    """Score all groups by a criterion and plan for the targets of the section.

    Since whole groups are ranked, layers that meet in an addition stay aligned by construction.
    Groups of which the criterion has nothing to score stay whole.
    `wanted` is what the section asks for, if costs other than the graph's own count.
    Raises `PlanError` if a target is out of reach, or so small that nothing would be removed.
    """
    wanted = wanted or wanted_of(section)
    normalisation = section.normalisation or criterion.normalisation
    policy = replace(wanted.policy, normalisation=normalisation)
    scores, whole = _scored(
        model, graph, section, seed=seed, held=held, criterion=criterion, evidence=evidence
    )
    if sensitivity is not None:
        whole |= sensitivity.unfit
    plan = make_plan(
        graph,
        scores,
        wanted.targets,
        policy,
        held=whole,
        costs=wanted.costs,
        sensitivity=sensitivity,
        origin=wanted.origin,
    )
    if not plan.tensors and not wanted.may_be_nothing:
        overrides = ", and the overrides," if policy.overrides else ""
        message = (
            f"the target removes nothing: with round_to {policy.round_to} and min_width "
            f"{policy.min_width}{overrides} no group gets narrower; raise the ratio, or lower these"
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
    criterion: Criterion,
    evidence: Evidence = NOTHING,
) -> Sensitivity:
    """Measure what it costs to remove filters of each group alone, those that the section would.

    Raises `PlanError` if no group may get narrower, `MeasureError` if the network gives no image.
    """
    scores, whole = _scored(
        model, graph, section, seed=seed, held=held, criterion=criterion, evidence=evidence
    )
    policy = wanted_of(section).policy
    return measure_sensitivity(model, graph, scores, probe, policy=policy, held=whole)


def _scored(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    *,
    seed: int,
    held: Mapping[str, str],
    criterion: Criterion,
    evidence: Evidence,
) -> tuple[Mapping[str, Scores], dict[str, str]]:
    """Scores of groups, and why others stay whole: held, or nothing of them to score."""
    found = score_some(
        model,
        graph.groups,
        criterion,
        seed=seed,
        reduction=section.reduction,
        evidence=evidence,
        outputs=graph.output_axes,
    )
    unscored = {name: f"has {why} to score" for name, why in found.unscored.items()}
    return found.scores, {**unscored, **held}
