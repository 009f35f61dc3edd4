"""Code that computes with a width or by masks: what leaves is proven, and held only if it must."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import prunekit
from prunekit.surgery import Original, apply, prove
from tests.graph.test_outside import RECIPE
from tests.nets import conv, point


class Attention(nn.Module):
    """Scales its scores by a width, in one of the ways that people write."""

    def __init__(self, scale) -> None:
        super().__init__()
        self.head, self.tail, self.dim, self.scale = conv(3, 8), conv(8, 3), 8, scale
        self.q, self.k, self.v, self.out = (point(8, 8) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        batch, _, height, width = x.shape
        q, k, v = (f(x).reshape(batch, self.dim, -1) for f in (self.q, self.k, self.v))
        scores = (q * self.scale(self, q)).transpose(1, 2) @ k
        y = v @ scores.softmax(-1).transpose(1, 2)
        return self.tail(x + self.out(y.reshape(batch, -1, height, width)))


SCALES = {
    "root of an attribute": lambda net, _: net.dim**-0.5,
    "root of an attribute made an integer": lambda net, _: int(net.dim) ** -0.5,
    "root of a shape": lambda _, q: q.shape[1] ** -0.5,
    "root of a shape made an integer": lambda _, q: int(q.shape[1]) ** -0.5,
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_what_is_scaled_by_a_width_is_by_that_which_is_left(scale):
    torch.manual_seed(0)
    net, image = Attention(scale).eval(), torch.rand(1, 3, 8, 8)
    result = prunekit.prune(net, RECIPE, image)
    assert [len(group.kept) for group in result.plan.groups] == [4, 4, 4]
    assert not any(group.reason for group in result.plan.groups)
    assert result.model.dim == 4
    assert net.dim == 8


OTHER = {
    "a share": lambda net, _: 1.0 / net.dim,
    "a share of an integer": lambda net, _: 1.0 / int(net.dim),
    "a constant": lambda net, _: torch.tensor(net.dim**-0.5),
    "another power": lambda net, _: net.dim**0.25,
}


@pytest.mark.parametrize("scale", OTHER.values(), ids=OTHER)
def test_what_else_is_computed_with_a_size_that_is_kept_may_mean_something_else(scale):
    """As a number of levels does that is a width by chance: these groups stay whole."""
    torch.manual_seed(0)
    net, image = Attention(scale).eval(), torch.rand(1, 3, 8, 8)
    result = prunekit.prune(net, RECIPE, image)
    assert [len(group.kept) for group in result.plan.groups] == [4, 8, 8]
    assert result.model.dim == 8


class ByHue(nn.Module):
    """Writes where the values that it computes say, as conversions of colours do."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.tail = conv(3, 8), conv(8, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(self.head(x)).softmax(1)
        y = self.tail(x)
        red, bright = y[:, 0].clone(), y[:, 1] > y[:, 2]
        red[bright] = (2 * y[:, 1])[bright]
        return torch.stack([red, y[:, 1], y[:, 2]], 1)


def test_sizes_that_values_decide_may_differ():
    torch.manual_seed(0)
    net, image = ByHue().eval(), torch.rand(1, 3, 8, 8)
    result = prunekit.prune(net, RECIPE, image)
    assert [len(group.kept) for group in result.plan.groups] == [4, 4]
    assert not result.plan.exact


def test_the_second_proof_of_a_network_says_what_a_fresh_one_does():
    torch.manual_seed(0)
    net, image = ByHue().eval(), torch.rand(1, 3, 8, 8)
    original = Original(net, image)
    assert not original.references.reused
    for ratio in (0.25, 0.5, 0.75):
        section = {**RECIPE["prune"], "target": {"channel_ratio": ratio}}
        plan = prunekit.prune(net, {"prune": section}, image).plan
        kept = prove(original, apply(plan, net), plan)
        assert kept == prove(Original(net, image), apply(plan, net), plan)
    assert original.references.reused


def test_a_network_that_takes_another_way_with_other_values_is_recorded_anew():
    class Chooses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 8), conv(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            bright = x.mean() > 0.9  # as noise is not
            x = self.head(x)
            x = x.relu() if bright else x.sigmoid().relu()
            return self.tail(x * x.mean(1, keepdim=True))

    torch.manual_seed(0)
    net, image = Chooses().eval(), 0.9 + torch.rand(1, 3, 8, 8) / 10
    result = prunekit.prune(net, RECIPE, image)
    assert [len(group.kept) for group in result.plan.groups] == [4]
    assert result.report.proof.generic_error < 1e-9
