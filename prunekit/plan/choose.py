"""Choose the widths of groups: those that must keep their proportion move together."""

from __future__ import annotations

__all__ = ["Bundle", "Chooser", "Scores", "Widths", "bundles_of"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.plan.limits import Limit
from prunekit.plan.overrides import GroupRule
from prunekit.plan.price import Price
from prunekit.plan.refine import Refiner
from prunekit.plan.target import Policy

Scores = NDArray[np.float64]
Widths = dict[str, int]

_AS_IT_IS: Mapping[str, int] = MappingProxyType({})

_ATTEMPTS = 3
"""Rounds of looking for a nearer choice."""

_TRIED = 12
"""Bundles that are widened in each, those that cost least."""


@dataclass(frozen=True)
class Bundle:
    """Groups whose widths are chosen together; mostly a single one."""

    groups: tuple[str, ...]
    ladder: tuple[Widths, ...]
    """Widths that the groups may have, ascending; the last are their own."""
    left: int = 0
    """Units that have left in earlier rounds."""

    @property
    def width(self) -> int:
        """Units of all groups together."""
        return sum(self.ladder[-1].values())

    @property
    def whole(self) -> int:
        """Units that there were before any left."""
        return self.width + self.left

    def nearest(self, wanted: float) -> int:
        """The rung next to a number of units; the wider of two that are equally near."""
        rungs = range(len(self.ladder))
        return min(reversed(rungs), key=lambda rung: abs(sum(self.ladder[rung].values()) - wanted))


def bundles_of(
    graph: ChannelGraph,
    groups: Sequence[ChannelGroup],
    policy: Policy,
    rules: Mapping[str, GroupRule],
    before: Mapping[str, int] = _AS_IT_IS,
) -> tuple[list[Bundle], Widths]:
    """The choices there are, and the widths that are laid down.

    A bundle of which one group must stay whole stays whole. `before` are the widths of groups
    before the first of several rounds.
    """
    widths = {group.name: group.width for group in groups}
    left = {name: before.get(name, width) - width for name, width in widths.items()}
    laid_down = [name for name in widths if rules[name].ratio is not None]
    if policy.allocation == "uniform" and not laid_down:
        return _uniform(graph, widths, rules, left), {}
    tied = {name: names for names in graph.balances for name in names}
    found: dict[tuple[str, ...], Bundle] = {}
    for name in widths:
        names = tied.get(name, (name,))
        if names not in found and all(other in widths for other in names):
            ladder = _ladder({n: widths[n] for n in names}, graph, rules)
            found[names] = Bundle(names, ladder, sum(left[n] for n in names))
    fixed: Widths = {}
    for names in [names for names in found if not set(laid_down).isdisjoint(names)]:
        bundle = found.pop(names)
        fixed |= bundle.ladder[bundle.nearest(bundle.whole * (1 - _ratio(names, rules)))]
    if policy.allocation == "uniform":
        free = {n: w for n, w in widths.items() if n not in fixed}
        return _uniform(graph, free, rules, left), fixed
    return list(found.values()), fixed


def _ratio(names: Sequence[str], rules: Mapping[str, GroupRule]) -> float:
    """The share that is laid down for groups that move together."""
    ratios = {rules[name].ratio for name in names} - {None}
    ratio = ratios.pop()
    if ratios or ratio is None:
        message = (
            f"prune.overrides: groups {', '.join(map(repr, names))} only get narrower together, "
            "and have different ratios; give them one"
        )
        raise PlanError(message)
    return ratio


def _uniform(
    graph: ChannelGraph, widths: Widths, rules: Mapping[str, GroupRule], left: Mapping[str, int]
) -> list[Bundle]:
    """All groups as one choice, in which every width keeps its proportion to the others."""
    held = {n for names in graph.balances for n in names if not widths.keys() >= set(names)}
    widths = {name: width for name, width in widths.items() if name not in held}
    common = math.gcd(*widths.values())
    rungs = [{n: w * step // common for n, w in widths.items()} for step in range(1, common)]
    allowed = [
        rung
        for rung in rungs
        if all(rules[n].may_have(rung[n], w) for n, w in widths.items()) and graph.allows(rung)
    ]
    if not widths:
        return []
    return [Bundle(tuple(widths), (*allowed, widths), sum(left[name] for name in widths))]


def _ladder(
    widths: Widths, graph: ChannelGraph, rules: Mapping[str, GroupRule]
) -> tuple[Widths, ...]:
    rungs = {
        tuple(rung.values()): rung
        for rung in graph.narrower(tuple(widths))
        if all(rules[name].may_have(rung[name], width) for name, width in widths.items())
    }
    return (*sorted(rungs.values(), key=lambda rung: sum(rung.values())), widths)


class Chooser:
    """Finds the width of every group."""

    def __init__(
        self, bundles: Sequence[Bundle], scores: Mapping[str, Scores], policy: Policy
    ) -> None:
        """Choose among the rungs of these, by the importance of their units.

        Scores of different groups have been made comparable.
        """
        self._bundles = bundles
        self._even = policy.allocation in ("local", "uniform", "isomorphic")
        self._policy = policy
        self._tops = [len(bundle.ladder) - 1 for bundle in bundles]
        # ascending: what leaves first
        self._ascending = {
            name: np.sort(scores[name]) for bundle in bundles for name in bundle.groups
        }
        owners = np.repeat(np.arange(len(bundles)), [bundle.width for bundle in bundles])
        units = [self._ascending[name] for bundle in bundles for name in bundle.groups]
        ranking = np.argsort(np.concatenate([np.empty(0), *units]), kind="stable")
        self._leaves = owners[ranking]  # number of the bundle of every unit, least important first

    def widths(
        self, graph: ChannelGraph, limits: Sequence[Limit], fixed: Mapping[str, int]
    ) -> Widths:
        """Widths that meet every target, the fixed ones among them."""
        ratio = max((lim.target.amount for lim in limits if lim.is_of_channels), default=0.0)
        limits = [limit for limit in limits if not limit.is_of_channels]
        if ratio:
            self._tops = self._without(ratio)
        if not limits:
            return {**fixed, **self._all(self._tops)}
        narrowest = {**fixed, **self._all([0] * len(self._bundles))}
        for limit in limits:
            limit.check(narrowest, self._policy)
        return {**fixed, **self._all(self.within(Price(graph.widths, fixed, limits), ratio))}

    def _without(self, ratio: float) -> list[int]:
        """Rungs for a ratio of channels."""
        return self._at(ratio)

    def within(self, price: Price, ratio: float = 0.0) -> list[int]:
        """Rungs whose price is within a limit that can be met; this share has left already."""
        low, high = ratio, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            too_much = price.of(self._all(self._at(middle))) > price.limit
            low, high = (middle, high) if too_much else (low, middle)
        return self._refined(self._lowered(self._at(low), price), price)

    def _lowered(self, rungs: list[int], price: Price) -> list[int]:
        """Go down to a limit that can be met, and up again where the last step was too much."""
        lower = self._step_down(rungs, price)
        assert lower is not None  # what is in reach was checked
        return self._step_up(lower, price)

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
        nearest = [bundle.nearest(bundle.width - gone) for bundle, gone in leaving]
        return self._below(nearest)

    def _below(self, rungs: Sequence[int]) -> list[int]:
        """These rungs, none above what may be left of it."""
        return [min(pair) for pair in zip(rungs, self._tops, strict=True)]

    def _leaving(self, ratio: float) -> list[float]:
        """How many units of every bundle leave when this share of all does."""
        if self._even:
            return [bundle.whole * ratio - bundle.left for bundle in self._bundles]
        whole, left = (sum(getattr(b, n) for b in self._bundles) for n in ("whole", "left"))
        first = self._leaves[: max(0, round(ratio * whole) - left)]
        return [float(n) for n in np.bincount(first, minlength=len(self._bundles))]

    def _step_down(
        self, rungs: list[int], price: Price, spared: int | None = None
    ) -> list[int] | None:
        """Narrow single bundles, the best step first, until the cost is within the limit.

        One may be spared; None if the others alone do not get there.
        """
        before = price.of(self._all(rungs))
        while before > price.limit:
            prices = self._prices(rungs, -1, price)
            costs = {number: cost for number, cost in prices.items() if number != spared}
            if not costs:
                return None
            ranks = {
                n: self._rank(n, rungs, _moved(rungs, {n: -1}), before - costs[n]) for n in costs
            }
            least = min(gone for gone, _ in ranks.values())
            level = [number for number, (gone, _) in ranks.items() if gone == least]
            short = [number for number in level if costs[number] > price.limit]
            if short:  # not there yet
                best = min(short, key=lambda number: ranks[number])
            else:  # any of them does: the one that overshoots least
                best = max(level, key=lambda number: costs[number])
            rungs = _moved(rungs, {best: -1})
            before = costs[best]
        return rungs

    def _step_up(self, rungs: list[int], price: Price) -> list[int]:
        """Give back what the last, coarse step took too much, as long as the limit holds."""
        now = price.of(self._all(rungs))
        while True:
            costs = self._prices(rungs, 1, price)
            within = {number: cost for number, cost in costs.items() if cost <= price.limit}
            if not within:
                return rungs
            ranks = {
                n: self._rank(n, _moved(rungs, {n: 1}), rungs, cost - now)
                for n, cost in within.items()
            }
            best = max(ranks, key=lambda number: ranks[number])
            rungs, now = _moved(rungs, {best: 1}), within[best]

    def _prices(self, rungs: list[int], direction: int, price: Price) -> dict[int, float]:
        """Prices of the choices that are one rung of one bundle away, by the bundle's number."""
        numbers = [
            number
            for number, (rung, top) in enumerate(zip(rungs, self._tops, strict=True))
            if 0 <= rung + direction <= top
        ]
        changes = [self._bundles[n].ladder[rungs[n] + direction] for n in numbers]
        prices = price.many(self._all(rungs), changes).tolist() if numbers else []
        return dict(zip(numbers, prices, strict=True))

    def _rank(
        self, number: int, wide: Sequence[int], narrow: Sequence[int], saved: float
    ) -> tuple[float, float]:
        """How much a step of a bundle hurts: first, if shares are kept even, what is gone of it.

        Then, and alone if they are not, the importance lost for each unit of cost.
        """
        gone = self._gone(number, narrow) if self._even else 0.0
        return gone, self._lost(number, wide[number], narrow[number]) / max(saved, 1)

    def _gone(self, number: int, rungs: Sequence[int]) -> float:
        """Share that is gone of a bundle, or of those whose shares are kept even with it."""
        bundle = self._bundles[number]
        return 1 - sum(bundle.ladder[rungs[number]].values()) / bundle.whole

    def _lost(self, number: int, wide: int, narrow: int) -> float:
        """Importance of the units between two rungs of a bundle."""
        ladder = self._bundles[number].ladder
        lost = 0.0
        for name in self._bundles[number].groups:
            units = self._ascending[name]
            start, end = len(units) - ladder[wide][name], len(units) - ladder[narrow][name]
            lost += float(units[start:end].sum())
        return lost

    def _refined(self, rungs: list[int], price: Price) -> list[int]:
        """Come nearer where single steps are too coarse."""
        refiner = Refiner([bundle.ladder for bundle in self._bundles], self._tops, self._lost)
        for _ in range(_ATTEMPTS):
            rungs = refiner.by_pairs(rungs, price, even=self._even)
            if price.is_close(self._all(rungs)):
                return rungs
            others = self._instead(rungs, price)
            if not others or price.of(self._all(others)) <= price.of(self._all(rungs)):
                break
            rungs = others
        return refiner.among_all(rungs, price, even=self._even)

    def _instead(self, rungs: list[int], price: Price) -> list[int] | None:
        """Widen one bundle beyond the limit, narrow others until it holds; the nearest of these."""
        wider = self._prices(rungs, 1, price)
        different = {cost: number for number, cost in reversed(wider.items())}
        tries = [
            self._step_down(_moved(rungs, {number: 1}), price, spared=number)
            for _, number in sorted(different.items())[:_TRIED]
        ]
        found = [self._step_up(tried, price) for tried in tries if tried is not None]
        return max(found, key=lambda tried: price.of(self._all(tried)), default=None)


def _moved(rungs: Sequence[int], steps: Mapping[int, int]) -> list[int]:
    """Rungs after some bundles have moved by so many."""
    return [rung + steps.get(number, 0) for number, rung in enumerate(rungs)]
