"""What holds for the channel graph of every network."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from prunekit.graph import ChannelGraph, trace
from tests.laws.symptoms import counted_macs
from tests.nets import NETS, graph_of, make, traced, widths
from tests.untouched import assert_untouched, picture

COUNTED = [kind for kind in NETS if "opaque" not in kind.options]  # whose inside is not looked at
each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


@each_net
def test_widths_are_those_worked_by_hand(kind):
    graph = graph_of(kind)
    assert widths(graph.groups) == kind.widths


@each_net
def test_kinds_are_those_worked_by_hand(kind):
    graph = graph_of(kind)
    kinds = {group.kind for group in graph.groups} - {"channel"}
    found = {name: widths(g for g in graph.groups if g.kind == name) for name in kinds}
    assert found == kind.kinds


@each_net
def test_groups_that_an_operator_reduces_over_are_those_worked_by_hand(kind):
    graph = graph_of(kind)
    assert widths(group for group in graph.groups if not group.exact) == kind.inexact


@each_net
def test_balances_are_those_worked_by_hand(kind):
    graph = graph_of(kind)
    assert tuple(widths(graph[name] for name in names) for names in graph.balances) == kind.balanced


@each_net
def test_reversing_the_units_of_a_group_changes_nothing(kind):
    (net, inputs), graph = make(kind), graph_of(kind)
    result = graph.verify(net, inputs)
    assert result.holds, result
    assert result.difference.dtype == "float64"


def assert_all_accounted_for(net: torch.nn.Module, graph: ChannelGraph) -> None:
    """Every index of every axis is in one unit of one group, or frozen with a reason."""
    seen: Counter[tuple[str, int]] = Counter()
    places: dict[tuple[str, int], set[int]] = {}
    for group in graph.groups:
        for member in group.members:
            at = (member.tensor, member.axis)
            inside = member.indices.ravel().tolist()
            assert places.setdefault(at, set()).isdisjoint(inside), f"{at} is in two units"
            assert len(set(inside)) == len(inside), f"{at} is twice in {group.name}"
            places[at].update(inside)
            seen[at] += len(inside)
    for frozen in graph.frozen:
        assert frozen.reason.text
        seen[frozen.tensor, frozen.axis] += frozen.count
    tensors = dict([*net.named_parameters(), *net.named_buffers()])
    wanted = {
        (name, axis): size
        for name, tensor in tensors.items()
        for axis, size in enumerate(tensor.shape)
        if size > 1
    }
    assert seen == wanted


@each_net
def test_every_index_of_every_axis_is_in_one_unit_or_frozen_with_a_reason(kind):
    net, graph = make(kind)[0], graph_of(kind)
    assert_all_accounted_for(net, graph)


@each_net
def test_tracing_and_proving_leave_the_network_and_the_random_state_alone(kind):
    net, inputs = make(kind)
    net.train()
    before = picture(net)
    trace(net, inputs, **kind.options).verify(net, inputs)
    assert_untouched(net, before)


@each_net
def test_tracing_twice_says_the_same(kind):
    first, second = graph_of(kind), traced(kind)[2]
    assert repr(first) == repr(second)
    assert first.frozen == second.frozen
    assert slices(first) == slices(second)


def slices(graph: ChannelGraph) -> list[Any]:
    return [
        (group.name, [(m.tensor, m.axis, m.indices.tolist()) for m in group.members])
        for group in graph.groups
    ]


@each_net
def test_a_group_is_one_width_and_no_narrower_than_two(kind):
    graph = graph_of(kind)
    for group in graph.groups:
        assert {len(member.indices) for member in group.members} == {group.width}
        assert group.width > 1
        assert 0 < group.params_share <= 1


@each_net
def test_names_of_groups_are_unique(kind):
    graph = graph_of(kind)
    names = [group.name for group in graph.groups]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("kind", COUNTED, ids=lambda kind: kind.__name__)
def test_full_widths_cost_what_torch_counts(kind):
    (net, inputs), graph = make(kind), graph_of(kind)
    assert graph.macs() == counted_macs(net, inputs)
    assert graph.params() == sum(parameter.numel() for parameter in net.parameters())


@each_net
def test_narrower_networks_cost_less(kind):
    graph = graph_of(kind)
    for group in graph.groups:
        narrowing = range(group.width, 0, -1)
        params = [graph.params({group.name: width}) for width in narrowing]
        macs = [graph.macs({group.name: width}) for width in narrowing]
        assert all(more > less for more, less in pairwise(params))
        assert all(more >= less for more, less in pairwise(macs))
