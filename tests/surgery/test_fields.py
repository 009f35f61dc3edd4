"""Layers of torch keep their sizes true: a plan that forgets one is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import SurgeryError
from prunekit.graph import trace
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from prunekit.surgery.fields import untrue_fields


class Layers(nn.Module):
    """One layer of every kind that keeps sizes, between two convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.batch = nn.BatchNorm2d(8)
        self.group = nn.GroupNorm(1, 8)
        self.layer = nn.LayerNorm(8)
        self.rms = nn.RMSNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.linear = nn.Linear(8, 8)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.group(self.batch(self.up(self.grouped(self.head(x)))))
        tokens = self.rms(self.layer(y.flatten(2).transpose(1, 2)))
        tokens = self.linear(tokens + self.attention(tokens, tokens, tokens)[0])
        return self.tail(tokens.transpose(1, 2).reshape(y.shape))


@pytest.fixture(scope="module")
def dense() -> nn.Module:
    torch.manual_seed(0)
    return Layers().eval()


@pytest.fixture(scope="module")
def plan(dense) -> Plan:
    graph = trace(dense, torch.rand(1, 3, 4, 4))
    scores = score_groups(dense, graph.groups, "l2")
    return make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))


def test_the_plan_of_every_layer_keeps_its_sizes_true(dense, plan):
    assert list(untrue_fields(dense, apply(plan, dense))) == []
    told = {f"{change.module}.{change.attribute}" for change in plan.attributes}
    assert told >= {
        "grouped.groups",
        "up.in_channels",
        "batch.num_features",
        "group.num_channels",
        "layer.normalized_shape[0]",
        "attention.embed_dim",
        "linear.in_features",
    }


def test_a_plan_that_forgets_a_size_is_refused(dense, plan):
    for change in plan.attributes:
        others = tuple(other for other in plan.attributes if other != change)
        with pytest.raises(SurgeryError, match=rf"{change.module}\."):
            apply(replace(plan, attributes=others), dense)


def test_sizes_that_were_untrue_before_are_let_be(dense, plan):
    dense.batch.num_features = 77
    try:
        others = tuple(c for c in plan.attributes if c.attribute != "num_features")
        assert apply(replace(plan, attributes=others), dense).batch.num_features == 77
    finally:
        dense.batch.num_features = 8


class Uncalled(nn.Module):
    """Layers whose weights are read without calling them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.table = nn.Embedding(4, 8)
        self.pair = nn.Bilinear(8, 8, 8, bias=False)
        self.batch = nn.BatchNorm2d(8)
        self.group = nn.GroupNorm(1, 8)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x) + self.table.weight[1].view(1, -1, 1, 1)
        batch, group = self.batch, self.group
        y = functional.batch_norm(y, batch.running_mean, batch.running_var, batch.weight)
        y = functional.group_norm(y, 1, group.weight, group.bias)
        y = torch.einsum("nihw,oij,j->nohw", y, self.pair.weight, self.table.weight[2])
        return self.tail(y)


def test_layers_that_are_not_called_keep_their_sizes_true():
    torch.manual_seed(0)
    dense, inputs = Uncalled().eval(), torch.rand(1, 3, 4, 4)
    graph = trace(dense, inputs)
    scores = score_groups(dense, graph.groups, "l2")
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    slim = apply(plan, dense)
    assert slim.table.embedding_dim == slim.head.out_channels == 4
    assert slim.pair.in1_features == slim.pair.in2_features == 4
    assert slim.batch.num_features == slim.group.num_channels == 4
    verify(dense, slim, plan, inputs)  # raises where it is not the same network
