"""Choose the widths of groups: those that must keep their proportion move together."""

from __future__ import annotations

__all__ = ["Bundle", "Chooser", "Cost", "Scores", "Widths", "bundles_of"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.plan.target import Policy, Target

Scores = NDArray[np.float64]
Widths = dict[str, int]
Cost = Callable[[Widths], float]


@dataclass(frozen=True)
class Bundle:
    """Groups whose widths are chosen together; mostly a single one."""

    groups: tuple[str, ...]
    ladder: tuple[Widths, ...]
    """Widths that the groups may have, ascending; the last are their own."""

    @property
    def width(self) -> int:
        """Units of all groups together."""
        return sum(self.ladder[-1].values())


def bundles_of(graph: ChannelGraph, groups: Sequence[ChannelGroup], policy: Policy) -> list[Bundle]:
    """The choices there are. A bundle of which one group must stay whole stays whole."""
    widths = {group.name: group.width for group in groups}
    if policy.allocation == "uniform":
        return _uniform(graph, widths, policy)
    tied = {name: names for names in graph.balances for name in names}
    found: dict[tuple[str, ...], Bundle] = {}
    for name in widths:
        names = tied.get(name, (name,))
        if names not in found and all(other in widths for other in names):
            found[names] = Bundle(names, _ladder({n: widths[n] for n in names}, graph, policy))
    return list(found.values())


def _uniform(graph: ChannelGraph, widths: Widths, policy: Policy) -> list[Bundle]:
    """All groups as one choice, in which every width keeps its proportion to the others."""
    held = {n for names in graph.balances for n in names if not widths.keys() >= set(names)}
    widths = {name: width for name, width in widths.items() if name not in held}
    common = math.gcd(*widths.values())
    rungs = [{n: w * step // common for n, w in widths.items()} for step in range(1, common)]
    allowed = [
        rung
        for rung in rungs
        if all(_may_have(rung[n], w, policy) for n, w in widths.items()) and graph.allows(rung)
    ]
    return [Bundle(tuple(widths), (*allowed, widths))] if widths else []


def _ladder(widths: Widths, graph: ChannelGraph, policy: Policy) -> tuple[Widths, ...]:
    rungs = {
        tuple(rung.values()): rung
        for rung in graph.narrower(tuple(widths))
        if all(_may_have(rung[name], width, policy) for name, width in widths.items())
    }
    return (*sorted(rungs.values(), key=lambda rung: sum(rung.values())), widths)


def _may_have(width: int, before: int, policy: Policy) -> bool:
    rounded = width % policy.round_to == 0 and width >= policy.min_width
    return width == before or rounded


class Chooser:
    """Finds the width of every group."""

    def __init__(
        self, bundles: Sequence[Bundle], scores: Mapping[str, Scores], policy: Policy
    ) -> None:
        """Choose among the rungs of these, by the importance of their units.

        Scores of different groups have been made comparable.
        """
        self._bundles = bundles
        self._local = policy.allocation != "global"
        self._policy = policy
        # ascending: what leaves first
        self._ascending = {
            name: np.sort(scores[name]) for bundle in bundles for name in bundle.groups
        }
        owners = np.repeat(np.arange(len(bundles)), [bundle.width for bundle in bundles])
        ranking = np.argsort(
            np.concatenate([self._ascending[name] for b in bundles for name in b.groups]),
            kind="stable",
        )
        self._leaves = owners[ranking]  # number of the bundle of every unit, least important first

    def widths(self, graph: ChannelGraph, target: Target) -> Widths:
        """Widths that meet the target."""
        if target.kind == "channel_ratio":
            return self._all(self._without(target.ratio))
        cost = graph.macs if target.kind == "macs_ratio" else graph.params
        limit = (1 - target.ratio) * cost()
        self._check_reachable(cost, limit, target)
        return self._all(self.within(cost, limit))

    def _without(self, ratio: float) -> list[int]:
        """Rungs for a ratio of channels."""
        return self._at(ratio)

    def within(self, cost: Cost, limit: float) -> list[int]:
        """Rungs whose cost is within a limit that can be met."""
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            too_much = cost(self._all(self._at(middle))) > limit
            low, high = (middle, high) if too_much else (low, middle)
        return self._step_down(self._at(low), cost, limit)

    def _all(self, rungs: Sequence[int]) -> Widths:
        """Widths of all groups when every bundle is on this rung of its ladder."""
        return {
            name: width
            for bundle, rung in zip(self._bundles, rungs, strict=True)
            for name, width in bundle.ladder[rung].items()
        }

    def _at(self, ratio: float) -> list[int]:
        """Rungs when this share of the channels leaves, as nearly as the ladders allow."""
        leaving = zip(self._bundles, self._leaving(ratio), strict=True)
        return [_nearest(bundle, bundle.width - left) for bundle, left in leaving]

    def _leaving(self, ratio: float) -> list[float]:
        """How many units of every bundle leave when this share of all does."""
        if self._local:
            return [bundle.width * ratio for bundle in self._bundles]
        first = self._leaves[: round(ratio * len(self._leaves))]
        return [float(n) for n in np.bincount(first, minlength=len(self._bundles))]

    def _check_reachable(self, cost: Cost, limit: float, target: Target) -> None:
        narrowest = self._all([0] * len(self._bundles))
        if cost(narrowest) > limit:
            reach = math.floor(1000 * (1 - cost(narrowest) / cost({}))) / 1000
            message = (
                f"{target.kind} {target.ratio:g} is out of reach: {reach:g} can be removed with "
                f"min_width {self._policy.min_width} and round_to {self._policy.round_to}; "
                "lower the target or these"
            )
            raise PlanError(message)

    def _step_down(self, rungs: list[int], cost: Cost, limit: float) -> list[int]:
        """Narrow single bundles, the best step first, until the cost is within the limit."""
        while cost(self._all(rungs)) > limit:
            lower = self._neighbours(rungs, -1)
            costs = {number: cost(self._all(other)) for number, other in lower.items()}
            before = cost(self._all(rungs))
            ranks = {n: self._rank(n, (rungs, before), (lower[n], costs[n])) for n in lower}
            least = min(gone for gone, _ in ranks.values())
            level = [number for number, (gone, _) in ranks.items() if gone == least]
            short = [number for number in level if costs[number] > limit]
            if short:  # not there yet
                best = min(short, key=lambda number: ranks[number])
            else:  # any of them does: the one that overshoots least
                best = max(level, key=lambda number: costs[number])
            rungs = lower[best]
        return self._step_up(rungs, cost, limit)

    def _step_up(self, rungs: list[int], cost: Cost, limit: float) -> list[int]:
        """Give back what the last, coarse step took too much, as long as the limit holds."""
        while True:
            higher = self._neighbours(rungs, 1)
            costs = {number: cost(self._all(other)) for number, other in higher.items()}
            within = {number: price for number, price in costs.items() if price <= limit}
            if not within:
                return rungs
            now = rungs, cost(self._all(rungs))
            ranks = {n: self._rank(n, (higher[n], price), now) for n, price in within.items()}
            rungs = higher[max(ranks, key=lambda number: ranks[number])]

    def _neighbours(self, rungs: list[int], direction: int) -> dict[int, list[int]]:
        """Every choice that is one rung of one bundle away."""
        return {
            number: [*rungs[:number], rung + direction, *rungs[number + 1 :]]
            for number, (rung, bundle) in enumerate(zip(rungs, self._bundles, strict=True))
            if 0 <= rung + direction < len(bundle.ladder)
        }

    def _rank(
        self, number: int, wide: tuple[list[int], float], narrow: tuple[list[int], float]
    ) -> tuple[float, float]:
        """How much a step hurts: first, if allocation is not global, the share that is gone of it.

        Then, and alone for global allocation, the importance lost for each unit of cost.
        """
        lost = self.lost(number, wide[0][number], narrow[0][number])
        return self._gone(number, narrow[0]), lost / max(wide[1] - narrow[1], 1)

    def lost(self, number: int, wide: int, narrow: int) -> float:
        """Importance of what leaves a bundle from one rung to another."""
        bundle = self._bundles[number]
        before, after = bundle.ladder[wide], bundle.ladder[narrow]
        lost = 0.0
        for name in bundle.groups:
            units = self._ascending[name]
            lost += float(units[len(units) - before[name] : len(units) - after[name]].sum())
        return lost

    def _gone(self, number: int, rungs: Sequence[int]) -> float:
        """Share that is gone of a bundle, which local allocation keeps alike; 0 if global."""
        bundle = self._bundles[number]
        share = 1 - sum(bundle.ladder[rungs[number]].values()) / bundle.width
        return share if self._local else 0.0


def _nearest(bundle: Bundle, wanted: float) -> int:
    """The rung next to a width; the wider of two that are equally near."""
    rungs = range(len(bundle.ladder))
    return min(reversed(rungs), key=lambda rung: abs(sum(bundle.ladder[rung].values()) - wanted))
