"""What is zero in channels that are switched off, so that a product may sum over them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.graph import trace
from tests.nets import conv, point

IMAGE = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))


class Scores(nn.Module):
    """Pixels times pixels, each side after whatever the test asks for."""

    def __init__(self, left, right) -> None:
        super().__init__()
        self.head, self.q, self.k, self.tail = conv(3, 8), point(8, 6), point(8, 6), conv(8, 3)
        self.shift, self.change = nn.Parameter(torch.rand(1)), nn.Parameter(torch.rand(6, 1))
        self.mix, self.sides = point(6, 6), (left, right)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        q, k = (
            side(self, layer(x).flatten(2))
            for side, layer in zip(self.sides, (self.q, self.k), strict=True)
        )
        scores = q.transpose(1, 2) @ k
        return self.tail((x.flatten(2) @ scores).view_as(x))


ZERO = {
    "itself": lambda _, x: x,
    "rectified": lambda _, x: F.relu(x),
    "gated": lambda _, x: x * x.sigmoid(),
    "divided by its length": lambda _, x: F.normalize(x, dim=-1),
    "divided by what may be nothing": lambda _, x: x / x.norm(dim=-1, keepdim=True),
    "times a number for all": lambda m, x: x * m.shift,
    "plus a number for each": lambda m, x: x + m.change,
    "where it is large": lambda _, x: torch.where(x > 0, x, 0.0),
    "mixed again": lambda m, x: m.mix(x.exp().unsqueeze(-1)).squeeze(-1),
    "times zero": lambda _, x: x.exp() * 0,
}
OTHER = {
    "plus one": lambda _, x: F.elu(x) + 1,
    "plus one in place": lambda _, x: F.elu(x).add_(1),
    "plus a number for all": lambda m, x: x + m.shift,
    "exponential": lambda _, x: x.exp(),
    "sigmoid": lambda _, x: x.sigmoid(),
    "at least": lambda _, x: x.clamp(min=1e-3),
    "moved": lambda _, x: x.exp().roll(1, dims=2).contiguous(),
    "copied": lambda _, x: torch.empty_like(x).copy_(x.exp()),
    "gated by what is not": lambda _, x: x.sigmoid() * x.exp(),
}


def exact(left, right) -> dict[int, bool]:
    graph = trace(Scores(left, right), IMAGE)
    return {group.width: group.exact for group in graph.groups}


@pytest.mark.parametrize("side", ZERO.values(), ids=ZERO)
def test_a_product_of_what_is_zero_is_exact(side):
    assert exact(side, side) == {8: True, 6: True}


@pytest.mark.parametrize("side", OTHER.values(), ids=OTHER)
def test_a_product_of_what_is_not_zero_is_not(side):
    assert exact(side, side) == {8: True, 6: False}


@pytest.mark.parametrize("side", OTHER.values(), ids=OTHER)
def test_it_is_enough_that_one_side_is_zero(side):
    assert exact(side, ZERO["itself"])[6]
    assert exact(ZERO["rectified"], side)[6]
