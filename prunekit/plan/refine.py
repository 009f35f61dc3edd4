"""Come nearer to a limit than single steps do: by pairs of moves, or by looking at all there is."""

from __future__ import annotations

__all__ = ["Refiner"]

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from prunekit.plan.price import TOLERANCE, Price

_REACH = 3
"""Rungs that a bundle moves at most in one round."""

_TRIED = 128
"""Pairs of moves of which the price is computed in one round, the most promising ones."""

_ROUNDS = 20

_ALL = 20_000
"""Choices that are few enough to look at all of them."""

Move = tuple[int, int]
"""Number of a bundle, and the rungs that it moves by."""


class Refiner:
    """Looks for choices that leave less of the limit unused, but do not exceed it."""

    def __init__(
        self,
        ladders: Sequence[Sequence[Mapping[str, int]]],
        tops: Sequence[int],
        lost: Callable[[int, int, int], float],
    ) -> None:
        """Move on these ladders up to these rungs.

        `lost(number, wide, narrow)` is the importance of the units between two rungs.
        """
        self._ladders = ladders
        self._tops = tops
        self._lost = lost

    def by_pairs(self, rungs: list[int], price: Price, *, even: bool) -> list[int]:
        """Move one bundle up and another down, again and again, until at most 1 % is left unused.

        Of those that get there, the pair that moves least if `even`, and then loses the least
        importance.
        """
        now = price.of(self._widths(rungs))
        for _ in range(_ROUNDS):
            if price.limit - now <= TOLERANCE * price.limit:
                break
            pairs = self._pairs(rungs, price, now)
            best = self._best(rungs, pairs, price, now, even=even)
            if best is None:
                break
            for number, step in best:
                rungs = [*rungs[:number], rungs[number] + step, *rungs[number + 1 :]]
            now = price.of(self._widths(rungs))
        return rungs

    def among_all(self, rungs: list[int], price: Price, *, even: bool) -> list[int]:
        """The best of all choices, where there are not too many; else these rungs."""
        if math.prod(top + 1 for top in self._tops) > _ALL:
            return rungs
        choices = [
            tuple(
                (number, to - rung)
                for number, (to, rung) in enumerate(zip(other, rungs, strict=True))
            )
            for other in itertools.product(*(range(top + 1) for top in self._tops))
        ]
        now = price.of(self._widths(rungs))
        best = self._best(rungs, choices, price, now, even=even)
        return rungs if best is None else [rungs[number] + step for number, step in best]

    def _best(
        self,
        rungs: list[int],
        choices: Sequence[tuple[Move, ...]],
        price: Price,
        now: float,
        *,
        even: bool,
    ) -> tuple[Move, ...] | None:
        """The least harmful of those that come close, or the nearest; None if all are farther."""
        costs = self._prices(rungs, choices, price)
        nearer = [i for i, cost in enumerate(costs) if now < cost <= price.limit]
        close = [i for i in nearer if price.limit - costs[i] <= TOLERANCE * price.limit]
        if close:
            return choices[min(close, key=lambda i: (self._harm(rungs, choices[i], even=even), i))]
        return choices[max(nearer, key=lambda i: (costs[i], -i))] if nearer else None

    def _pairs(self, rungs: list[int], price: Price, now: float) -> list[tuple[Move, ...]]:
        """Pairs that should come nearest, if what two moves save added up."""
        moves = [
            (number, step)
            for number, rung in enumerate(rungs)
            for step in range(-_REACH, _REACH + 1)
            if step and 0 <= rung + step <= self._tops[number]
        ]
        if not moves:
            return []
        changes = np.array(self._prices(rungs, [(move,) for move in moves], price)) - now
        numbers = np.array([number for number, _ in moves])
        signs = np.array([step for _, step in moves])
        up, down = np.flatnonzero(signs > 0), np.flatnonzero(signs < 0)
        together = changes[up][:, None] + changes[down]
        apart = numbers[up][:, None] != numbers[down]
        left = price.limit - now - together
        slack = 0.1 * (price.limit - now)  # what two moves save does not quite add up
        useful = apart & (left > -slack) & (left < price.limit - now)
        rows, columns = np.nonzero(useful)
        order = np.argsort(np.abs(left[rows, columns]), kind="stable")[:_TRIED]
        return [
            (moves[up[r]], moves[down[c]]) for r, c in zip(rows[order], columns[order], strict=True)
        ]

    def _prices(
        self, rungs: list[int], choices: Sequence[Sequence[Move]], price: Price
    ) -> list[float]:
        changes = [
            {n: w for number, step in moves for n, w in self._at(number, rungs[number] + step)}
            for moves in choices
        ]
        prices: list[float] = price.many(self._widths(rungs), changes).tolist() if changes else []
        return prices

    def _at(self, number: int, rung: int) -> list[tuple[str, int]]:
        return list(self._ladders[number][rung].items())

    def _widths(self, rungs: Sequence[int]) -> dict[str, int]:
        return {n: w for number, rung in enumerate(rungs) for n, w in self._at(number, rung)}

    def _harm(self, rungs: list[int], moves: Sequence[Move], *, even: bool) -> tuple[int, float]:
        lost = 0.0
        for number, step in moves:
            rung = rungs[number]
            wide, narrow = max(rung, rung + step), min(rung, rung + step)
            importance = self._lost(number, wide, narrow)
            lost += importance if step < 0 else -importance
        return (sum(abs(step) for _, step in moves) if even else 0, lost)
