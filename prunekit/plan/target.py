"""What a plan must meet, and how it is spread over the groups."""

from __future__ import annotations

__all__ = ["Kind", "Override", "Policy", "Target", "Resource"]

from dataclasses import dataclass
from typing import Literal

Resource = Literal["channels", "params", "macs", "memory", "latency"]
"""What a target is about."""

Kind = Literal[
    "channel_ratio",
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

    allocation: Literal["local", "global", "uniform"] = "local"
    """The same share of every group, as nearly as each can; one ranking of all units; or exactly
    the same share of every group, so that widths keep their proportions."""
    round_to: int = 8
    """Widths that change become multiples of this, counted in channels as a kernel sees them."""
    min_width: int = 8
    """No group gets narrower, counted likewise."""
    protect: tuple[str, ...] = ()
    """Globs on names of groups or tensors that stay whole."""
    overrides: tuple[Override, ...] = ()
    """What holds for single groups instead."""
