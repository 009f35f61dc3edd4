"""Make a plan from a graph, scores and a target."""

from __future__ import annotations

__all__ = ["find_choices", "make_plan", "plan_units", "units_for"]

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError, did_you_mean
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.plan.allocate import chooser_for
from prunekit.plan.choose import Bundle, Scores, bundles_of
from prunekit.plan.compare import comparable
from prunekit.plan.data import AttributeChange, GroupPlan, Plan, TensorPlan
from prunekit.plan.sensitivity import Sensitivity
from prunekit.plan.target import Policy, Target

_NONE: Mapping[str, str] = MappingProxyType({})


def make_plan(
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    target: Target,
    policy: Policy,
    *,
    held: Mapping[str, str] = _NONE,
    sensitivity: Sensitivity | None = None,
) -> Plan:
    """Choose widths that meet the target, keep the best units of every group.

    A `channel_ratio` is met as nearly as the rounding allows. A `macs_ratio` or `params_ratio` is
    met or exceeded, by as little as single steps of single groups allow. Groups that `held` names
    stay whole, for the reason that it gives. The allocation `sensitivity` goes by the curves of
    that name.

    Raises:
        PlanError: nothing can be pruned, scores are not finite, the target is out of reach (the
            message says what is in reach), or a glob of `protect` matches nothing.
    """
    bundles, reasons = find_choices(graph, policy, held)
    ranked = {name: scores[name] for bundle in bundles for name in bundle.groups}
    ranked = comparable(graph, ranked, policy.normalisation)
    widths = chooser_for(graph, bundles, ranked, policy, sensitivity).widths(graph, target)
    kept = units_for(scores, widths)
    for names in graph.balances:
        if not reasons.keys().isdisjoint(names):
            tied = (name for name in names if name not in reasons)
            reasons |= {name: f"moves with {_others(name, names)}" for name in tied}
    return plan_units(graph, kept, reasons)


def find_choices(
    graph: ChannelGraph, policy: Policy, held: Mapping[str, str] = _NONE
) -> tuple[list[Bundle], dict[str, str]]:
    """The widths that may be chosen, and why other groups stay whole.

    Raises `PlanError` if there is no choice.
    """
    reasons = _reasons(graph, policy, held)
    groups = [group for group in graph.groups if group.name not in reasons]
    bundles = bundles_of(graph, groups, policy)
    if not bundles:
        texts = "; ".join(sorted(set(reasons.values()))) or "every group follows from another"
        message = f"nothing can be pruned: no group may get narrower ({texts})"
        raise PlanError(message)
    return bundles, reasons


def _reasons(graph: ChannelGraph, policy: Policy, held: Mapping[str, str]) -> dict[str, str]:
    """Groups that stay whole, and why: held or protected."""
    if not graph.groups:
        reasons = sorted({f.reason.text for f in graph.frozen})
        message = f"nothing can be pruned: every axis is frozen ({'; '.join(reasons)})"
        raise PlanError(message)
    found = dict(held)
    for pattern in policy.protect:
        matched = {g.name for g in graph.groups if _matches(g, pattern)}
        if not matched:
            hint = did_you_mean(pattern, [g.name for g in graph.groups])
            message = f"prune.protect: '{pattern}' matches no group and no tensor{hint}"
            raise PlanError(message)
        found |= dict.fromkeys(matched, "protected")
    return found


def _others(name: str, names: Sequence[str]) -> str:
    return ", ".join(f"'{other}'" for other in names if other != name)


def _matches(group: ChannelGroup, pattern: str) -> bool:
    names = (group.name, *(member.tensor for member in group.members))
    return any(fnmatchcase(name, pattern) for name in names)


def units_for(
    scores: Mapping[str, Scores], widths: Mapping[str, int]
) -> dict[str, tuple[int, ...]]:
    """The units that stay when groups have these widths, ascending."""
    return {name: _best(scores[name], width) for name, width in widths.items()}


def _best(scores: Scores, width: int) -> tuple[int, ...]:
    """The highest scores; of equal ones the first."""
    return tuple(sorted(np.argsort(-scores, kind="stable")[:width].tolist()))


def plan_units(
    graph: ChannelGraph, kept: Mapping[str, tuple[int, ...]], reasons: Mapping[str, str] = _NONE
) -> Plan:
    """Spell a choice of units out for every tensor and attribute.

    Args:
        graph: of the network.
        kept: units that stay, ascending, by group; other groups stay whole.
        reasons: why they do, by group.
    """
    units = {g.name: kept.get(g.name, tuple(range(g.width))) for g in graph.groups}
    widths = {name: len(chosen) for name, chosen in units.items()}
    return Plan(
        groups=tuple(
            GroupPlan(g.name, g.width, units[g.name], reasons.get(g.name, "")) for g in graph.groups
        ),
        tensors=_tensor_plans(graph, units),
        attributes=(*_lengths(graph, widths), *_settings(graph, widths)),
        fingerprint=graph.fingerprint,
        params=(graph.params(), graph.params(widths)),
        macs=(graph.macs(), graph.macs(widths)),
        exact=all(group.exact or widths[group.name] == group.width for group in graph.groups),
    )


def _lengths(graph: ChannelGraph, widths: Mapping[str, int]) -> Iterator[AttributeChange]:
    """Attributes that hold the length of an axis."""
    for field in graph.fields:
        before, after = field.length.at(graph.widths), field.length.at(widths)
        if before != after:
            yield AttributeChange(field.module, field.attribute, before, after)


def _settings(graph: ChannelGraph, widths: Mapping[str, int]) -> Iterator[AttributeChange]:
    """Attributes that a length is computed from."""
    before = {a: value for rule in graph.rules for a, value in rule.settings.items()}
    for attribute, after in graph.settings(widths).items():
        yield AttributeChange(attribute.module, attribute.path, before[attribute], after)


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
