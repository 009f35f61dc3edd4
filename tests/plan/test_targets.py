"""Targets and policies: what a plan removes, how near it comes, and what it says if it cannot."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import CRITERIA, score_groups
from tests.nets import ConcatWithImage, conv, make

FINE = Policy(round_to=1, min_width=1)
ALLOCATIONS = ("local", "global")
RATIOS = (0.05, 0.2, 1 / 3, 0.5, 0.61, 0.8)

each_allocation = pytest.mark.parametrize("allocation", ALLOCATIONS)
each_ratio = pytest.mark.parametrize("ratio", RATIOS)
each_cost = pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, 12, 12))


@pytest.fixture(scope="module")
def scores(graph) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(5)
    return {g.name: generator.random(g.width) ** (i + 1) for i, g in enumerate(graph.groups)}


def widths(plan: Plan) -> dict[str, int]:
    return {group.name: len(group.kept) for group in plan.groups}


def share(pair: tuple[int, int]) -> float:
    return 1 - pair[1] / pair[0]


@each_ratio
def test_a_local_channel_ratio_is_met_in_every_group_as_nearly_as_rounding_allows(
    graph, scores, ratio
):
    fine = make_plan(graph, scores, Target("channel_ratio", ratio), FINE)
    assert all(abs(w - 32 * (1 - ratio)) <= 0.5 for w in widths(fine).values())
    coarse = make_plan(graph, scores, Target("channel_ratio", ratio), Policy(min_width=1))
    nearest = max((8, 16, 24, 32), key=lambda w: (-abs(w - 32 * (1 - ratio)), w))
    assert set(widths(coarse).values()) == {nearest}


@each_ratio
def test_a_global_channel_ratio_is_met_over_all_groups_together(graph, scores, ratio):
    policy = Policy("global", 1, 1)
    plan = make_plan(graph, scores, Target("channel_ratio", ratio), policy)
    total = sum(graph.widths.values())
    left = sum(widths(plan).values())
    spared = sum(width == 1 for width in widths(plan).values())  # a group keeps one unit at least
    assert abs(left - total * (1 - ratio)) <= 0.5 + spared


def test_a_global_ratio_takes_the_least_important_units_of_the_network(graph, scores):
    policy = Policy("global", 1, 1)
    plan = make_plan(graph, scores, Target("channel_ratio", 0.3), policy)
    relative = {name: s / s.mean() for name, s in scores.items()}
    kept = {g.name: set(g.kept) for g in plan.groups}
    gone = [relative[n][u] for n, units in kept.items() for u in range(32) if u not in units]
    left = [relative[n][u] for n, units in kept.items() for u in units]
    assert max(gone) <= min(left)
    assert len(set(widths(plan).values())) > 1


def test_a_global_ratio_is_met_among_equally_important_units(graph):
    equal = {group.name: np.ones(group.width) for group in graph.groups}
    plan = make_plan(graph, equal, Target("channel_ratio", 0.5), Policy("global", 1, 1))
    assert abs(sum(widths(plan).values()) / sum(graph.widths.values()) - 0.5) < 0.02


@each_cost
@each_allocation
@each_ratio
def test_a_cost_target_is_met_or_exceeded_and_no_single_step_could_be_given_back(
    graph, scores, kind, allocation, ratio
):
    policy = Policy(allocation, round_to=4, min_width=4)
    plan = make_plan(graph, scores, Target(kind, ratio), policy)
    cost = graph.macs if kind == "macs_ratio" else graph.params
    pair = plan.macs if kind == "macs_ratio" else plan.params
    assert pair == (cost(), cost(widths(plan)))
    assert share(pair) >= ratio
    for name, width in widths(plan).items():
        if width < 32:
            assert 1 - cost({**widths(plan), name: width + 4}) / cost() < ratio


@each_cost
@each_allocation
def test_a_larger_cost_target_removes_more(graph, scores, kind, allocation):
    plans = [make_plan(graph, scores, Target(kind, r), Policy(allocation, 1, 1)) for r in RATIOS]
    pairs = [plan.macs if kind == "macs_ratio" else plan.params for plan in plans]
    assert all(later[1] < earlier[1] for earlier, later in pairwise(pairs))


@each_allocation
def test_a_larger_channel_ratio_removes_a_superset(graph, scores, allocation):
    plans = [
        make_plan(graph, scores, Target("channel_ratio", ratio), Policy(allocation, 1, 1))
        for ratio in RATIOS
    ]
    kept = [{(g.name, u) for g in plan.groups for u in g.kept} for plan in plans]
    assert all(more > less for more, less in pairwise(kept))


@each_allocation
@pytest.mark.parametrize("round_to", [1, 3, 8, 16])
def test_widths_are_multiples_and_no_narrower_than_asked(graph, scores, allocation, round_to):
    policy = Policy(allocation, round_to=round_to, min_width=10)
    for target in (Target("channel_ratio", 0.6), Target("macs_ratio", 0.4)):
        plan = make_plan(graph, scores, target, policy)
        for width in widths(plan).values():
            assert width >= 10
            assert width % round_to == 0 or width == 32


def test_widths_that_change_are_multiples_however_narrow_the_group():
    narrow = trace(EDSR(channels=15, blocks=1), torch.rand(1, 3, 6, 6))
    scores = {g.name: np.arange(15.0) for g in narrow.groups}
    policy = Policy(round_to=8, min_width=1)
    plan = make_plan(narrow, scores, Target("channel_ratio", 0.4), policy)
    assert set(widths(plan).values()) == {8}
    wide = make_plan(narrow, scores, Target("channel_ratio", 0.4), Policy(round_to=16, min_width=1))
    assert set(widths(wide).values()) == {15}


@pytest.mark.parametrize("allocation", ["local", "global"])
@pytest.mark.parametrize("ratio", [1e-9, 0.02, 0.1])
def test_a_small_target_takes_a_small_step(allocation, ratio):
    graph = trace(EDSR(channels=32, blocks=6), torch.rand(1, 3, 6, 6))
    rng = np.random.default_rng(0)
    scores = {group.name: rng.random(group.width) for group in graph.groups}
    plan = make_plan(graph, scores, Target("macs_ratio", ratio), Policy(allocation, round_to=8))
    one_block = 2 * 8 * 32 * 9 * 36  # multiply-accumulates of 8 hidden channels at 6x6
    before, after = plan.macs
    assert ratio * before <= before - after <= ratio * before + one_block


def test_the_units_that_stay_are_the_best_ascending_and_of_equals_the_first(graph):
    ranks = {group.name: np.array([3.0, 1, 2, 3] * 8) for group in graph.groups}
    plan = make_plan(graph, ranks, Target("channel_ratio", 0.75), FINE)
    assert plan.groups[0].kept == (0, 3, 4, 7, 8, 11, 12, 15)


def test_every_slice_of_a_removed_unit_goes_and_no_other(graph, scores):
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), FINE)
    kept = {(t.name, axis): set(places) for t in plan.tensors for axis, places in t.kept.items()}
    seen = set()
    for group in plan.groups:
        for member in graph[group.name].members:
            seen.add((member.tensor, member.axis))
            units = member.indices[list(group.kept)].ravel()
            assert kept[member.tensor, member.axis] == set(units.tolist())
    assert seen == set(kept)
    after = {t.name: t.shape_after for t in plan.tensors}
    assert after["body.0.body.0.weight"] == (16, 16, 3, 3)
    assert after["tail.0.0.weight"] == (64, 16, 3, 3)


def test_what_shares_an_axis_with_a_group_stays():
    net, image = make(ConcatWithImage)
    graph = trace(net, image)
    scores = {"head": np.arange(8.0)}
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), FINE)
    tail = next(t for t in plan.tensors if t.name == "tail.weight")
    assert tail.kept == {1: (0, 1, 2, 7, 8, 9, 10)}


@pytest.mark.parametrize(
    ("pattern", "whole"),
    [
        ("trunk", {"trunk"}),
        ("body.?  hidden".replace("  ", " "), {"body.0 hidden", "body.1 hidden", "body.2 hidden"}),
        ("body.1.*", {"trunk", "body.1 hidden"}),
        ("tail.1.weight", {"tail.0.0 / 4"}),
    ],
)
def test_what_is_protected_by_group_or_tensor_stays_whole(graph, scores, pattern, whole):
    policy = Policy(round_to=1, min_width=1, protect=(pattern,))
    for target in (Target("channel_ratio", 0.5), Target("params_ratio", 0.1)):
        plan = make_plan(graph, scores, target, policy)
        assert {name for name, width in widths(plan).items() if width == 32} >= whole
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), policy)
    assert {name for name, width in widths(plan).items() if width == 32} == whole


def test_a_protected_name_that_is_nowhere_is_told_with_the_nearest(graph, scores):
    policy = Policy(protect=("trunk", "trnk"))
    with pytest.raises(PlanError, match=r"protect: 'trnk' matches no .*did you mean 'trunk'\?$"):
        make_plan(graph, scores, Target("channel_ratio", 0.5), policy)


def test_everything_protected_leaves_nothing_to_prune(graph, scores):
    with pytest.raises(
        PlanError, match=r"nothing can be pruned: no group may get narrower \(protected\)"
    ):
        make_plan(graph, scores, Target("channel_ratio", 0.5), Policy(protect=("*",)))


def test_a_network_without_groups_says_why_nothing_can_be_pruned():
    net = nn.Sequential(conv(3, 3), conv(3, 3))
    graph = trace(net, torch.rand(1, 3, 8, 8))
    reason = r"every axis is frozen \(.*no wider than the image \(3 channels\).*\)"
    with pytest.raises(PlanError, match=reason):
        make_plan(graph, {}, Target("channel_ratio", 0.5), FINE)


@each_cost
@each_allocation
def test_a_target_out_of_reach_names_what_is_in_reach_and_that_is(graph, scores, kind, allocation):
    policy = Policy(allocation, round_to=8, min_width=16)
    with pytest.raises(PlanError) as caught:
        make_plan(graph, scores, Target(kind, 0.95), policy)
    found = re.fullmatch(
        rf"{kind} 0.95 is out of reach: (0\.\d+) can be removed with min_width 16 and "
        r"round_to 8; lower the target or these",
        str(caught.value),
    )
    assert found
    reach = float(found[1])
    assert reach > 0.5
    plan = make_plan(graph, scores, Target(kind, reach), policy)
    assert set(widths(plan).values()) == {16}
    with pytest.raises(PlanError, match="out of reach"):
        make_plan(graph, scores, Target(kind, reach + 0.001), policy)


@each_cost
@pytest.mark.parametrize("min_width", range(2, 31))
def test_a_target_at_the_very_edge_of_reach_is_planned_or_refused(graph, scores, kind, min_width):
    policy = Policy("local", round_to=1, min_width=min_width)
    cost = graph.macs if kind == "macs_ratio" else graph.params
    edge = 1 - cost(dict.fromkeys(graph.widths, min_width)) / cost()
    try:
        plan = make_plan(graph, scores, Target(kind, edge), policy)
    except PlanError as error:
        assert "out of reach" in str(error)  # noqa: PT017 (either is right, by a rounding error)
    else:
        assert set(widths(plan).values()) == {min_width}


@pytest.mark.parametrize(
    "criterion", [n for n, c in CRITERIA.items() if not c.needs and n != "bn_scale"]
)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_told_with_their_group(criterion, bad):
    net = EDSR(channels=8, blocks=2)
    with torch.no_grad():
        net.body[1].body[0].weight[3, 2, 1, 0] = bad
    graph = trace(net, torch.rand(1, 3, 6, 6))
    if criterion == "random":
        assert np.isfinite(score_groups(net, graph.groups, criterion)["trunk"]).all()
        return
    with pytest.raises(PlanError, match=r"weights of group '(trunk|body\.1 hidden)' are not fin"):
        score_groups(net, graph.groups, criterion)


def test_criteria_are_the_norms_of_all_slices_of_a_unit():
    net = EDSR(channels=6, blocks=1)
    graph = trace(net, torch.rand(1, 3, 6, 6))
    first, second = net.body[0].body[0], net.body[0].body[2]
    unit = [first.weight[2].flatten(), first.bias[2:3], second.weight[:, 2].flatten()]
    everything = torch.cat(unit).double()
    l1 = score_groups(net, graph.groups, "l1")["body.0 hidden"]
    l2 = score_groups(net, graph.groups, "l2")["body.0 hidden"]
    assert l1[2] == pytest.approx(everything.abs().sum().item())
    assert l2[2] == pytest.approx(everything.norm().item())
    block = net.tail[0][0].weight[8:12].flatten()  # unit 2 of the upsampler
    rest = [net.tail[0][0].bias[8:12], net.tail[1].weight[:, 2].flatten()]
    whole = torch.cat([block, *rest]).double()
    upsampler = score_groups(net, graph.groups, "l2")["tail.0.0 / 4"]
    assert upsampler[2] == pytest.approx(whole.norm().item())


def test_random_scores_depend_on_seed_and_group_alone():
    net = EDSR(channels=8, blocks=2)
    groups = trace(net, torch.rand(1, 3, 6, 6)).groups
    a, b = (score_groups(net, groups, "random", seed=4) for _ in range(2))
    other = score_groups(net, groups, "random", seed=5)
    for name in a:
        assert (a[name] == b[name]).all()
        assert (a[name] != other[name]).any()
    assert (a["trunk"] != a["body.0 hidden"]).any()
    shorter = score_groups(net, groups[:2], "random", seed=4)
    assert (shorter["trunk"] == a["trunk"]).all()


@pytest.mark.parametrize("ratio", RATIOS)
def test_uniform_widths_keep_their_proportions(ratio):
    graph = trace(Tapered(), torch.rand(1, 3, 6, 6))
    rng = np.random.default_rng(1)
    scores = {group.name: rng.random(group.width) for group in graph.groups}
    plan = make_plan(graph, scores, Target("channel_ratio", ratio), Policy("uniform", 4, 4))
    shares = {len(group.kept) / group.width for group in plan.groups}
    assert len(shares) == 1
    assert abs(shares.pop() - (1 - ratio)) <= 1 / 8 or ratio > 0.75  # min_width ends it there
    assert all(len(group.kept) % 4 == 0 for group in plan.groups)


@pytest.mark.parametrize("kind", ["macs_ratio", "params_ratio"])
def test_a_uniform_plan_meets_a_cost_with_the_first_width_that_does(kind):
    graph = trace(Tapered(), torch.rand(1, 3, 6, 6))
    scores = {group.name: np.ones(group.width) for group in graph.groups}
    plan = make_plan(graph, scores, Target(kind, 0.4), Policy("uniform", 1, 1))
    cost = graph.macs if kind == "macs_ratio" else graph.params
    narrow = widths(plan)
    wider = {group.name: len(group.kept) + group.width // 16 for group in plan.groups}
    assert cost(narrow) <= 0.6 * cost() < cost(wider)


class Tapered(nn.Module):
    """Layers of 32, 16 and 48 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 32), conv(32, 16), conv(16, 48), conv(48, 3))

    def forward(self, x):
        return self.layers(x)
