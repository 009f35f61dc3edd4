"""What a `prune` section asks of a plan, in the words of the plan."""

from __future__ import annotations

__all__ = ["Wanted", "wanted_of"]

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import cast

from prunekit.plan import Cost, Kind, Override, Policy, Resource, Target
from prunekit.recipe import PruneSection


@dataclass(frozen=True)
class Wanted:
    """What a plan must meet, and how."""

    targets: tuple[Target, ...]
    policy: Policy
    costs: Mapping[Resource, Cost] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    """Functions of the widths in place of the graph's own."""

    def tightened(self, target: Target, amount: float) -> Wanted:
        """The same with another amount of one target."""
        changed = replace(target, amount=amount)
        return replace(self, targets=tuple(changed if t == target else t for t in self.targets))


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
