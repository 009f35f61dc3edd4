"""Choose one rung of every ladder so that least is lost within a budget: a knapsack.

A cost such as that of a convolution is a product of two widths, so what a choice costs depends on
others. The cost is therefore read as a table for every choice and one for every two that meet in
some product, which is exact for parameters and multiply-accumulates. A search over partial choices
then keeps, for every state of those that still meet a later one, the ones that no other beats in
both cost and loss. As long as these fit in memory, the result is the best there is; where choices
meet in too many ways, it is the best of those that look best by the price at which choices made one
by one, each as if its cost were paid for, meet the budget (a Lagrange multiplier).
"""

from __future__ import annotations

__all__ = ["PairwiseCost", "read_cost", "solve"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Rungs = list[int]
RungCost = Callable[[Sequence[int]], float]
"""Cost of a rung for every choice."""

_MOST_STATES = 8_000
_SAME = 1e-9
"""Share of the whole cost below which a difference is a rounding error."""

_MOST_QUESTIONS = 20_000
"""After so many a cost that is no product of two is taken for the nearest that is."""

_HALVINGS, _SWEEPS = 50, 20


@dataclass(frozen=True)
class PairwiseCost:
    """A cost as a sum of what every choice and every two choices add to it."""

    top: float
    """When every choice is on its highest rung."""
    alone: tuple[Numbers, ...]
    """What changes when one choice takes a rung and all others the highest."""
    pairs: Mapping[tuple[int, int], Numbers]
    """What changes beyond that when two do: `(rungs of the first, rungs of the second)`."""

    def __call__(self, rungs: Sequence[int]) -> float:
        """Cost of a rung for every choice."""
        total = self.top + sum(table[rung] for table, rung in zip(self.alone, rungs, strict=True))
        return float(total + sum(t[rungs[a], rungs[b]] for (a, b), t in self.pairs.items()))

    def between(self, one: int, other: int) -> Numbers:
        """What two choices add, `(rungs of one, rungs of the other)`."""
        return self.pairs[one, other] if (one, other) in self.pairs else self.pairs[other, one].T

    def neighbours(self) -> list[list[int]]:
        """The choices that each one meets."""
        found: list[list[int]] = [[] for _ in self.alone]
        for one, other in self.pairs:
            found[one].append(other)
            found[other].append(one)
        return [sorted(choices) for choices in found]


def read_cost(cost: RungCost, sizes: Sequence[Sequence[int]]) -> PairwiseCost:
    """Ask a cost for its tables; it may be anything, but is exact only for sums of products of two.

    Args:
        cost: of a rung for every choice; the last of each is its highest.
        sizes: how many units every rung of every choice has, ascending.
    """
    reader = _CostReader(cost, sizes)
    return PairwiseCost(reader.top, reader.alone, dict(reader.pairs()))


class _CostReader:
    def __init__(self, cost: RungCost, sizes: Sequence[Sequence[int]]) -> None:
        self._cost = cost
        self._removed = [np.array([row[-1] - size for size in row]) for row in sizes]
        self._highest = [len(row) - 1 for row in sizes]
        self._movable = [number for number, highest in enumerate(self._highest) if highest]
        self._stretches: dict[tuple[int, int], float] = {}
        self._asked = 0
        self.top = float(cost(self._highest))
        self.alone = tuple(
            np.array([self._at({number: rung}) - self.top for rung in range(len(row))])
            for number, row in enumerate(sizes)
        )

    def pairs(self) -> Iterator[tuple[tuple[int, int], Numbers]]:
        """Tables of the choices that meet; found by halving, so that few questions are asked."""
        for place, one in enumerate(self._movable):
            for other in self._meeting(one, place + 1, 0, len(self._movable)):
                yield (one, other), self._table(one, other)

    def _meeting(self, one: int, after: int, start: int, stop: int) -> Iterator[int]:
        """Of a stretch of choices after a place those whose narrowing changes what this saves."""
        if stop <= after:
            return
        if start >= after:
            narrow = dict.fromkeys(self._movable[start:stop], 0)
            mixed = self._at({one: 0, **narrow}) - self._together(start, stop)
            if abs(mixed - float(self.alone[one][0])) <= _SAME * abs(self.top):
                return
            if stop - start == 1:
                yield self._movable[start]
                return
        middle = (start + stop + 1) // 2
        yield from self._meeting(one, after, start, middle)
        yield from self._meeting(one, after, middle, stop)

    def _together(self, start: int, stop: int) -> float:
        """Cost when a stretch of choices is on its lowest rungs; asked once for each stretch."""
        if (start, stop) not in self._stretches:
            narrow = dict.fromkeys(self._movable[start:stop], 0)
            self._stretches[start, stop] = self._at(narrow)
        return self._stretches[start, stop]

    def _table(self, one: int, other: int) -> Numbers:
        """A product of what leaves of both, if it is one; else asked for rung by rung."""
        removed = np.multiply.outer(self._removed[one], self._removed[other])
        table: Numbers = self._mixed(one, other, 0, 0) * (removed / removed[0, 0])
        middle = self._highest[one] // 2, self._highest[other] // 2
        near = abs(self._mixed(one, other, *middle) - table[middle]) <= _SAME * abs(self.top)
        if near or self._asked > _MOST_QUESTIONS:
            return table
        rows, columns = table.shape
        return np.array(
            [[self._mixed(one, other, a, b) for b in range(columns)] for a in range(rows)]
        )

    def _mixed(self, one: int, other: int, a: int, b: int) -> float:
        both = self._at({one: a, other: b}) - self.top
        return both - float(self.alone[one][a]) - float(self.alone[other][b])

    def _at(self, changes: Mapping[int, int]) -> float:
        self._asked += 1
        rungs = list(self._highest)
        for number, rung in changes.items():
            rungs[number] = rung
        return float(self._cost(rungs))


def solve(losses: Sequence[Numbers], cost: PairwiseCost, limit: float) -> list[Rungs]:
    """Rungs within the limit with the least loss that was found, and what was found on the way.

    Args:
        losses: what is lost on every rung of every choice; 0 on the last.
        cost: to be kept within the limit.
        limit: not below the cost of the lowest rungs.

    Returns:
        The result of the search, then that of one price for all; without those that found nothing
        within the limit.
    """
    price, priced = _priced(losses, cost, limit)
    searched = _Search(losses, cost, limit, price, priced).run()
    found = [rungs for rungs in (searched, priced) if rungs is not None]
    return [rungs for rungs in found if cost(rungs) <= limit]


def _priced(losses: Sequence[Numbers], cost: PairwiseCost, limit: float) -> tuple[float, Rungs]:
    """The lowest price of cost at which choices made one by one meet the limit, and these."""
    neighbours = cost.neighbours()
    scale = sum(float(loss.max()) for loss in losses) / max(abs(cost.top), 1e-300)
    low, high = 0.0, max(scale, 1e-300)
    rungs = [len(loss) - 1 for loss in losses]
    best = _settled(losses, cost, neighbours, high, rungs)
    for _ in range(_HALVINGS):
        if cost(best) <= limit:
            break
        high *= 4
        best = _settled(losses, cost, neighbours, high, rungs)
    for _ in range(_HALVINGS):
        price = (low + high) / 2
        found = _settled(losses, cost, neighbours, price, rungs)
        if cost(found) <= limit:
            high, best = price, found
        else:
            low = price
    return high, best


def _settled(
    losses: Sequence[Numbers],
    cost: PairwiseCost,
    neighbours: Sequence[Sequence[int]],
    price: float,
    start: Rungs,
) -> Rungs:
    """Let every choice take what is cheapest for it at a price, until none wants another."""
    rungs = list(start)
    for _ in range(_SWEEPS):
        before = list(rungs)
        for number, loss in enumerate(losses):
            paid = cost.alone[number].copy()
            for other in neighbours[number]:
                paid += cost.between(number, other)[:, rungs[other]]
            total = (loss + price * paid)[::-1]  # of equal ones the widest
            rungs[number] = len(loss) - 1 - int(np.argmin(total))
        if rungs == before:
            break
    return rungs


class _Search:
    """Choices are made in turn; of partial ones only those go on that none beats."""

    def __init__(
        self,
        losses: Sequence[Numbers],
        cost: PairwiseCost,
        limit: float,
        price: float,
        priced: Rungs,
    ) -> None:
        self._losses = losses
        self._table = cost
        self._limit = limit + _SAME * abs(limit) * 1e-3
        self._price = price
        self._priced = priced
        self._neighbours = cost.neighbours()

    def run(self) -> Rungs | None:
        """The choices, or None if nothing within the limit was found."""
        costs, losses = np.array([self._table.top]), np.zeros(1)
        open_: list[int] = []  # made, and met by some that are not
        states = np.zeros((1, 0), dtype=np.int64)  # rungs of the open ones
        history: list[tuple[int, NDArray[np.int64], NDArray[np.int64]]] = []
        order = self._order()
        for position, number in enumerate(order):
            later = order[position + 1 :]
            rungs = np.arange(len(self._losses[number]))
            added = self._added(number, open_, states)
            costs = (costs[:, None] + added).ravel()
            losses = (losses[:, None] + self._losses[number][None]).ravel()
            parents = np.repeat(np.arange(len(states)), len(rungs))
            taken = np.tile(rungs, len(states))
            states = np.column_stack([states[parents], taken])
            stays = [any(o in later for o in self._neighbours[n]) for n in [*open_, number]]
            open_ = [n for n, stay in zip([*open_, number], stays, strict=True) if stay]
            states = states[:, stays]
            kept = self._kept(costs, losses, states, open_, later)
            if not len(kept):
                return None
            costs, losses, states = costs[kept], losses[kept], states[kept]
            history.append((number, parents[kept], taken[kept]))
        best = int(np.lexsort((costs, losses))[0])
        return self._traced(history, best)

    def _order(self) -> list[int]:
        """Make choices so that few are open at a time."""
        left, open_, order = set(range(len(self._losses))), set[int](), []
        while left:
            number = min(left, key=lambda n: (len(self._open_after(n, open_, left)), n))
            open_ = self._open_after(number, open_, left)
            left.remove(number)
            order.append(number)
        return order

    def _open_after(self, number: int, open_: set[int], left: set[int]) -> set[int]:
        return {n for n in {*open_, number} if (left - {number}) & set(self._neighbours[n])}

    def _added(self, number: int, open_: Sequence[int], states: NDArray[np.int64]) -> Numbers:
        """What every rung costs after every partial choice."""
        added = np.tile(self._table.alone[number], (len(states), 1))
        for column, other in enumerate(open_):
            if other in self._neighbours[number]:
                added += self._table.between(other, number)[states[:, column]]
        return added

    def _kept(
        self,
        costs: Numbers,
        losses: Numbers,
        states: NDArray[np.int64],
        open_: Sequence[int],
        later: Sequence[int],
    ) -> NDArray[np.int64]:
        """Numbers of partial choices that can be completed and that no other beats."""
        cheapest = costs + self._rest(states, open_, later, dict.fromkeys(later, 0))
        within = np.flatnonzero(cheapest <= self._limit)
        keys = _keys(states[within], [len(self._losses[n]) for n in open_])
        kept = within[_unbeaten(keys, costs[within], losses[within])]
        if len(kept) > _MOST_STATES:
            priced = {n: self._priced[n] for n in later}
            rest = self._rest(states[kept], open_, later, priced)
            outlook = losses[kept] + self._price * (costs[kept] + rest)
            kept = np.sort(kept[np.argsort(outlook, kind="stable")[:_MOST_STATES]])
        return kept

    def _rest(
        self,
        states: NDArray[np.int64],
        open_: Sequence[int],
        later: Sequence[int],
        rungs: Mapping[int, int],
    ) -> Numbers:
        """What all later choices cost on these rungs, after every partial choice."""
        rest = sum(float(self._table.alone[n][rungs[n]]) for n in later)
        rest += sum(
            float(table[rungs[a], rungs[b]])
            for (a, b), table in self._table.pairs.items()
            if a in rungs and b in rungs
        )
        total = np.full(len(states), rest)
        for column, number in enumerate(open_):
            for other in self._neighbours[number]:
                if other in rungs:
                    table = self._table.between(number, other)
                    total += table[states[:, column], rungs[other]]
        return total

    def _traced(
        self, history: Sequence[tuple[int, NDArray[np.int64], NDArray[np.int64]]], last: int
    ) -> Rungs:
        rungs = [0] * len(self._losses)
        for number, parents, taken in reversed(history):
            rungs[number] = int(taken[last])
            last = int(parents[last])
        return rungs


def _keys(states: NDArray[np.int64], sizes: Sequence[int]) -> NDArray[np.int64]:
    """One number for every state of the open choices."""
    if not sizes or not len(states):
        return np.zeros(len(states), dtype=np.int64)
    _, keys = np.unique(states, axis=0, return_inverse=True)
    return np.asarray(keys, dtype=np.int64).reshape(-1)


def _unbeaten(keys: NDArray[np.int64], costs: Numbers, losses: Numbers) -> NDArray[np.int64]:
    """Numbers of those to which, under the same key, none is better in one and no worse in both.

    Of equal ones the first.
    """
    if not len(keys):
        return np.zeros(0, dtype=np.int64)
    order = np.lexsort((losses, costs, keys))
    _, ranks = np.unique(losses[order], return_inverse=True)
    # within a key the least loss so far; every key lies below the one before it
    depth = (keys.max() - keys[order]) * (len(order) + 1) + ranks
    least = np.minimum.accumulate(depth)
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = least[1:] < least[:-1]
    return np.sort(order[first])
