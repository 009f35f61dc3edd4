"""Allocations beyond the first three: what they promise, and what all of them do."""

from __future__ import annotations

import itertools
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch

from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR
from prunekit.plan import (
    Cost,
    Curve,
    Override,
    PeakMemory,
    Plan,
    Policy,
    Sensitivity,
    Target,
    find_choices,
    make_plan,
)
from prunekit.plan.classes import classes_of
from prunekit.plan.sensitivity import monotone
from tests.nets import NETS, graph_of

ALLOCATIONS = ("isomorphic", "sensitivity", "knapsack")
RATIOS = (0.05, 0.2, 1 / 3, 0.5, 0.61)
KINDS = ("channel_ratio", "macs_ratio", "params_ratio")

each_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS)
each_kind = pytest.mark.parametrize("kind", KINDS)

CLASSES = {
    # (kept by each layer), (passed on by each), and what only the last one makes
    "DistilledByAttribute": [{10}, {4, 5}, {7, 8}, {6}],
    # two of 1x1, the last of 3x3
    "DistilledByLayer": [{10}, {5}, {6}],
    # the first growth of both blocks, which the second reads, and the second
    "ResidualInResidual": [{8}, {5}, {4}],
    # both halves of a layer, each read by a convolution
    "PairOfSizes": [{8, 6}, {7}],
    # one reads the image and is read twice, one is read once, one meets no concatenation
    "Dense": [{8}, {6}, {10}],
    # behind the shuffle a unit is four filters
    "Shuffled": [{8}, {5}],
    "UNet": [{6}, {8}, {10}],
}


def kind_named(name: str) -> type:
    return next(kind for kind in NETS if kind.__name__ == name)


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, 12, 12))


def random_scores(graph: ChannelGraph, seed: int = 5) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    return {g.name: generator.random(g.width) ** (i + 1) for i, g in enumerate(graph.groups)}


def random_curves(graph: ChannelGraph, policy: Policy, seed: int = 3) -> Sensitivity:
    """Curves as they might be measured: larger removals cost more, mostly."""
    rng = np.random.default_rng(seed)
    curves = []
    for bundle in find_choices(graph, policy).bundles:
        removed = [bundle.width - sum(rung.values()) for rung in bundle.ladder[-2::-1]]
        drops = np.cumsum(rng.random(len(removed)) - 0.1) * rng.random()
        curves.append(
            Curve(bundle.groups, bundle.width, tuple(removed), tuple((30 - drops).tolist()))
        )
    return Sensitivity(30.0, tuple(curves), {}, 1, 2)


def planned(
    graph: ChannelGraph,
    scores: dict[str, np.ndarray],
    target: Target | tuple[Target, ...],
    policy: Policy,
    **costs: Cost,
) -> Plan:
    curves = random_curves(graph, policy) if policy.allocation == "sensitivity" else None
    return make_plan(graph, scores, target, policy, sensitivity=curves, costs=costs)


def widths(plan: Plan) -> dict[str, int]:
    return {group.name: len(group.kept) for group in plan.groups}


def cost_of(graph: ChannelGraph, kind: str, found: dict[str, int]) -> int:
    match kind:
        case "macs_ratio":
            return graph.macs(found)
        case "params_ratio":
            return graph.params(found)
    return sum(found.values())


def importance(graph: ChannelGraph, scores: dict[str, np.ndarray], plan: Plan) -> float:
    """Importance that a plan keeps, by the sizes of groups."""
    return sum(
        graph[group.name].params_share
        * scores[group.name][list(group.kept)].sum()
        / scores[group.name].sum()
        for group in plan.groups
    )


def predicted(curves: Sensitivity, plan: Plan) -> float:
    left = widths(plan)
    return sum(
        float(curves.losses(c.groups, [c.width - sum(left[name] for name in c.groups)])[0])
        for c in curves.curves
    )


@pytest.mark.parametrize("name", CLASSES)
def test_groups_are_of_one_class_where_they_are_wired_alike(name):
    graph = graph_of(kind_named(name))
    found = defaultdict(set)
    for group, number in classes_of(graph).items():
        found[number].add(graph.widths[group])
    assert sorted(map(sorted, found.values())) == sorted(map(sorted, CLASSES[name]))


def test_all_blocks_of_edsr_are_of_one_class_and_nothing_else_is(graph):
    classes = classes_of(graph)
    hidden = [classes[f"body.{block} hidden"] for block in range(3)]
    assert len(set(hidden)) == 1
    assert len(set(classes.values())) == 3


@pytest.mark.parametrize("ratio", RATIOS)
def test_every_class_loses_the_same_share_and_within_it_the_least_important(graph, ratio):
    scores = random_scores(graph)
    plan = planned(graph, scores, Target("channel_ratio", ratio), Policy("isomorphic", 1, 1))
    members = defaultdict(list)
    for name, number in classes_of(graph).items():
        members[number].append(name)
    kept = {group.name: set(group.kept) for group in plan.groups}
    for names in members.values():
        left = sum(len(kept[name]) for name in names)
        spared = sum(len(kept[name]) == 1 for name in names)
        assert abs(left - (1 - ratio) * 32 * len(names)) <= 0.5 + spared
        relative = {name: scores[name] / scores[name].mean() for name in names}
        gone = [relative[n][u] for n in names for u in range(32) if u not in kept[n]]
        stay = [relative[n][u] for n in names for u in kept[n]]
        assert max(gone, default=0.0) <= min(stay) or spared


def test_within_one_class_isomorphic_is_global(graph):
    scores, protect = random_scores(graph), ("trunk", "tail*")
    target = Target("channel_ratio", 0.4)
    alone = planned(graph, scores, target, Policy("isomorphic", 1, 1, protect))
    ranked = planned(graph, scores, target, Policy("global", 1, 1, protect))
    assert alone == ranked
    assert len(set(widths(alone).values())) > 2


@each_allocation
@each_kind
@pytest.mark.parametrize("ratio", RATIOS)
def test_a_target_is_met_in_multiples_and_nothing_can_be_given_back(graph, allocation, kind, ratio):
    policy = Policy(allocation, round_to=4, min_width=8)
    found = widths(planned(graph, random_scores(graph), Target(kind, ratio), policy))
    assert all(width % 4 == 0 and width >= 8 for width in found.values())
    if (allocation, kind) == ("isomorphic", "channel_ratio"):
        return  # as near as the rounding allows
    limit = (1 - ratio) * cost_of(graph, kind, graph.widths)
    assert cost_of(graph, kind, found) <= limit
    for name, width in found.items():
        wider = {**found, name: width + 4}
        assert width == 32 or cost_of(graph, kind, wider) > limit


@each_allocation
@each_kind
def test_a_larger_target_costs_no_less_and_leaves_no_more(graph, allocation, kind):
    scores, policy = random_scores(graph), Policy(allocation, 4, 4)
    plans = [planned(graph, scores, Target(kind, ratio), policy) for ratio in RATIOS]
    costs = [cost_of(graph, kind, widths(plan)) for plan in plans]
    assert all(later <= earlier for earlier, later in pairwise(costs))
    assert costs[-1] < costs[0]
    if allocation == "isomorphic":
        return
    curves = random_curves(graph, policy)
    if allocation == "knapsack":
        lost = [-importance(graph, scores, plan) for plan in plans]
    else:
        lost = [predicted(curves, plan) for plan in plans]
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(lost))


def test_a_larger_ratio_of_channels_removes_a_superset_in_every_class(graph):
    scores, policy = random_scores(graph), Policy("isomorphic", 1, 1)
    plans = [planned(graph, scores, Target("channel_ratio", ratio), policy) for ratio in RATIOS]
    kept = [{(g.name, u) for g in plan.groups for u in g.kept} for plan in plans]
    assert all(more > less for more, less in pairwise(kept))


@each_allocation
@each_kind
def test_a_plan_is_made_twice_alike_and_equal_scores_have_an_answer(graph, allocation, kind):
    equal = {group.name: np.ones(group.width) for group in graph.groups}
    for scores in (random_scores(graph), equal):
        policy = Policy(allocation, 8, 8)
        one, two = (planned(graph, scores, Target(kind, 0.3), policy) for _ in range(2))
        assert one.to_json() == two.to_json()
    assert all(group.kept == tuple(range(len(group.kept))) for group in one.groups)


@each_allocation
@each_kind
def test_what_is_protected_stays_whole(graph, allocation, kind):
    policy = Policy(allocation, 4, 4, protect=("body.1 hidden", "tail*"))
    found = widths(planned(graph, random_scores(graph), Target(kind, 0.2), policy))
    assert found["body.1 hidden"] == found["tail.0.0 / 4"] == 32
    assert min(found.values()) < 32


@each_allocation
@pytest.mark.parametrize("name", ["Chunked", "DistilledByAttribute", "UNet", "Dense"])
def test_groups_that_move_together_do(allocation, name):
    graph = graph_of(kind_named(name))
    policy = Policy(allocation, 1, 1)
    found = planned(graph, random_scores(graph), Target("params_ratio", 0.4), policy)
    assert graph.allows(widths(found))
    assert found.params[1] <= 0.6 * found.params[0]


@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
@pytest.mark.parametrize("name", ["Residual", "Dense", "DistilledByLayer", "UNet", "Tokens"])
@pytest.mark.parametrize("seed", range(4))
def test_a_knapsack_keeps_the_most_that_there_is(kind, name, seed):
    graph = graph_of(kind_named(name))
    scores = random_scores(graph, seed)
    ratio = (0.2, 0.35, 0.5, 0.6)[seed]
    policy = Policy("knapsack", round_to=2, min_width=2)
    plan = planned(graph, scores, Target(kind, ratio), policy)
    limit = (1 - ratio) * cost_of(graph, kind, graph.widths)
    bundles = find_choices(graph, policy).bundles
    best = -1.0
    for rungs in itertools.product(*(bundle.ladder for bundle in bundles)):
        chosen = {name: width for rung in rungs for name, width in rung.items()}
        if cost_of(graph, kind, chosen) <= limit:
            kept = 0.0
            for group in graph.groups:
                top = np.sort(scores[group.name])[::-1][: chosen[group.name]]
                kept += group.params_share * top.sum() / scores[group.name].sum()
            best = max(best, kept)
    assert importance(graph, scores, plan) == pytest.approx(best, rel=1e-12)


def test_a_knapsack_takes_any_cost_that_is_told(graph):
    """A time that no product of widths gives, since kernels work in blocks of 16 channels."""
    names = list(graph.widths)

    def milliseconds(left):
        blocks = [-(-left.get(name, 32) // 16) for name in names]
        return 1.0 + sum(a * b for a, b in pairwise(blocks)) + blocks[0] * blocks[-1]

    scores, policy = random_scores(graph), Policy("knapsack", 8, 8)
    target = Target("latency_ms", 0.6 * milliseconds({}))
    plan = planned(graph, scores, target, policy, latency=milliseconds)
    assert milliseconds(plan.widths) <= target.amount
    best = -1.0
    for chosen in itertools.product((8, 16, 24, 32), repeat=len(names)):
        left = dict(zip(names, chosen, strict=True))
        if milliseconds(left) <= target.amount:
            tops = {
                n: np.sort(scores[n])[::-1][:w].sum() / scores[n].sum() for n, w in left.items()
            }
            best = max(best, sum(graph[n].params_share * top for n, top in tops.items()))
    assert importance(graph, scores, plan) == pytest.approx(best, rel=1e-12)


@each_allocation
def test_several_targets_all_hold_memory_among_them(graph, allocation):
    scores, policy = random_scores(graph), Policy(allocation, 4, 4)
    targets = (Target("memory_ratio", 0.3), Target("macs_ratio", 0.4), Target("params", 30_000))
    plan = planned(graph, scores, targets, policy)
    memory = PeakMemory(graph)
    assert memory(plan.widths) <= 0.7 * memory({})
    assert plan.macs[1] <= 0.6 * plan.macs[0]
    assert plan.params[1] <= 30_000
    if allocation == "knapsack":
        ranked = planned(graph, scores, targets, Policy("global", 4, 4))
        assert importance(graph, scores, plan) >= importance(graph, scores, ranked) - 1e-12


@each_allocation
def test_a_ratio_of_channels_beside_a_limit_is_a_floor_of_what_leaves(graph, allocation):
    scores, policy = random_scores(graph), Policy(allocation, 4, 4)
    channels = Target("channel_ratio", 0.25)
    alone = planned(graph, scores, channels, policy)
    assert planned(graph, scores, (channels, Target("macs_ratio", 0.1)), policy) == alone
    more = planned(graph, scores, (channels, Target("macs_ratio", 0.7)), policy)
    assert all(width <= alone.widths[name] for name, width in more.widths.items())
    assert more.macs[1] <= 0.3 * more.macs[0]


@each_allocation
@each_kind
def test_what_is_laid_down_holds_and_the_others_meet_the_target(graph, allocation, kind):
    fixed = (Override("trunk", ratio=0.25), Override("body.0 hidden", min_width=24))
    policy = Policy(allocation, 4, 4, overrides=fixed)
    found = widths(planned(graph, random_scores(graph), Target(kind, 0.4), policy))
    assert found["trunk"] == 24
    assert found["body.0 hidden"] >= 24
    if kind != "channel_ratio":
        assert cost_of(graph, kind, found) <= 0.6 * cost_of(graph, kind, graph.widths)
    everything = Policy(allocation, 4, 4, overrides=(Override("*", ratio=0.5),))
    halved = planned(graph, random_scores(graph), Target(kind, 0.3), everything)
    assert set(widths(halved).values()) == {16}


@pytest.mark.parametrize("seed", range(6))
@each_kind
def test_a_knapsack_never_keeps_less_than_global_allocation(graph, seed, kind):
    scores = random_scores(graph, seed)
    for ratio in (0.15, 0.4, 0.6):
        ranked = planned(graph, scores, Target(kind, ratio), Policy("global", 4, 4))
        reached = 1 - cost_of(graph, kind, widths(ranked)) / cost_of(graph, kind, graph.widths)
        if reached <= 0:
            continue
        # at the same budget: what global allocation uses
        budget = Target(kind, reached - 1e-12)
        plan = planned(graph, scores, budget, Policy("knapsack", 4, 4))
        assert cost_of(graph, kind, widths(plan)) <= cost_of(graph, kind, widths(ranked))
        assert importance(graph, scores, plan) >= importance(graph, scores, ranked) - 1e-12


def test_sensitivity_spares_what_was_measured_to_matter(graph):
    policy = Policy("sensitivity", 8, 8)
    worst = {"trunk": 20.0, "tail.0.0 / 4": 10.0, "body.1 hidden": 3.0}
    curves = tuple(
        Curve((g.name,), 32, (8, 16, 24), tuple(30 - worst.get(g.name, 0.1) * s for s in (1, 2, 3)))
        for g in graph.groups
    )
    found = Sensitivity(30.0, curves, {}, 4, 2)
    scores = random_scores(graph)
    target = Target("macs_ratio", 0.24)
    left = widths(make_plan(graph, scores, target, policy, sensitivity=found))
    assert left["trunk"] == left["tail.0.0 / 4"] == 32
    assert left["body.0 hidden"] == left["body.2 hidden"] == 8
    assert left["body.1 hidden"] > 8


@each_kind
@pytest.mark.parametrize("ratio", RATIOS)
def test_sensitivity_predicts_no_more_loss_than_other_allocations(graph, kind, ratio):
    scores, policy = random_scores(graph), Policy("sensitivity", 4, 4)
    curves = random_curves(graph, policy)
    mine = planned(graph, scores, Target(kind, ratio), policy)
    for allocation in ("local", "global", "isomorphic", "knapsack"):
        other = planned(graph, scores, Target(kind, ratio), Policy(allocation, 4, 4))
        limit = (1 - ratio) * cost_of(graph, kind, graph.widths)
        if cost_of(graph, kind, widths(other)) <= limit:
            assert predicted(curves, mine) <= predicted(curves, other) + 1e-12


def test_drops_are_made_such_that_none_falls():
    assert monotone(np.array([1.0, 3.0, 2.0, 4.0])).tolist() == [1.0, 2.5, 2.5, 4.0]
    assert monotone(np.array([3.0, 2.0, 1.0])).tolist() == [2.0, 2.0, 2.0]
    assert monotone(np.array([-2.0, -1.0, 1.0])).tolist() == [0.0, 0.0, 1.0]
    assert monotone(np.array([])).tolist() == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.normal(size=8)
        smooth = monotone(values)
        assert (np.diff(smooth) >= 0).all()
        assert (smooth >= 0).all()
        rising = np.sort(np.abs(rng.normal(size=8)))  # any other that never falls is no nearer
        assert ((values - smooth) ** 2).sum() <= ((values - rising) ** 2).sum()


def test_a_drop_between_two_widths_is_interpolated_and_errors_add_up():
    curve = Curve(("a",), 16, (4, 8), (29.0, 27.0))
    assert curve.drop([0, 2, 4, 6, 8], 30.0).tolist() == [0.0, 0.5, 1.0, 2.0, 3.0]
    found = Sensitivity(30.0, (curve,), {}, 1, 2)
    # 10 dB more noise is ten times the error: nine times itself beyond what there is
    tenfold = Sensitivity(30.0, (Curve(("a",), 16, (8,), (20.0,)),), {}, 1, 2)
    assert tenfold.losses(("a",), [0, 8]).tolist() == [0.0, 9.0]
    assert found.losses(("a",), [0]).tolist() == [0.0]
