"""Limits: exact costs, what is in reach, several at once, how near, and what is refused."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR, create
from prunekit.plan import (
    PeakMemory,
    Policy,
    Target,
    check_reach,
    limits_of,
    macs_cost,
    make_plan,
    params_cost,
    reached,
)
from tests.nets import NETS, make

SIZE = 12
ALLOCATIONS = ("local", "global")


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, SIZE, SIZE))


@pytest.fixture(scope="module")
def scores(graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {g.name: generator.random(g.width) for g in graph.groups}


@pytest.mark.parametrize("case", NETS, ids=lambda case: case.__name__)
def test_costs_are_those_of_the_graph_at_any_widths(case):
    graph = trace(*make(case))
    rng = np.random.default_rng(1)
    macs, params = macs_cost(graph), params_cost(graph)
    for _ in range(5):
        widths = {name: int(rng.integers(1, width + 1)) for name, width in graph.widths.items()}
        assert macs(widths) == graph.macs(widths)
        assert params(widths) == graph.params(widths)
    assert (macs({}), params({})) == (graph.macs(), graph.params())


def test_many_choices_cost_what_each_does(graph):
    rng = np.random.default_rng(2)
    choices = rng.integers(1, 33, size=(len(graph.widths), 7))
    for cost in (macs_cost(graph), params_cost(graph), PeakMemory(graph)):
        alone = [cost(dict(zip(graph.widths, map(int, one), strict=True))) for one in choices.T]
        assert cost.many(choices.astype(float)).tolist() == alone


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("kind", ["macs", "params"])
@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_an_absolute_target_is_the_ratio_that_leaves_as_much(
    graph, scores, allocation, kind, share
):
    policy = Policy(allocation)
    dense = graph.macs() if kind == "macs" else graph.params()
    absolute = make_plan(graph, scores, Target(kind, share * dense), policy)
    ratio = make_plan(graph, scores, Target(f"{kind}_ratio", 1 - share), policy)
    assert absolute == ratio
    assert getattr(absolute, kind)[1] <= share * dense


@pytest.mark.parametrize("allocation", ALLOCATIONS)
def test_of_several_targets_all_are_met(graph, scores, allocation):
    memory = PeakMemory(graph)
    targets = (Target("macs_ratio", 0.3), Target("params", 40_000), Target("memory_ratio", 0.4))
    plan = make_plan(graph, scores, targets, Policy(allocation))
    assert plan.macs[1] <= 0.7 * plan.macs[0]
    assert plan.params[1] <= 40_000
    assert memory(plan.widths) <= 0.6 * memory({})
    texts = [str(one) for one in reached(limits_of(graph, targets), plan)]
    assert texts[0] == f"macs_ratio 0.3 asked for, {1 - plan.macs[1] / plan.macs[0]:.4f} reached"
    assert texts[1].startswith("params 40k asked for, ")


def test_a_ratio_of_channels_beside_a_limit_is_a_floor_of_what_leaves(graph, scores):
    both = (Target("channel_ratio", 0.25), Target("macs_ratio", 0.1))
    alone = make_plan(graph, scores, both[0], Policy())
    assert make_plan(graph, scores, both, Policy()) == alone
    more = make_plan(graph, scores, (both[0], Target("macs_ratio", 0.7)), Policy())
    assert all(more.widths[name] <= width for name, width in alone.widths.items())
    assert more.macs[1] <= 0.3 * more.macs[0]


@pytest.mark.parametrize("allocation", ALLOCATIONS)
@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
@pytest.mark.parametrize("ratio", [0.07, 0.2, 0.33, 0.5, 0.7, 0.83])
def test_a_target_is_hit_within_1_percent_wherever_any_widths_do(
    graph, scores, allocation, kind, ratio
):
    cost = macs_cost(graph) if kind == "macs_ratio" else params_cost(graph)
    choices = np.array(list(itertools.product((8, 16, 24, 32), repeat=len(graph.widths)))).T
    prices, limit = cost.many(choices.astype(float)), (1 - ratio) * cost({})
    nearest = prices[prices <= limit].max()
    plan = make_plan(graph, scores, Target(kind, ratio), Policy(allocation))
    assert min(nearest, 0.99 * limit) <= cost(plan.widths) <= limit


@pytest.mark.parametrize("name", ["imdn_x2", "rlfn_s_x4", "safmnpp_x4"])
@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
def test_published_networks_hit_their_target_within_1_percent(name, kind):
    graph = trace(create(name), torch.zeros(1, 3, 16, 16))
    rng = np.random.default_rng(3)
    scores = {group.name: rng.random(group.width) for group in graph.groups}
    for ratio in (0.2, 0.5, 0.7):
        plan = make_plan(graph, scores, Target(kind, ratio), Policy())
        before, after = plan.macs if kind == "macs_ratio" else plan.params
        assert 0.99 * (1 - ratio) * before <= after <= (1 - ratio) * before


@given(
    low=st.floats(0.02, 0.8),
    step=st.floats(0.02, 0.1),
    how=st.sampled_from([(k, a) for k in ("macs_ratio", "params_ratio") for a in ALLOCATIONS]),
)
@settings(max_examples=30, deadline=None)
def test_a_larger_target_never_costs_more(graph, scores, low, step, how):
    kind, allocation = how
    plans = [
        make_plan(graph, scores, Target(kind, ratio), Policy(allocation, 1, 1))
        for ratio in (low, low + step)
    ]
    costs = [(plan.macs if kind == "macs_ratio" else plan.params)[1] for plan in plans]
    assert costs[1] <= costs[0]


def test_what_is_in_reach_is_told_before_anything_is_scored(graph):
    targets = (Target("macs_ratio", 0.5), Target("params", 50_000))
    macs, params = check_reach(graph, targets, Policy())
    narrowest = dict.fromkeys(graph.widths, 8)
    assert macs.reached == 1 - graph.macs(narrowest) / graph.macs()
    assert params.reached == graph.params(narrowest)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (Target("macs_ratio", 0.99), r"^macs_ratio 0\.99 is out of reach: 0\.\d+ can be removed"),
        (
            Target("params", 100),
            r"^params 100 is out of reach: \d\.\d+k of \d+.* are left at least",
        ),
        (Target("memory_ratio", 0.9), r"^memory_ratio 0\.9 is out of reach: 0\.75 can be removed"),
        (Target("macs_ratio", 1.0), "a ratio is the share that is removed, above 0 and below 1"),
        (Target("macs_ratio", 0), "a ratio is the share that is removed, above 0 and below 1"),
        (Target("macs_ratio", float("nan")), "nan is no number"),
        (Target("macs", "40G"), "'40G' is no number"),
        (Target("macs", -1.0), "what may be left is above 0"),
        (Target("latency_ms", 5.0), "needs times that were measured"),
        ((), "there is no target"),
        ((Target("macs_ratio", 0.1),) * 2, "two targets are of the same kind"),
    ],
)
def test_a_target_that_cannot_be_met_is_refused_in_one_line(graph, scores, target, message):
    for ask in (
        lambda: check_reach(graph, target, Policy()),
        lambda: make_plan(graph, scores, target, Policy()),
    ):
        with pytest.raises(PlanError, match=message) as caught:
            ask()
        assert "\n" not in str(caught.value)


def test_a_cost_of_ones_own_takes_the_place_of_the_graphs(graph, scores):
    def seconds(widths):
        return sum({**graph.widths, **widths}.values()) / 10  # not monotone in macs

    target = Target("latency_ms", seconds({}) / 2)
    plan = make_plan(graph, scores, target, Policy(), costs={"latency": seconds})
    assert 0.99 * target.amount <= seconds(plan.widths) <= target.amount
