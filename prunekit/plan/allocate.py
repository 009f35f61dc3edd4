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
    """Return what finds the widths; `sensitivity` is there if the allocation goes by it."""
    match policy.allocation:
        case "local" | "global" | "uniform":
            return Chooser(bundles, scores, policy)
        case "isomorphic":
            return _ClassChooser(bundles, scores, policy, classes_of(graph))
        case "knapsack":
            return _KnapsackChooser(bundles, scores, policy)
        case "sensitivity":
            assert sensitivity is not None  # measured before
            return _SensitivityChooser(bundles, scores, policy, sensitivity)


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

    def _leaving(self, ratio: float) -> list[float]:
        first = [ranked[: round(ratio * len(ranked))] for ranked in self._ranked]
        gone = np.bincount(np.concatenate(first), minlength=len(self._bundles))
        return [float(count) for count in gone]

    def _gone(self, number: int, rungs: Sequence[int]) -> float:
        alike = [n for n, other in enumerate(self._class_of) if other == self._class_of[number]]
        left = sum(sum(self._bundles[n].ladder[rungs[n]].values()) for n in alike)
        return 1 - left / sum(self._bundles[n].width for n in alike)


class _KnapsackChooser(Chooser):
    """Keeps as much importance as the budget buys; never less than global allocation."""

    def __init__(
        self, bundles: Sequence[Bundle], scores: Mapping[str, Scores], policy: Policy
    ) -> None:
        super().__init__(bundles, scores, policy)
        self._ranking = Chooser(bundles, scores, replace(policy, allocation="global"))
        self._losses = [self._losses_of(number) for number in range(len(bundles))]

    def _losses_of(self, number: int) -> Numbers:
        """What is lost on every rung of a bundle: importance."""
        highest = len(self._bundles[number].ladder) - 1
        lost = [self._ranking.lost(number, highest, rung) for rung in range(highest + 1)]
        return np.array(lost)

    def _gone(self, number: int, rungs: Sequence[int]) -> float:  # noqa: ARG002
        """Nothing is kept alike but the loss."""
        return 0.0

    def lost(self, number: int, wide: int, narrow: int) -> float:
        return float(self._losses[number][narrow] - self._losses[number][wide])

    def _without(self, ratio: float) -> list[int]:
        """Rungs when at least this share of the channels leaves, or all that may."""
        limit = (1 - ratio) * sum(bundle.width for bundle in self._bundles)
        narrowest = sum(self._all([0] * len(self._bundles)).values())
        return self.within(_channels, max(limit, narrowest))

    def within(self, cost: Cost, limit: float) -> list[int]:
        def rung_cost(rungs: Sequence[int]) -> float:
            return cost(self._all(rungs))

        sizes = [[sum(rung.values()) for rung in bundle.ladder] for bundle in self._bundles]
        found = solve(self._losses, read_cost(rung_cost, sizes), limit)
        # a cost that is no sum of products of two is met by single steps; nothing else changes
        found = [self._step_down(rungs, cost, limit) for rungs in found]
        found.append(self._ranking.within(cost, limit))
        return min(found, key=lambda rungs: (self._loss(rungs), rung_cost(rungs)))

    def _loss(self, rungs: Sequence[int]) -> float:
        return float(sum(loss[rung] for loss, rung in zip(self._losses, rungs, strict=True)))


class _SensitivityChooser(_KnapsackChooser):
    """Loses as little as was measured: the least error that single groups add, all together."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        scores: Mapping[str, Scores],
        policy: Policy,
        sensitivity: Sensitivity,
    ) -> None:
        self._sensitivity = sensitivity
        super().__init__(bundles, scores, policy)

    def _losses_of(self, number: int) -> Numbers:
        bundle = self._bundles[number]
        removed = [bundle.width - sum(rung.values()) for rung in bundle.ladder]
        return self._sensitivity.losses(bundle.groups, removed)


def _channels(widths: Widths) -> float:
    return float(sum(widths.values()))
