"""Laws of removed blocks: what removal is, what it costs, what the proof refuses."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from prunekit.depth import Blocks, find_blocks, parts_of, plan_blocks
from prunekit.errors import SurgeryError, VerificationError
from prunekit.graph import ChannelGraph, trace
from prunekit.surgery import Passthrough, apply, verify
from tests.depth.nets import NETS, BlockNet, Edsr, Projected, Rcan, ResBlock, Unadded, built, image
from tests.surgery.test_store import bits
from tests.untouched import assert_untouched, picture

CASES = [(kind, name) for kind in NETS for name in kind.found]


@cache
def looked_at(kind: type[BlockNet]) -> tuple[BlockNet, ChannelGraph, Blocks]:
    net = built(kind)
    graph = trace(net, image())
    return net, graph, find_blocks(net, graph, image())


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_removal_is_proven_and_costs_what_is_predicted(kind, name):
    net, graph, _ = looked_at(kind)
    before = picture(net)
    plan = plan_blocks(graph, [name])
    slim = apply(plan, net)
    assert_untouched(net, before)
    assert type(slim) is kind
    assert isinstance(slim.get_submodule(name), Passthrough)
    assert not [tensor for tensor in slim.state_dict() if tensor.startswith(f"{name}.")]
    proof = verify(net, slim, plan, image())
    assert proof.max_error == proof.generic_error == 0
    assert len(proof.input_shapes) == 2
    left = trace(slim, image())
    assert (left.params(), left.macs()) == (plan.params[1], plan.macs[1])
    assert (graph.params(), graph.macs()) == (plan.params[0], plan.macs[0])


@pytest.mark.parametrize("kind", [kind for kind in NETS if kind.found])
def test_all_that_may_leave_leaves_at_once(kind):
    net, graph, blocks = looked_at(kind)
    plan = plan_blocks(graph, [part.name for part in parts_of(graph, blocks)])
    slim = apply(plan, net)
    verify(net, slim, plan, image())
    left = trace(slim, image())
    assert (left.params(), left.macs()) == (plan.params[1], plan.macs[1])
    assert find_blocks(slim, left, image()).found == ()


def test_groups_of_a_block_are_gone_and_others_whole():
    _, graph, _ = looked_at(Edsr)
    plan = plan_blocks(graph, ["body.1"])
    assert plan.widths == {**graph.widths, "body.1 hidden": 0}


def test_a_block_in_another_goes_with_it():
    net, graph, _ = looked_at(Rcan)
    plan = plan_blocks(graph, ["body.0.body.1", "body.0"])
    assert plan == plan_blocks(graph, ["body.0"])
    verify(net, apply(plan, net), plan, image())


def test_the_slim_network_trains_and_hooks_of_others_stay():
    net = built(Edsr)
    calls = []
    net.tail.register_forward_hook(lambda *_: calls.append(1))
    slim = apply(plan_blocks(trace(net, image()), ["body.0"]), net.train())
    assert all(module.training for module in slim.modules())
    calls.clear()
    slim(image()).sum().backward()
    assert calls == [1]
    assert all(parameter.grad is not None for parameter in slim.parameters())


# what the proof refuses


def test_a_module_that_is_no_block_is_refused():
    net, graph, _ = looked_at(Unadded)
    assert isinstance(net.body[0], Projected)
    plan = plan_blocks(graph, ["body.0"])
    with pytest.raises(VerificationError, match=r"without the blocks 'body.0'"):
        verify(net, apply(plan, net), plan, image())


def test_a_network_without_another_block_is_refused():
    net, graph, _ = looked_at(Edsr)
    plan = plan_blocks(graph, ["body.0"])
    other = replace(plan, blocks=("body.1",))
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(net, apply(other, net), plan, image())


def test_a_network_that_kept_the_block_is_refused():
    net, graph, _ = looked_at(Edsr)
    plan = plan_blocks(graph, ["body.0"])
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(net, apply(replace(plan, blocks=()), net), plan, image())


class WrittenInto(BlockNet):
    """What the blocks return is written into: without them that would be what went in."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = ResBlock(), ResBlock()

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.two(self.one(x))
        return self.tail(x + y.clamp_(min=0))


def test_blocks_whose_output_is_written_into_are_refused_together():
    net = built(WrittenInto)
    graph = trace(net, image())
    alone = plan_blocks(graph, ["one"])
    verify(net, apply(alone, net), alone, image())
    both = plan_blocks(graph, ["one", "two"])
    with pytest.raises(VerificationError, match="written to in place"):
        verify(net, apply(both, net), both, image())


class Asking(BlockNet):
    """The network asks a block for an attribute, which nothing else has."""

    def __init__(self) -> None:
        super().__init__()
        self.block = ResBlock()
        self.block.gain = 2.0

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.block(self.head(x)) * self.block.gain)


def test_a_block_that_is_asked_for_an_attribute_is_refused():
    net = built(Asking)
    plan = plan_blocks(trace(net, image()), ["block"])
    with pytest.raises(VerificationError, match="has no attribute 'gain'"):
        verify(net, apply(plan, net), plan, image())


@pytest.mark.parametrize("name", ["body.9", "nowhere", "body.0.one.weight", ""])
def test_a_block_that_is_not_there_is_refused(name):
    net, graph, _ = looked_at(Edsr)
    plan = replace(plan_blocks(graph, ["body.0"]), blocks=(name,))
    with pytest.raises(SurgeryError, match=f"removes the block '{name}', which this Edsr does not"):
        apply(plan, net)


def test_a_passthrough_needs_a_tensor():
    tensor = torch.ones(2)
    assert Passthrough()(tensor, (2, 3)) is tensor
    assert Passthrough()((2, 3), x=tensor) is tensor
    with pytest.raises(TypeError, match="without a tensor"):
        Passthrough()((2, 3))


def test_every_reference_to_a_block_is_replaced():
    net = built(Edsr)
    net.again = net.body[1]
    net.listed = [net.body[1]]
    plan = plan_blocks(trace(net, image()), ["body.1"])
    slim = apply(plan, net)
    assert slim.again is slim.body[1] is slim.listed[0]
    assert isinstance(slim.again, Passthrough)
    assert not [name for name, *_ in bits(slim) if name.startswith(("again", "body.1"))]


def test_a_sequential_of_blocks_is_left_with_what_hands_on():
    net, graph, _ = looked_at(Edsr)
    slim = apply(plan_blocks(graph, ["body.0", "body.1", "body.2"]), net)
    assert [type(module) for module in slim.body] == [Passthrough] * 3 + [nn.Conv2d]
