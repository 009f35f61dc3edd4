"""Small networks with every kind of weight that can be masked, and their masks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from prunekit.graph import trace
from prunekit.plan import Plan, plan_units
from prunekit.sparse import MaskRule, Masks, apply_masks, choose_masks


class Mixed(nn.Module):
    """Plain, grouped, depthwise and transposed convolutions, a linear layer, a table, a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Linear(8, 12)
        self.norm = nn.GroupNorm(2, 12)
        self.up = nn.ConvTranspose2d(12, 3, 2, stride=2)
        self.table = nn.Parameter(torch.rand(1, 12, 1, 1))
        self.register_buffer("gain", torch.ones(3, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.grouped(self.head(x)))
        x = self.point(x.movedim(1, -1)).movedim(-1, 1)
        return self.up(self.norm(x) + self.table) * self.gain


WEIGHTS = ("head.weight", "grouped.weight", "depthwise.weight", "point.weight", "up.weight")


def mixed(seed: int = 0) -> Mixed:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Mixed().eval()


def no_plan(net: nn.Module) -> Plan:
    """A plan that removes nothing."""
    return plan_units(trace(net, torch.rand(1, 3, 12, 12, dtype=next(net.parameters()).dtype)), {})


def masked(net: nn.Module, rule: MaskRule) -> tuple[nn.Module, Masks]:
    masks = choose_masks(net, rule)
    return apply_masks(net, masks), masks


def half_of_all(**options) -> MaskRule:
    return MaskRule("sparsity", 0.5, **options)
