"""The methods by the names that recipes use."""

from __future__ import annotations

__all__ = ["METHODS", "Method"]

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from torch import nn

from prunekit.graph import ChannelGraph
from prunekit.methods.filter import plan_filters
from prunekit.methods.wanted import Wanted
from prunekit.plan import Plan, Sensitivity
from prunekit.recipe import PruneSection
from prunekit.score import Criterion, Evidence


class Method(Protocol):
    """Decides which units of a traced model stay."""

    def __call__(
        self,
        model: nn.Module,
        graph: ChannelGraph,
        section: PruneSection,
        *,
        seed: int,
        held: Mapping[str, str],
        criterion: Criterion,
        evidence: Evidence,
        sensitivity: Sensitivity | None = None,
        wanted: Wanted | None = None,
    ) -> Plan:
        """Return the plan, in which `held` groups stay whole; the model is not changed.

        `sensitivity` is there if the section allocates by it; `wanted` is what the section asks
        for, if costs other than the graph's own count.
        """


METHODS: Mapping[str, Method] = MappingProxyType({"filter": plan_filters})
