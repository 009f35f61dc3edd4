"""Spread a target over the groups: who finds the widths for every allocation."""

from __future__ import annotations

__all__ = ["chooser_for"]

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from prunekit.graph import ChannelGraph
from prunekit.plan.choose import Bundle, Chooser, Cost, Scores, Widths
from prunekit.plan.classes import classes_of
from prunekit.plan.knapsack import Numbers, read_cost, solve
from prunekit.plan.sensitivity import Sensitivity
from prunekit.plan.target import Policy


def chooser_for(
    graph: ChannelGraph,
    bundles: Sequence[Bundle],
    scores: Mapping[str, Scores],
    policy: Policy,
    sensitivity: Sensitivity | None = None,
) -> Chooser:
    """Return what finds the widths.

    Args:
        graph: of the network.
        bundles: what may be chosen.
        scores: of their groups, made comparable with each other.
        policy: says how the target is spread.
        sensitivity: is there if the allocation goes by it.
    """
    match policy.allocation:
        case "local" | "global" | "uniform":
            return Chooser(bundles, scores, policy)
        case "isomorphic":
            return _ClassChooser(bundles, scores, policy, classes_of(graph))
        case "knapsack":
            losses = _importance(graph, bundles, scores)
            return _KnapsackChooser(bundles, scores, policy, losses)
        case "sensitivity":
            assert sensitivity is not None  # measured before
            measured = _measured(bundles, sensitivity)
            return _KnapsackChooser(bundles, scores, policy, measured)


class _ClassChooser(Chooser):
    """Ranks the units of groups that are wired alike; each class loses the same share."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        scores: Mapping[str, Scores],
        policy: Policy,
        classes: Mapping[str, int],
    ) -> None:
        super().__init__(bundles, scores, policy)
        kinds = [tuple(sorted(classes[name] for name in bundle.groups)) for bundle in bundles]
        self._class_of = [kinds.index(kind) for kind in kinds]
        owners = np.array(self._class_of)[self._leaves]
        self._ranked = [self._leaves[owners == number] for number in sorted(set(self._class_of))]
        self._sizes = [[sum(rung.values()) for rung in bundle.ladder] for bundle in bundles]
        self._alike = [
            [n for n, other in enumerate(self._class_of) if other == number]
            for number in self._class_of
        ]

    def _leaving(self, ratio: float) -> list[float]:
        first = [ranked[: round(ratio * len(ranked))] for ranked in self._ranked]
        gone = np.bincount(np.concatenate(first), minlength=len(self._bundles))
        return [float(count) for count in gone]

    def _gone(self, number: int, rungs: Sequence[int]) -> float:
        alike = self._alike[number]
        left = sum(self._sizes[n][rungs[n]] for n in alike)
        return 1 - left / sum(self._sizes[n][-1] for n in alike)


class _KnapsackChooser(Chooser):
    """Loses as little as the budget allows; never more than global allocation would."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        scores: Mapping[str, Scores],
        policy: Policy,
        losses: Sequence[Numbers],
    ) -> None:
        """Take what is lost on every rung of every bundle, 0 on the last."""
        super().__init__(bundles, scores, policy)
        self._ranking = Chooser(bundles, scores, replace(policy, allocation="global"))
        self._losses = losses

    def lost(self, number: int, wide: int, narrow: int) -> float:
        """What is lost from one rung to another."""
        return float(self._losses[number][narrow] - self._losses[number][wide])

    def _gone(self, number: int, rungs: Sequence[int]) -> float:  # noqa: ARG002
        """Nothing is kept alike."""
        return 0.0

    def _without(self, ratio: float) -> list[int]:
        """Rungs when at least this share of the channels leaves, or all that may."""
        limit = (1 - ratio) * sum(bundle.width for bundle in self._bundles)
        narrowest = sum(self._all([0] * len(self._bundles)).values())
        return self.within(_channels, max(limit, narrowest))

    def within(self, cost: Cost, limit: float) -> list[int]:
        """Rungs whose cost is within a limit that can be met."""

        def rung_cost(rungs: Sequence[int]) -> float:
            return cost(self._all(rungs))

        sizes = [[sum(rung.values()) for rung in bundle.ladder] for bundle in self._bundles]
        found = solve(self._losses, read_cost(rung_cost, sizes), limit)
        # for a cost that is no sum of products of two, single steps see to the limit
        found = [self._step_down(rungs, cost, limit) for rungs in found]
        found.append(self._ranking.within(cost, limit))
        return min(found, key=lambda rungs: (self._loss(rungs), rung_cost(rungs)))

    def _loss(self, rungs: Sequence[int]) -> float:
        return float(sum(loss[rung] for loss, rung in zip(self._losses, rungs, strict=True)))


def _importance(
    graph: ChannelGraph, bundles: Sequence[Bundle], scores: Mapping[str, Scores]
) -> list[Numbers]:
    """What is lost on every rung: importance, times the size of the group.

    The size is the share of the parameters that lie in some slice of the group. Without it a unit
    of the trunk would count as much as one of a single layer, though it costs as much as all.
    """
    losses = []
    for bundle in bundles:
        lost = np.zeros(len(bundle.ladder))
        for name in bundle.groups:
            group = graph[name]
            gone = np.append(0.0, np.cumsum(np.sort(scores[name])))
            removed = [group.width - rung[name] for rung in bundle.ladder]
            lost += gone[removed] * (group.params_share / group.width)
        losses.append(lost)
    return losses


def _measured(bundles: Sequence[Bundle], sensitivity: Sensitivity) -> list[Numbers]:
    """What is lost on every rung: the error that was measured for the bundle alone."""
    return [
        sensitivity.losses(
            bundle.groups, [bundle.width - sum(rung.values()) for rung in bundle.ladder]
        )
        for bundle in bundles
    ]


def _channels(widths: Widths) -> float:
    return float(sum(widths.values()))
