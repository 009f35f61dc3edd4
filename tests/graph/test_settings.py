"""Attributes from which the code computes a size: the value that makes it the right one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import TraceError
from prunekit.graph import ChannelGraph, trace
from prunekit.graph.integers import Attribute
from prunekit.plan import plan_units
from prunekit.surgery import apply, verify
from tests.nets import conv

IMAGE = torch.rand(1, 3, 8, 8)


class Reshaped(nn.Module):
    """Reshapes 12 channels to a size that is computed from attributes."""

    def __init__(self, size: Any, **attributes: int) -> None:
        super().__init__()
        self.size = size
        for name, value in attributes.items():
            setattr(self, name, value)
        self.head, self.mid, self.tail = conv(3, 12), conv(12, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return self.tail(F.relu(self.mid(self.head(x).reshape(n, self.size(self), h, w))))


def traced(size: Any, **attributes: int) -> tuple[nn.Module, ChannelGraph]:
    net = Reshaped(size, **attributes)
    return net, trace(net, IMAGE)


def head(graph: ChannelGraph) -> str:
    return next(group.name for group in graph.groups if group.width == 12)


@pytest.mark.parametrize(
    ("size", "attributes", "after"),
    [
        (lambda m: m.total // 2, {"total": 24}, {"total": 18}),
        (lambda m: m.total // 2, {"total": 25}, {"total": 18}),
        (lambda m: m.total - 5, {"total": 17}, {"total": 14}),
        (lambda m: 20 - m.rest, {"rest": 8}, {"rest": 11}),
        (lambda m: m.half * 2 + m.head.out_channels % 1, {"half": 6}, None),
        (lambda m: m.third * 3, {"third": 4}, {"third": 3}),
    ],
)
def test_the_value_that_gives_the_width_is_found(size, attributes, after):
    net, graph = traced(size, **attributes)
    name = head(graph)
    if after is None:
        assert not graph.allows({name: 9})
        assert graph.allows({name: 10})
        return
    assert graph.allows({name: 9})
    assert graph.settings({name: 9}) == {Attribute("", k): v for k, v in after.items()}
    plan = plan_units(graph, {name: tuple(range(9))})
    slim = apply(plan, net)
    assert {key: getattr(slim, key) for key in after} == after
    assert verify(net, slim, plan, IMAGE).passed
    assert {key: getattr(net, key) for key in attributes} == attributes


def test_nothing_changes_at_full_width():
    _, graph = traced(lambda m: m.total // 2, total=25)
    assert graph.settings({}) == {}


def test_widths_between_the_multiples_are_not_offered():
    _, graph = traced(lambda m: m.third * 3, third=4)
    name = head(graph)
    assert [narrow[name] for narrow in graph.narrower([name])] == [9, 6, 3]
    with pytest.raises(TraceError, match="no attribute has a value"):
        graph.settings({name: 10})


def test_one_attribute_that_is_asked_for_two_values_keeps_two_groups_in_step():
    class Twice(Reshaped):
        def forward(self, x: Tensor) -> Tensor:
            n, _, h, w = x.shape
            x = self.head(x).reshape(n, self.total // 2, h, w)
            return self.tail(F.relu(self.mid(x)).reshape(n, self.total // 3, h, w))

    net = Twice(None, total=24)
    graph = trace(net, IMAGE)
    (names,) = graph.balances
    found = list(graph.narrower(names))
    assert found
    for narrow in found:
        plan = plan_units(graph, {name: tuple(range(width)) for name, width in narrow.items()})
        slim = apply(plan, net)
        assert (slim.total // 2, slim.total // 3) == (slim.head.out_channels, slim.mid.out_channels)
        assert verify(net, slim, plan, IMAGE).passed
