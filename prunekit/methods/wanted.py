"""What a `prune` section asks of a plan, in the words of the plan."""

from __future__ import annotations

__all__ = ["Wanted", "wanted_of"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from prunekit.plan import Cost, Kind, Origin, Override, Policy, Resource, Target
from prunekit.recipe import PruneSection


@dataclass(frozen=True)
class Wanted:
    """What a plan must meet, and how."""

    targets: tuple[Target, ...]
    policy: Policy
    costs: Mapping[Resource, Cost] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Functions of the widths in place of the graph's own."""
    origin: Origin | None = field(default=None, repr=False)
    """The network that ratios are of, if units have left it in earlier rounds."""
    may_be_nothing: bool = False
    """Whether a plan that removes nothing will do, as more is to follow."""

    def tightened(self, target: Target, amount: float) -> Wanted:
        """The same with another amount of one target."""
        changed = replace(target, amount=amount)
        return replace(self, targets=tuple(changed if t == target else t for t in self.targets))

    def partly(self, share: float, dense: Mapping[Resource, float]) -> Wanted:
        """The same when only a share of what is asked for is to be removed.

        `dense` is what the whole network costs, for every target but those on channels.
        """
        if share == 1:
            return self
        overrides = tuple(
            replace(o, ratio=None if o.ratio is None else o.ratio * share)
            for o in self.policy.overrides
        )
        return replace(
            self,
            targets=tuple(_part(t, share, dense) for t in self.targets),
            policy=replace(self.policy, overrides=overrides),
            may_be_nothing=True,
        )


def _part(target: Target, share: float, dense: Mapping[Resource, float]) -> Target:
    if target.is_ratio:
        return replace(target, amount=target.amount * share)
    whole = dense[target.resource]
    return replace(target, amount=whole - (whole - target.amount) * share)


def wanted_of(section: PruneSection, costs: Mapping[Resource, Cost] | None = None) -> Wanted:
    """Read a section."""
    asked = section.target.asked.items()
    overrides = tuple(
        Override(o.match, o.ratio, bool(o.protect), o.min_width, o.round_to)
        for o in section.overrides
    )
    policy = Policy(
        allocation=section.allocation,
        round_to=section.round_to,
        min_width=section.min_width,
        protect=section.protect,
        overrides=overrides,
    )
    targets = tuple(Target(cast("Kind", kind), amount) for kind, amount in asked)
    return Wanted(targets, policy, costs or {})
