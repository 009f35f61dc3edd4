"""Make a plan from a graph, scores and a target."""

from __future__ import annotations

__all__ = ["make_plan"]

from collections.abc import Mapping
from fnmatch import fnmatchcase

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError, did_you_mean
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.plan.choose import Chooser, Scores, bundles_of
from prunekit.plan.data import AttributeChange, GroupPlan, Plan, TensorPlan
from prunekit.plan.target import Policy, Target


def make_plan(
    graph: ChannelGraph, scores: Mapping[str, Scores], target: Target, policy: Policy
) -> Plan:
    """Choose widths that meet the target, keep the best units of every group.

    A `channel_ratio` is met as nearly as the rounding allows. A `macs_ratio` or `params_ratio` is
    met or exceeded, by as little as single steps of single groups allow.

    Raises:
        PlanError: nothing can be pruned, the target is out of reach (the message says what is in
            reach), or a glob of `protect` matches nothing.
    """
    bundles = bundles_of(graph, _prunable(graph, policy), policy)
    if not bundles:
        message = "nothing can be pruned: every group follows from one that stays whole"
        raise PlanError(message)
    widths = Chooser(bundles, scores, policy).widths(graph, target)
    kept = {name: _best(scores[name], width) for name, width in widths.items()}
    return _plan(graph, kept)


def _prunable(graph: ChannelGraph, policy: Policy) -> list[ChannelGroup]:
    """Groups that are not protected and whose removal can be proven by zeroing."""
    if not graph.groups:
        reasons = sorted({f.reason.text for f in graph.frozen})
        message = f"nothing can be pruned: every axis is frozen ({'; '.join(reasons)})"
        raise PlanError(message)
    protected: set[str] = set()
    for pattern in policy.protect:
        matched = {g.name for g in graph.groups if _matches(g, pattern)}
        if not matched:
            hint = did_you_mean(pattern, [g.name for g in graph.groups])
            message = f"prune.protect: '{pattern}' matches no group and no tensor{hint}"
            raise PlanError(message)
        protected |= matched
    whole = protected | _held_by_attributes(graph)
    groups = [g for g in graph.groups if g.exact and g.name not in whole]
    if not groups:
        message = "nothing can be pruned: every group is protected or reduced over by an operator"
        raise PlanError(message)
    return groups


def _matches(group: ChannelGroup, pattern: str) -> bool:
    names = (group.name, *(member.tensor for member in group.members))
    return any(fnmatchcase(name, pattern) for name in names)


def _held_by_attributes(graph: ChannelGraph) -> set[str]:
    """Groups whose width is kept where surgery cannot reach, such as in a list of sizes."""
    return {
        name
        for field in graph.fields
        if not field.attribute.isidentifier()
        for name in field.length.each
    }


def _best(scores: Scores, width: int) -> tuple[int, ...]:
    """The highest scores; of equal ones the first."""
    return tuple(sorted(np.argsort(-scores, kind="stable")[:width].tolist()))


def _plan(graph: ChannelGraph, kept: Mapping[str, tuple[int, ...]]) -> Plan:
    """Spell a choice of units out for every tensor and attribute."""
    units = {g.name: kept.get(g.name, tuple(range(g.width))) for g in graph.groups}
    widths = {name: len(chosen) for name, chosen in units.items()}
    return Plan(
        groups=tuple(GroupPlan(g.name, g.width, units[g.name]) for g in graph.groups),
        tensors=_tensor_plans(graph, units),
        attributes=tuple(
            AttributeChange(f.module, f.attribute, before, after)
            for f in graph.fields
            if (before := f.length.at(graph.widths)) != (after := f.length.at(widths))
        ),
        fingerprint=graph.fingerprint,
        params=(graph.params(), graph.params(widths)),
        macs=(graph.macs(), graph.macs(widths)),
    )


def _tensor_plans(
    graph: ChannelGraph, units: Mapping[str, tuple[int, ...]]
) -> tuple[TensorPlan, ...]:
    stays: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for group in graph.groups:
        if len(units[group.name]) == group.width:
            continue
        gone = np.setdiff1d(np.arange(group.width), units[group.name])
        for member in group.members:
            axes = stays.setdefault(member.tensor, {})
            mask = axes.setdefault(
                member.axis, np.ones(graph.shapes[member.tensor][member.axis], dtype=np.bool_)
            )
            mask[member.indices[gone]] = False
    return tuple(
        TensorPlan(
            name,
            graph.shapes[name],
            {axis: tuple(np.flatnonzero(mask).tolist()) for axis, mask in axes.items()},
        )
        for name, axes in stays.items()
    )
