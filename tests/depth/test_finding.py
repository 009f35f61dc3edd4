"""Blocks are found where they are, and refused with the reason where they cannot leave."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunekit.depth import find_blocks
from prunekit.errors import TraceError
from prunekit.graph import trace
from tests.depth.nets import NETS, BlockNet, Edsr, ResBlock, built, image
from tests.untouched import assert_untouched, picture


@pytest.mark.parametrize("kind", NETS)
def test_blocks_are_those_worked_out_by_hand(kind):
    net = built(kind)
    before = picture(net)
    blocks = find_blocks(net, trace(net, image()), image())
    assert_untouched(net, before)
    assert tuple(block.name for block in blocks.found) == kind.found
    assert blocks.refused.keys() == kind.refused.keys()
    for name, reason in kind.refused.items():
        assert reason in blocks.refused[name]


def test_a_block_knows_its_costs_and_its_channels():
    net = built(Edsr)
    first = find_blocks(net, trace(net, image()), image()).found[0]
    weights = 6 * 8 * 9 + 8 * 6 * 9
    assert first.params == weights + 8 + 6
    assert first.macs == weights * 8 * 8
    assert first.groups == ("trunk",)


def test_a_block_under_two_names_is_one_block():
    net = built(Edsr)
    net.again = net.body[1]
    blocks = find_blocks(net, trace(net, image()), image())
    assert len(blocks.found) == 3
    assert not blocks.refused


class SmallBranch(BlockNet):
    """What is added is zero as the network stands, as after an initialisation to zero."""

    found = ("block",)

    def __init__(self) -> None:
        super().__init__()
        self.block = ResBlock()
        nn.init.zeros_(self.block.two.weight)
        nn.init.zeros_(self.block.two.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.block(self.head(x)))


def test_the_weights_of_the_network_do_not_matter():
    net = built(SmallBranch)
    blocks = find_blocks(net, trace(net, image()), image())
    assert tuple(block.name for block in blocks.found) == SmallBranch.found


def test_a_block_of_frozen_channels_is_a_block():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.one(x)

    net = nn.Sequential(Block(), nn.Conv2d(3, 3, 1)).eval()
    (block,) = find_blocks(net, trace(net, image()), image()).found
    assert block.name == "0"
    assert block.groups == ()


def test_the_graph_of_another_network_is_refused():
    graph = trace(built(Edsr), image())
    with pytest.raises(TraceError, match="of another network"):
        find_blocks(nn.Conv2d(3, 3, 1), graph, image())


def test_a_network_that_computes_nothing_finite_is_refused():
    class Broken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.one(x) / torch.zeros_like(x)

    net = Broken()
    with pytest.raises(TraceError, match="its output is not finite"):
        find_blocks(net, trace(net, image()), image())
