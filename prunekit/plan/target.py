"""What a plan must meet, and how it is spread over the groups."""

from __future__ import annotations

__all__ = ["Allocation", "Kind", "Override", "Policy", "Resource", "Target"]

from dataclasses import dataclass
from typing import Literal

from prunekit.score import Normalisation

Allocation = Literal["local", "global", "uniform", "isomorphic", "sensitivity", "knapsack"]
"""The same share of every group, as nearly as each can; one ranking of all units; exactly the same
share of every group, so that widths keep their proportions; one ranking in every class of groups
that are wired alike, each of which loses the same share; the least loss of what was measured for
each group; or the most importance that the budget buys."""

Resource = Literal["channels", "blocks", "params", "macs", "memory", "latency"]
"""What a target is about."""

Kind = Literal[
    "channel_ratio",
    "block_ratio",
    "params_ratio",
    "macs_ratio",
    "memory_ratio",
    "latency_ratio",
    "params",
    "macs",
    "latency_ms",
]

_RESOURCES: dict[Kind, Resource] = {
    "channel_ratio": "channels",
    "block_ratio": "blocks",
    "params_ratio": "params",
    "macs_ratio": "macs",
    "memory_ratio": "memory",
    "latency_ratio": "latency",
    "params": "params",
    "macs": "macs",
    "latency_ms": "latency",
}


@dataclass(frozen=True)
class Target:
    """What a plan must meet: at least a share of something is removed, or at most so much stays."""

    kind: Kind
    amount: float
    """Of a ratio the share removed, above 0 and below 1; of the others what may be left: numbers,
    multiply-accumulates, milliseconds."""

    @property
    def is_ratio(self) -> bool:
        """Whether the amount is a share that is removed."""
        return self.kind.endswith("_ratio")

    @property
    def ratio(self) -> float:
        """The share removed, of a target that is one."""
        assert self.is_ratio
        return self.amount

    @property
    def resource(self) -> Resource:
        """What it is about."""
        return _RESOURCES[self.kind]


@dataclass(frozen=True)
class Override:
    """What holds for some groups in place of what holds for all."""

    match: str
    """Glob on names of groups, of layers that make their channels, or of their tensors."""
    ratio: float | None = None
    """Share of the units that leaves, whatever the target asks of the others."""
    protect: bool = False
    """They stay whole."""
    min_width: int | None = None
    round_to: int | None = None


@dataclass(frozen=True)
class Policy:
    """How a target is spread over the groups."""

    allocation: Allocation = "local"
    round_to: int = 8
    """Widths that change become multiples of this, counted in channels as a kernel sees them."""
    min_width: int = 8
    """No group gets narrower, counted likewise."""
    protect: tuple[str, ...] = ()
    """Globs on names of groups or tensors that stay whole."""
    normalisation: Normalisation = "mean"
    """How the scores of different groups are made comparable."""
    overrides: tuple[Override, ...] = ()
    """What holds for single groups instead."""
