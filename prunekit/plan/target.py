"""What a plan must meet, and how it is spread over the groups."""

from __future__ import annotations

__all__ = ["Allocation", "Policy", "Target"]

from dataclasses import dataclass
from typing import Literal

from prunekit.score import Normalisation

Allocation = Literal["local", "global", "uniform", "isomorphic", "sensitivity", "knapsack"]
"""The same share of every group, as nearly as each can; one ranking of all units; exactly the same
share of every group, so that widths keep their proportions; one ranking in every class of groups
that are wired alike, each of which loses the same share; the least loss of what was measured for
each group; or the most importance that the budget buys."""


@dataclass(frozen=True)
class Target:
    """What a plan must meet: at least this share of something is removed."""

    kind: Literal["channel_ratio", "macs_ratio", "params_ratio"]
    ratio: float
    """Share removed, above 0 and below 1."""


@dataclass(frozen=True)
class Policy:
    """How a target is spread over the groups."""

    allocation: Allocation = "local"
    round_to: int = 8
    """Widths that change become multiples of this."""
    min_width: int = 8
    """No group gets narrower."""
    protect: tuple[str, ...] = ()
    """Globs on names of groups or tensors that stay whole."""
    normalisation: Normalisation = "mean"
    """How the scores of different groups are made comparable."""
