"""What groups and freezing cost, and how groups are folded for a reader."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from prunekit.graph import trace
from prunekit.graph.families import fold_groups, fold_names
from prunekit.graph.shares import GroupShare, frozen_costs, group_shares, stuck_share
from prunekit.nets import create
from tests import nets
from tests.nets import NETS, Chain
from tests.wirings.moves import Accumulated

each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def traced(kind):
    return nets.traced(kind)[2]


@each_net
def test_a_group_costs_the_macs_that_go_with_it(kind):
    graph = traced(kind)
    for name, share in group_shares(graph).items():
        assert share.macs == pytest.approx(1 - graph.macs({name: 0}) / graph.macs())
        assert share.params == graph[name].params_share


@each_net
def test_stuck_is_what_is_left_when_every_group_went(kind):
    """But for tensors of one element, which have no axis that could leave."""
    graph = traced(kind)
    left = graph.params(dict.fromkeys(graph.widths, 0))
    assert stuck_share(graph) * graph.params() == pytest.approx(left)


@each_net
def test_no_reason_keeps_more_than_is_stuck_and_all_keep_it_together(kind):
    graph = traced(kind)
    costs = frozen_costs(graph)
    single = sum(1 for name in graph.parameters if max(graph.shapes[name], default=1) == 1)
    stuck = stuck_share(graph)
    assert all(cost.params_share <= stuck + 1e-12 for cost in costs)
    assert sum(c.params_share for c in costs) >= stuck - single / graph.params() - 1e-12
    assert [c.params_share for c in costs] == sorted((c.params_share for c in costs), reverse=True)
    assert sum(len(cost.axes) for cost in costs) == len(graph.frozen)


def test_a_chain_by_hand():
    """3 to 8 to 3 channels with kernels of 3 x 3: all but the last bias lies on the group."""
    graph = traced(Chain)
    (share,) = group_shares(graph).values()
    params = 3 * 8 * 9 + 8 + 8 * 3 * 9 + 3
    assert share.params == pytest.approx((params - 3) / params)
    assert share.macs == 1
    assert stuck_share(graph) == pytest.approx(3 / params)


def test_an_operator_is_blamed_for_what_it_keeps():
    """The head, 3 to 8 channels, is frozen by a cumulative sum; its input is the image."""
    graph = traced(Accumulated)
    cost = next(cost for cost in frozen_costs(graph) if cost.operator == "aten.cumsum")
    head, mid, tail = 3 * 8 * 9 + 8, 8 * 7 * 9 + 7, 7 * 3 * 9 + 3
    assert cost.modules == ("",)
    assert {frozen.reason.cause for frozen in cost.axes} == {cost.cause}
    assert cost.params_share == pytest.approx(head / (head + mid + tail))
    assert cost.outputs_share == pytest.approx(8 / (8 + 7 + 3))


def test_the_extent_of_a_kernel_is_no_cost():
    graph = traced(Accumulated)
    kernel = next(cost for cost in frozen_costs(graph) if "kernel" in cost.text)
    assert kernel.params_share == 0


def test_groups_of_equal_blocks_are_one_family():
    graph = trace(create("edsr", channels=16, blocks=4), torch.rand(1, 3, 8, 8))
    families = fold_groups(graph.groups, group_shares(graph))

    assert [(f.name, len(f.groups)) for f in families[:2]] == [
        ("trunk", 1),
        ("body.0..3 hidden", 4),
    ]
    assert sorted(g.name for f in families for g in f.groups) == sorted(graph.widths)
    unfolded = fold_groups(graph.groups, group_shares(graph), fold=False)
    assert len(unfolded) == len(graph.groups)


def test_groups_of_other_width_are_another_family():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            widths = (3, 8, 8, 16, 3)
            self.body = nn.ModuleList(nn.Conv2d(a, b, 1) for a, b in pairwise(widths))

        def forward(self, x):
            for layer in self.body:
                x = layer(x)
            return x

    graph = trace(Net(), torch.rand(1, 3, 4, 4))
    families = fold_groups(graph.groups, group_shares(graph))
    assert [len(family.groups) for family in families] == [1, 1, 1]


def test_groups_alike_in_all_but_width_are_two_families():
    (group,) = traced(Chain).groups
    groups = [replace(group, name=f"body.{n} hidden", width=width) for n, width in ((0, 8), (1, 9))]
    shares = {one.name: GroupShare(one.name, 0.5, 0.5) for one in groups}
    assert len(fold_groups(groups, shares)) == 2


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        (["a.0.w", "a.1.w", "b.0.w"], [("a.0..1.w", 2), ("b.0.w", 1)]),
        (["l.0.b.0", "l.1.b.3"], [("l.0..1.b.0..3", 2)]),
        (["conv1", "conv2"], [("conv1", 1), ("conv2", 1)]),
        (["x stream #2", "x stream #10"], [("x stream #2..10", 2)]),
        ([], []),
    ],
)
def test_names_fold_where_only_numbers_differ(names, folded):
    assert fold_names(names) == folded


def test_rows_are_those_of_weights_that_are_multiplied_with():
    """A linear layer reads its weight transposed; a table of offsets is only added."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.tail = nn.Linear(3, 8), nn.Linear(8, 5)
            self.offsets = nn.Parameter(torch.zeros(4, 5))

        def forward(self, x):
            return self.tail(self.head(x).relu()) + self.offsets

    costs = frozen_costs(trace(Net(), torch.rand(2, 4, 3)))
    kept = {frozen.tensor: cost for cost in costs for frozen in cost.axes if frozen.axis == 0}
    assert kept["tail.weight"].outputs_share == pytest.approx(5 / (8 + 5))
