"""The search for one rung of every ladder, against all there are."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from prunekit.plan import knapsack
from prunekit.plan.knapsack import read_cost, solve


class Instance:
    """Ladders, what each rung loses, and a cost that is a sum of products of two lengths."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 6))
        rungs = [int(rng.integers(1, 6)) for _ in range(count)]
        self.sizes = [
            sorted(rng.choice(np.arange(1, 40), n, replace=False).tolist()) for n in rungs
        ]
        self.terms = [
            (rng.integers(0, 3, (2, count)) * (rng.random((2, count)) < 0.5), rng.integers(0, 4, 2))
            for _ in range(int(rng.integers(1, 6)))
        ]
        self.losses = [np.append(np.sort(rng.random(n - 1) * 10)[::-1], 0.0) for n in rungs]
        self.every = list(itertools.product(*map(range, rungs)))
        low, high = self.cost([0] * count), self.cost([n - 1 for n in rungs])
        self.limit = low + (high - low) * rng.random()

    def cost(self, rungs) -> float:
        widths = np.array([row[rung] for row, rung in zip(self.sizes, rungs, strict=True)])
        return float(sum(np.prod(each @ widths + fixed) for each, fixed in self.terms))

    def loss(self, rungs) -> float:
        return sum(loss[rung] for loss, rung in zip(self.losses, rungs, strict=True))


@pytest.mark.parametrize("seed", range(60))
def test_the_least_loss_within_the_limit_is_found(seed):
    case = Instance(seed)
    table = read_cost(case.cost, case.sizes)
    for rungs in case.every[::7]:
        assert table(rungs) == pytest.approx(case.cost(rungs))
    found = solve(case.losses, table, case.limit)[0]
    assert case.cost(found) <= case.limit * (1 + 1e-9)
    best = min(case.loss(rungs) for rungs in case.every if case.cost(rungs) <= case.limit)
    assert case.loss(found) == pytest.approx(best)


@pytest.mark.parametrize("seed", range(20))
def test_a_search_with_little_room_stays_within_the_limit(seed, monkeypatch):
    monkeypatch.setattr(knapsack, "_MOST_STATES", 4)
    case = Instance(seed)
    for found in solve(case.losses, read_cost(case.cost, case.sizes), case.limit):
        assert case.cost(found) <= case.limit * (1 + 1e-9)


def test_a_cost_that_is_no_product_is_read_rung_by_rung():
    sizes = [[1, 2, 3, 4], [2, 4, 6]]

    def largest(rungs):
        return float(max(sizes[0][rungs[0]], sizes[1][rungs[1]]))

    table = read_cost(largest, sizes)
    for rungs in itertools.product(range(4), range(3)):
        assert table(rungs) == largest(rungs)


def test_a_cost_that_is_no_product_is_not_asked_without_end(monkeypatch):
    monkeypatch.setattr(knapsack, "_MOST_QUESTIONS", 0)
    asked = []

    def largest(rungs):
        asked.append(rungs)
        return float(max(rungs) + 1)

    table = read_cost(largest, [list(range(1, 9))] * 3)
    assert table([7, 7, 7]) == 8
    assert len(asked) < 60


def test_choices_that_do_not_meet_have_no_table():
    sizes = [[1, 2], [1, 2], [1, 3]]

    def chain(rungs):
        a, b, c = (row[rung] for row, rung in zip(sizes, rungs, strict=True))
        return float(a * b + 5 * c)

    assert set(read_cost(chain, sizes).pairs) == {(0, 1)}


def test_of_choices_that_lose_alike_the_cheaper_is_taken():
    losses = [np.array([1.0, 0.0]), np.array([1.0, 0.0])]
    table = read_cost(lambda rungs: 2.0 * rungs[0] + 3.0 * rungs[1] + 1, [[1, 2], [1, 2]])
    assert solve(losses, table, 4.0)[0] == [1, 0]
