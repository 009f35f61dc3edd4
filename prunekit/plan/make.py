"""Make a plan from a graph, scores and a target."""

from __future__ import annotations

__all__ = [
    "Choices",
    "check_reach",
    "find_choices",
    "make_plan",
    "narrowest_plan",
    "plan_units",
    "units_for",
]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.plan.allocate import chooser_for
from prunekit.plan.choose import Bundle, Scores, bundles_of
from prunekit.plan.compare import comparable
from prunekit.plan.costs import Cost
from prunekit.plan.data import AttributeChange, GroupPlan, Plan, TensorPlan
from prunekit.plan.limits import Origin, Reached, limits_of, reached_by
from prunekit.plan.overrides import rules_of
from prunekit.plan.sensitivity import Sensitivity
from prunekit.plan.target import Policy, Resource, Target

_NONE: Mapping[str, str] = MappingProxyType({})
_NO_COSTS: Mapping[Resource, Cost] = MappingProxyType({})


def make_plan(
    graph: ChannelGraph,
    scores: Mapping[str, Scores],
    target: Target | Sequence[Target],
    policy: Policy,
    *,
    held: Mapping[str, str] = _NONE,
    costs: Mapping[Resource, Cost] = _NO_COSTS,
    sensitivity: Sensitivity | None = None,
    origin: Origin | None = None,
) -> Plan:
    """Choose widths that meet the targets, keep the best units of every group.

    A `channel_ratio` is met as nearly as the rounding allows. What limits a cost is met or
    exceeded, by less than 1 % of what may be left if single steps of single groups, or of two
    groups at once, allow; the allocations `knapsack` and `sensitivity` look for the least loss
    within it instead. Of several targets all are met. Groups that `held` names stay whole, for the
    reason that it gives. `costs` are used in place of the graph's own, as in `limits_of`. The
    allocation `sensitivity` goes by the curves of that name. Ratios are of `origin`, if units
    have left the network before.

    Raises:
        PlanError: nothing can be pruned, scores are not finite, a target is out of reach (the
            message says what is in reach), a glob matches nothing, or overrides contradict each
            other.
    """
    choices = find_choices(graph, policy, held, origin)
    limits = limits_of(graph, _several(target), costs, origin)
    ranked = {name: scores[name] for name in choices.narrowest}
    ranked = comparable(graph, ranked, policy.normalisation)
    chooser = chooser_for(graph, choices.bundles, ranked, policy, sensitivity)
    widths = chooser.widths(graph, limits, choices.fixed)
    return plan_units(graph, units_for(scores, widths), choices.explained(graph))


def check_reach(
    graph: ChannelGraph,
    target: Target | Sequence[Target],
    policy: Policy,
    *,
    costs: Mapping[Resource, Cost] = _NO_COSTS,
    origin: Origin | None = None,
) -> tuple[Reached, ...]:
    """Say what each target can reach at most, before anything is scored.

    Raises `PlanError` as `make_plan` does.
    """
    choices = find_choices(graph, policy, origin=origin)
    limits = limits_of(graph, _several(target), costs, origin)
    narrowest = choices.narrowest
    for limit in limits:
        limit.check(narrowest, policy)
    return reached_by(limits, narrowest)


def narrowest_plan(graph: ChannelGraph, policy: Policy) -> Plan:
    """The plan that removes whatever a policy lets go, the last units first.

    Raises `PlanError` if nothing can be pruned.
    """
    widths = find_choices(graph, policy).narrowest
    return plan_units(graph, {name: tuple(range(width)) for name, width in widths.items()})


def _several(target: Target | Sequence[Target]) -> Sequence[Target]:
    return (target,) if isinstance(target, Target) else target


def find_choices(
    graph: ChannelGraph,
    policy: Policy,
    held: Mapping[str, str] = _NONE,
    origin: Origin | None = None,
) -> Choices:
    """The widths that may be chosen, and why other groups stay whole.

    Ratios of overrides are of `origin`, if units have left the network before.

    Raises `PlanError` if there is no choice, a glob matches nothing, or overrides contradict each
    other.
    """
    if not graph.groups:
        texts = sorted({f.reason.text for f in graph.frozen})
        message = f"nothing can be pruned: every axis is frozen ({'; '.join(texts)})"
        raise PlanError(message)
    rules = rules_of(graph, policy)
    protected = {name: "protected" for name, rule in rules.items() if rule.protected}
    reasons = {**held, **protected}
    groups = [group for group in graph.groups if group.name not in reasons]
    bundles, fixed = bundles_of(graph, groups, policy, rules, origin.widths if origin else {})
    if not bundles and not fixed:
        why = "; ".join(sorted(set(reasons.values()))) or "every group follows from another"
        message = f"nothing can be pruned: no group may get narrower ({why})"
        raise PlanError(message)
    return Choices(bundles, fixed, reasons)


@dataclass(frozen=True)
class Choices:
    """What may be chosen."""

    bundles: Sequence[Bundle]
    fixed: Mapping[str, int]
    """Widths that are laid down."""
    reasons: Mapping[str, str]
    """Groups that stay whole, and why."""

    @property
    def narrowest(self) -> dict[str, int]:
        """Widths when everything that may leave has left."""
        lowest = {n: w for bundle in self.bundles for n, w in bundle.ladder[0].items()}
        return {**self.fixed, **lowest}

    def explained(self, graph: ChannelGraph) -> dict[str, str]:
        """Reasons, also for groups that move with one that stays whole."""
        found = dict(self.reasons)
        for names in graph.balances:
            if not found.keys().isdisjoint(names):
                tied = (name for name in names if name not in found)
                found |= {name: f"moves with {_others(name, names)}" for name in tied}
        return found


def _others(name: str, names: Sequence[str]) -> str:
    return ", ".join(f"'{other}'" for other in names if other != name)


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
