"""Peak memory: worked by hand, at other widths, and against tensors that a real pass holds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prunekit.graph import trace
from prunekit.nets import EDSR, create
from prunekit.plan import PeakMemory, Policy, narrowest_plan
from prunekit.surgery import apply
from tests.nets import conv

PLANE = 4 * 10 * 10  # bytes of a channel of 10x10 pixels


class Chain(nn.Module):
    """Wide between narrow ends."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 8), nn.ReLU(inplace=True), conv(8, 20), conv(20, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Skip(nn.Module):
    """A tensor that is held over two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two, self.tail = conv(3, 8), conv(8, 16), conv(16, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        return self.tail(y + self.two(self.one(y)))


@pytest.mark.parametrize(
    ("net", "channels"),
    [
        (Chain(), 8 + 20),  # the second layer reads 8 and makes 20; ReLU is in place
        (Skip(), 8 + 16 + 8),  # the skip, what `two` reads, what it makes
    ],
    ids=["Chain", "Skip"],
)
def test_the_peak_is_that_worked_by_hand(net, channels):
    graph = trace(net, torch.rand(1, 3, 10, 10))
    assert PeakMemory(graph)({}) == channels * PLANE
    assert PeakMemory(graph, element_size=2)({}) == channels * PLANE / 2


def test_the_peak_moves_with_the_widths():
    graph = trace(Chain(), torch.rand(1, 3, 10, 10))
    wide, narrow = sorted(graph.widths, key=graph.widths.__getitem__, reverse=True)
    memory = PeakMemory(graph)
    assert memory({wide: 2}) == (8 + 3) * PLANE - PLANE  # now 8 and 2 of the second layer
    assert memory({narrow: 1}) == (20 + 3) * PLANE


def test_views_and_halves_take_no_memory_of_their_own():
    class Halves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 12), conv(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            a, b = self.head(x).chunk(2, dim=1)
            return self.tail(a * b)

    graph = trace(Halves(), torch.rand(1, 3, 10, 10))
    assert PeakMemory(graph)({}) == (12 + 6) * PLANE


class Held(TorchDispatchMode):
    """The most bytes of tensors made during a pass that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._sizes = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        known = {
            leaf.untyped_storage()._cdata
            for leaf in tree_leaves((args, kwargs))
            if isinstance(leaf, Tensor)
        }
        for tensor in tree_leaves(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in known:
                self._sizes[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
        self._sizes = {key: it for key, it in self._sizes.items() if not it[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._sizes.values()))
        return result


@pytest.mark.parametrize("name", ["realesr_animevideov3_x4", "imdn_x2", "edsr"])
def test_a_real_pass_holds_no_less_and_hardly_more(name):
    """Code of a network may hold on to a tensor in a variable for longer than it is read."""
    net = EDSR(channels=16, blocks=2) if name == "edsr" else create(name)
    image = torch.rand(1, 3, 16, 16)
    graph = trace(net, image)
    plan = narrowest_plan(graph, Policy())
    for model, widths in ((net.eval(), {}), (apply(plan, net).eval(), plan.widths)):
        with torch.no_grad(), Held() as held:
            model(image)
        expected = PeakMemory(graph)(widths)
        assert expected <= held.peak <= 1.5 * expected
