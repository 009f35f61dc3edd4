"""What holds for the channel graph of every network."""

from collections import Counter

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prunekit.graph import ChannelGraph, trace
from tests.nets import NETS, Net, make

each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def traced(kind: type[Net]) -> tuple[Net, torch.Tensor, ChannelGraph]:
    net, image = make(kind)
    return net, image, trace(net, image)


@each_net
def test_widths_are_those_worked_by_hand(kind):
    _, _, graph = traced(kind)
    assert tuple(sorted((group.width for group in graph.groups), reverse=True)) == kind.widths


@each_net
def test_reversing_the_units_of_a_group_changes_nothing(kind):
    net, image, graph = traced(kind)
    result = graph.verify(net, image)
    assert result.holds, result
    assert result.difference.dtype == "float64"


@each_net
def test_every_index_of_every_axis_is_in_one_unit_or_frozen_with_a_reason(kind):
    net, _, graph = traced(kind)
    seen = Counter()
    for group in graph.groups:
        for member in group.members:
            places = member.indices.ravel().tolist()
            assert len(set(places)) == len(places)
            seen[member.tensor, member.axis] += len(places)
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
def test_tracing_leaves_the_network_and_the_random_state_alone(kind):
    net, image = make(kind)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    random = torch.random.get_rng_state()
    net.train()
    trace(net, image).verify(net, image)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert torch.equal(random, torch.random.get_rng_state())
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


@each_net
def test_names_of_groups_are_unique(kind):
    _, _, graph = traced(kind)
    names = [group.name for group in graph.groups]
    assert len(set(names)) == len(names)


@each_net
def test_full_widths_cost_what_torch_counts(kind):
    net, image, graph = traced(kind)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(image)
    assert graph.macs() == counter.get_total_flops() // 2
    assert graph.params() == sum(parameter.numel() for parameter in net.parameters())
