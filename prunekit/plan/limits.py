"""Limits: targets as the most that may be left of a cost; what is in reach; what was reached."""

from __future__ import annotations

__all__ = ["Limit", "Origin", "Reached", "limits_of", "reached", "reached_by"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.plan.costs import Cost, macs_cost, params_cost
from prunekit.plan.data import Plan
from prunekit.plan.memory import PeakMemory
from prunekit.plan.target import Policy, Resource, Target

_NO_COSTS: Mapping[Resource, Cost] = MappingProxyType({})


@dataclass(frozen=True)
class Origin:
    """The network that pruning in rounds began with; targets are about it."""

    widths: Mapping[str, int]
    """Units of its groups."""
    costs: Mapping[Resource, float]
    """What it costs, for every target but those on channels."""


@dataclass(frozen=True)
class Limit:
    """The most that may be left of a cost."""

    target: Target
    cost: Cost = field(repr=False)
    dense: float
    """What the dense network costs."""
    most: float
    """What may be left."""

    @property
    def is_of_channels(self) -> bool:
        """Whether it is about the widths themselves, and so met as nearly as rounding allows."""
        return self.target.resource == "channels"

    def reached(self, widths: Mapping[str, int]) -> float:
        """What widths reach, in the unit of the target."""
        left = self.cost(widths)
        return 1 - left / self.dense if self.target.is_ratio else left

    def check(self, narrowest: Mapping[str, int], policy: Policy) -> None:
        """Raise `PlanError` if the narrowest widths there are do not reach the target."""
        if not self.is_of_channels and self.cost(narrowest) > self.most:
            raise PlanError(self._refusal(narrowest, policy))

    def _refusal(self, narrowest: Mapping[str, int], policy: Policy) -> str:
        kind, amount, reach = self.target.kind, self.target.amount, self.reached(narrowest)
        rules = f"min_width {policy.min_width} and round_to {policy.round_to}"
        if self.target.is_ratio:
            reach = math.floor(1000 * reach) / 1000
            return (
                f"{kind} {amount:g} is out of reach: {reach:g} can be removed with {rules}; "
                "lower the target or these"
            )
        return (
            f"{kind} {_number(amount)} is out of reach: {_number(reach, up=True)} of "
            f"{_number(self.dense)} are left at least with {rules}; raise the target or lower these"
        )


@dataclass(frozen=True)
class Reached:
    """What a plan came to."""

    target: Target
    reached: float
    """In the unit of the target."""

    def __str__(self) -> str:
        """Tell what was asked for, and what was reached."""
        if self.target.is_ratio:
            asked, got = f"{self.target.amount:.4g}", f"{self.reached:.4f}"
        else:
            asked, got = _number(self.target.amount), _number(self.reached)
        return f"{self.target.kind} {asked} asked for, {got} reached"


def limits_of(
    graph: ChannelGraph,
    targets: Sequence[Target],
    costs: Mapping[Resource, Cost] = _NO_COSTS,
    origin: Origin | None = None,
) -> tuple[Limit, ...]:
    """Turn targets into limits.

    Args:
        graph: of the network.
        targets: what must hold, all at once.
        costs: functions of the widths to use in place of the graph's own, which are stated at the
            traced size; there is none of the graph for `latency`.
        origin: the network that ratios are of, if not the traced one.

    Raises:
        PlanError: an amount means nothing, there is no such cost, or two targets are the same.
    """
    if not targets:
        message = "there is no target; give one, such as Target('macs_ratio', 0.5)"
        raise PlanError(message)
    kinds = [target.kind for target in targets]
    if len(set(kinds)) < len(kinds):
        message = f"two targets are of the same kind ({', '.join(kinds)}); keep the stricter one"
        raise PlanError(message)
    return tuple(_limit(graph, target, costs, origin) for target in targets)


def _limit(
    graph: ChannelGraph,
    target: Target,
    costs: Mapping[Resource, Cost],
    origin: Origin | None,
) -> Limit:
    _check_amount(target)
    cost = costs.get(target.resource) or _own_cost(graph, target)
    dense = cost({}) if origin is None else _cost_of(origin, target.resource)
    if dense <= 0:
        message = f"{target.kind}: the network has no {target.resource}, so there is none to remove"
        raise PlanError(message)
    most = (1 - target.amount) * dense if target.is_ratio else target.amount
    return Limit(target, cost, dense, most)


def _cost_of(origin: Origin, resource: Resource) -> float:
    return sum(origin.widths.values()) if resource == "channels" else origin.costs[resource]


def _check_amount(target: Target) -> None:
    amount = target.amount
    if not isinstance(amount, int | float) or isinstance(amount, bool) or not math.isfinite(amount):
        message = f"{target.kind}: {amount!r} is no number"
        raise PlanError(message)
    if target.is_ratio and not 0 < amount < 1:
        message = (
            f"{target.kind} {amount:g}: a ratio is the share that is removed, above 0 and below 1"
        )
        raise PlanError(message)
    if amount <= 0:
        message = f"{target.kind} {amount:g}: what may be left is above 0"
        raise PlanError(message)


def _own_cost(graph: ChannelGraph, target: Target) -> Cost:
    """What the graph itself knows to cost."""
    match target.resource:
        case "channels":
            return lambda widths: sum({**graph.widths, **widths}.values())
        case "blocks":
            message = f"{target.kind} counts whole blocks; channels are removed by another target"
            raise PlanError(message)
        case "params":
            return params_cost(graph)
        case "macs":
            return macs_cost(graph)
        case "memory":
            return PeakMemory(graph)
        case "latency":
            message = (
                f"{target.kind} needs times that were measured; give costs={{'latency': ...}}, a "
                "function of the widths"
            )
            raise PlanError(message)


def reached(
    limits: Sequence[Limit], plan: Plan, origin: Origin | None = None
) -> tuple[Reached, ...]:
    """What a plan comes to, target by target; channels are those of groups that may shrink."""
    free = [group for group in plan.groups if not group.reason]
    before = {} if origin is None else origin.widths
    whole = sum(before.get(group.name, group.width) for group in free)
    removed = 1 - sum(len(group.kept) for group in free) / max(1, whole)
    return tuple(
        Reached(limit.target, removed)
        if limit.is_of_channels
        else Reached(limit.target, limit.reached(plan.widths))
        for limit in limits
    )


def reached_by(limits: Sequence[Limit], widths: Mapping[str, int]) -> tuple[Reached, ...]:
    """What widths come to, target by target."""
    return tuple(Reached(limit.target, limit.reached(widths)) for limit in limits)


_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def _number(value: float, *, up: bool = False) -> str:
    """Write a large number as `40G`, rounded, or rounded up, to four digits."""
    for size, letter in _UNITS:
        if value >= size:
            scaled = value / size
            digits = 3 - int(math.log10(scaled))
            step = 10.0**-digits
            scaled = math.ceil(scaled / step - 1e-9) * step if up else scaled
            return f"{scaled:.4g}{letter}"
    return f"{value:.4g}"
