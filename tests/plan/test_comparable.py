"""Scores of different groups: how each normalisation makes them comparable."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.plan import Policy, Target, make_plan
from prunekit.plan.compare import comparable
from tests.nets import conv, point


class Two(nn.Module):
    """Units of 3 * 9 + 1 + 6 and of 4 + 1 + 3 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.mid, self.tail = conv(3, 4), point(4, 6), point(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(F.relu(self.wide(x)))))


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(Two(), torch.rand(1, 3, 6, 6))


def named(graph: ChannelGraph, four: list[float], six: list[float]) -> dict[str, np.ndarray]:
    (one,) = [g.name for g in graph.groups if g.width == 4]
    (two,) = [g.name for g in graph.groups if g.width == 6]
    return {one: np.array(four, dtype=float), two: np.array(six, dtype=float)}


FOUR, SIX = [1, 3, 5, 7], [10, 20, 30, 40, 50, 60]


@pytest.mark.parametrize(
    ("normalisation", "four", "six"),
    [
        ("none", FOUR, SIX),
        ("mean", [v / 4 for v in FOUR], [v / 35 for v in SIX]),
        ("sum", [v / 16 for v in FOUR], [v / 210 for v in SIX]),
        ("max", [v / 7 for v in FOUR], [v / 60 for v in SIX]),
        ("size", [v / 34 for v in FOUR], [v / 8 for v in SIX]),
    ],
)
def test_scores_are_divided_as_asked(graph, normalisation, four, six):
    found = comparable(graph, named(graph, FOUR, SIX), normalisation)
    for name, expected in named(graph, four, six).items():
        assert found[name] == pytest.approx(expected)


def test_gaussian_scores_are_standardised_and_counted_from_the_least_of_all(graph):
    found = comparable(graph, named(graph, FOUR, SIX), "gaussian")
    lowest = min(each.min() for each in found.values())
    assert lowest == 0
    means = [each.mean() for each in found.values()]
    assert means[0] == pytest.approx(means[1])
    assert [each.std() for each in found.values()] == pytest.approx([1, 1])


@pytest.mark.parametrize("normalisation", ["none", "mean", "sum", "max", "gaussian", "size"])
def test_groups_of_which_all_is_zero_can_be_compared(graph, normalisation):
    found = comparable(graph, named(graph, [0] * 4, SIX), normalisation)
    assert all(np.isfinite(each).all() for each in found.values())


def test_a_global_plan_follows_the_normalisation(graph):
    kept = {}
    for normalisation in ("none", "mean"):
        policy = Policy("global", 1, 1, normalisation=normalisation)
        plan = make_plan(graph, named(graph, FOUR, SIX), Target("channel_ratio", 0.3), policy)
        kept[normalisation] = {group.width: len(group.kept) for group in plan.groups}
    assert kept == {"none": {4: 1, 6: 6}, "mean": {4: 3, 6: 4}}


@pytest.mark.parametrize("allocation", ["global", "isomorphic", "knapsack"])
@pytest.mark.parametrize("normalisation", ["none", "mean", "sum", "max", "gaussian", "size"])
def test_every_allocation_that_compares_groups_takes_every_normalisation(
    graph, allocation, normalisation
):
    policy = Policy(allocation, 1, 1, normalisation=normalisation)
    plan = make_plan(graph, named(graph, FOUR, SIX), Target("params_ratio", 0.3), policy)
    assert plan.params[1] <= 0.7 * plan.params[0]


def test_a_knapsack_follows_the_normalisation(graph):
    kept = {}
    for normalisation in ("none", "mean"):
        policy = Policy("knapsack", 1, 1, normalisation=normalisation)
        scores = named(graph, [1e-3] * 4, [1] * 6)
        plan = make_plan(graph, scores, Target("channel_ratio", 0.2), policy)
        kept[normalisation] = {group.width: len(group.kept) for group in plan.groups}
    assert kept == {"none": {4: 2, 6: 6}, "mean": {4: 4, 6: 4}}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused_with_their_group(graph, value):
    scores = named(graph, [1, 2, 3, value], SIX)
    with pytest.raises(PlanError, match=f"scores of group '{next(iter(scores))}' are not finite"):
        make_plan(graph, scores, Target("channel_ratio", 0.3), Policy("local", 1, 1))


def test_scores_below_zero_have_no_share_of_their_mean(graph):
    scores = named(graph, [-1, 2, 3, 4], SIX)
    with pytest.raises(PlanError, match="below zero, so they cannot be divided by their mean"):
        comparable(graph, scores, "mean")
    found = comparable(graph, scores, "none")
    assert min(each.min() for each in found.values()) == 0
