"""Spread a target over the groups: who finds the widths for every allocation."""

from __future__ import annotations

__all__ = ["chooser_for"]

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from prunekit.graph import ChannelGraph
from prunekit.plan.choose import Bundle, Chooser, Scores
from prunekit.plan.classes import classes_of
from prunekit.plan.knapsack import Numbers, read_cost, solve
from prunekit.plan.limits import Limit
from prunekit.plan.price import Price
from prunekit.plan.sensitivity import Sensitivity
from prunekit.plan.target import Policy, Target


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
    if not bundles:
        return Chooser(bundles, scores, policy)
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
        self._left = [
            sum(b.left for b, n in zip(bundles, self._class_of, strict=True) if n == number)
            for number in sorted(set(self._class_of))
        ]
        self._sizes = [[sum(rung.values()) for rung in bundle.ladder] for bundle in bundles]
        self._alike = [
            [n for n, other in enumerate(self._class_of) if other == number]
            for number in self._class_of
        ]

    def _leaving(self, ratio: float) -> list[float]:
        first = [
            ranked[: max(0, round(ratio * (len(ranked) + left)) - left)]
            for ranked, left in zip(self._ranked, self._left, strict=True)
        ]
        gone = np.bincount(np.concatenate(first), minlength=len(self._bundles))
        return [float(count) for count in gone]

    def _gone(self, number: int, rungs: Sequence[int]) -> float:
        alike = self._alike[number]
        left = sum(self._sizes[n][rungs[n]] for n in alike)
        return 1 - left / sum(self._bundles[n].whole for n in alike)


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

    def _lost(self, number: int, wide: int, narrow: int) -> float:
        return float(self._losses[number][narrow] - self._losses[number][wide])

    def _without(self, ratio: float) -> list[int]:
        """Rungs when at least this share of the channels leaves, or all that may."""
        whole = self._all(self._tops)
        units = sum(whole.values()) + sum(bundle.left for bundle in self._bundles)
        narrowest = sum(self._all([0] * len(self._bundles)).values())

        def channels(widths: Mapping[str, int]) -> float:
            return float(sum({**whole, **widths}.values()))

        most = max((1 - ratio) * units, narrowest)
        limit = Limit(Target("channel_ratio", ratio), channels, units, most)
        return self.within(Price(whole, {}, (limit,)))

    def within(self, price: Price, ratio: float = 0.0) -> list[int]:
        """Rungs whose price is within a limit that can be met; this share has left already.

        Unlike those of other allocations they come no nearer to the limit than the least loss.
        """
        # single steps see to several limits, and to a cost that is no sum of products of two
        found = [
            self._lowered(rungs, price) for each in price.apart for rungs in self._solved(each)
        ]
        found.append(self._below(self._ranking.within(price, ratio)))
        return min(found, key=lambda rungs: (self._loss(rungs), price.of(self._all(rungs))))

    def _solved(self, price: Price) -> list[list[int]]:
        """Rungs with the least loss, as far as a cost is a sum of products of two."""
        tops = zip(self._losses, self._tops, strict=True)
        losses = [loss[: top + 1] - loss[top] for loss, top in tops]
        ladders = zip(self._bundles, self._tops, strict=True)
        sizes = [[sum(rung.values()) for rung in b.ladder[: top + 1]] for b, top in ladders]
        cost = read_cost(lambda rungs: price.of(self._all(rungs)), sizes)
        return solve(losses, cost, price.limit)

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
