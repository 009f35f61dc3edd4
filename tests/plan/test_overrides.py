"""Overrides: other ratios, widths and rounding for single groups, and what contradicts itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR
from prunekit.plan import Override, Policy, Target, check_reach, make_plan
from tests.nets import make
from tests.wirings.attention import HeadsLeave

HALF = Target("channel_ratio", 0.5)


@pytest.fixture(scope="module")
def graph() -> ChannelGraph:
    return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, 12, 12))


def planned(graph, *overrides, target=HALF, **policy):
    rng = np.random.default_rng(4)
    scores = {g.name: rng.random(g.width) for g in graph.groups}
    return make_plan(graph, scores, target, Policy(overrides=overrides, **policy)).widths


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (Override("body.0 hidden", ratio=0.25), {"body.0 hidden": 24}),
        (
            Override("body.? hidden", protect=True),
            dict.fromkeys([f"body.{i} hidden" for i in range(3)], 32),
        ),
        (Override("trunk", min_width=24), {"trunk": 24}),
        (Override("trunk", round_to=12, ratio=0.3), {"trunk": 24}),
        (Override("body.1.body.0", ratio=0.75), {"body.1 hidden": 8}),  # the layer that makes them
        (Override("tail.1.weight", ratio=0.25), {"tail.0.0 / 4": 24}),
    ],
    ids=repr,
)
def test_an_override_holds_for_what_it_matches_and_nothing_else(graph, override, expected):
    assert planned(graph, override) == {**dict.fromkeys(graph.widths, 16), **expected}


@pytest.mark.parametrize("allocation", ["local", "global", "uniform"])
def test_a_ratio_that_is_laid_down_holds_whatever_the_target(graph, allocation):
    for ratio in (0.3, 0.6):
        fixed = Override("trunk", ratio=0.25)
        found = planned(graph, fixed, target=Target("macs_ratio", ratio), allocation=allocation)
        assert found["trunk"] == 24
        assert graph.macs(found) <= (1 - ratio) * graph.macs()


def test_what_is_laid_down_counts_for_what_is_in_reach(graph):
    fixed = Policy(overrides=(Override("trunk", ratio=0.25),))
    (reach,) = check_reach(graph, Target("macs_ratio", 0.5), fixed)
    (free,) = check_reach(graph, Target("macs_ratio", 0.5), Policy())
    assert reach.reached < free.reached
    with pytest.raises(PlanError, match="out of reach"):
        planned(graph, *fixed.overrides, target=Target("macs_ratio", reach.reached + 0.01))


def test_all_groups_may_be_laid_down(graph):
    assert set(planned(graph, Override("*", ratio=0.25)).values()) == {24}


@pytest.mark.parametrize(
    ("overrides", "protect", "message"),
    [
        ([Override("trnk", ratio=0.5)], (), r"overrides\[0\]: 'trnk' matches no group.*'trunk'\?$"),
        ([Override("trunk")], (), r"overrides\[0\] \('trunk'\) says nothing"),
        ([Override("trunk", ratio=0.5, protect=True)], (), "protect together with ratio"),
        ([Override("trunk", ratio=1.5)], (), "has ratio 1.5; it is a share, above 0 and below 1"),
        ([Override("trunk", round_to=0)], (), "round_to below 1"),
        (
            [Override("tr*", ratio=0.5), Override("*unk", ratio=0.25)],
            (),
            r"group 'trunk' gets ratio by 'tr\*' and ratio by '\*unk', which contradict each other",
        ),
        (
            [Override("trunk", ratio=0.5), Override("*", protect=True)],
            (),
            r"group 'trunk' gets ratio by 'trunk' and protect by '\*'",
        ),
        ([Override("trunk", min_width=4)], ("trunk",), "gets protect by 'trunk' and min_width"),
    ],
)
def test_what_means_nothing_or_contradicts_itself_is_refused(graph, overrides, protect, message):
    with pytest.raises(PlanError, match=message) as caught:
        planned(graph, *overrides, protect=protect)
    assert "\n" not in str(caught.value)


def test_overrides_that_agree_are_one(graph):
    twice = (Override("trunk", round_to=4), Override("tr*", min_width=28))
    assert planned(graph, *twice)["trunk"] == 28
    same = (Override("trunk", ratio=0.25), Override("tr*", ratio=0.25))
    assert planned(graph, *same) == planned(graph, same[0])


@pytest.mark.parametrize(("round_to", "expected"), [(4, 3), (8, 4), (16, 4), (32, 5)])
def test_where_heads_leave_their_channels_are_rounded_not_their_number(round_to, expected):
    net, inputs = make(HeadsLeave)  # five heads of four channels
    graph = trace(net, inputs, attention="heads")
    (group,) = [g for g in graph.groups if g.kind == "heads"]
    found = planned(graph, target=Target("channel_ratio", 0.4), round_to=round_to)
    assert (group.width, found[group.name]) == (5, expected)
