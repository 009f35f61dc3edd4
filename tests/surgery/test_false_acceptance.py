"""Wrong slim networks that a careless proof would accept, since something hides the mistake."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import prunekit
from prunekit.errors import PlanError, SurgeryError, VerificationError
from prunekit.graph import trace
from prunekit.plan import AttributeChange, Plan, plan_units
from prunekit.surgery import apply, verify
from tests.nets import conv, point

IMAGE = torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(0))
FILTER = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 4, "min_width": 4}


class Parts(nn.Module):
    """A chain of three layers, and beside it another."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b, self.c = conv(3, 16), point(16, 16), point(16, 3)
        self.h, self.t = point(3, 16), point(16, 3)
        self.gate = nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.full((1,), 2.0))

    def chain(self, x: Tensor) -> Tensor:
        return self.c(F.relu(self.b(F.relu(self.a(x)))))


class DividedByNothing(Parts):
    """Brings every channel to the same energy: 0/0 where one is switched off."""

    def forward(self, x):
        y = self.b(F.relu(self.a(x)))
        return self.c(y / y.square().mean((2, 3), keepdim=True).sqrt()) + self.t(self.h(x))


class ClosedGate(Parts):
    """Adds nothing yet, and has no square root with generic weights."""

    def forward(self, x):
        return x * torch.sqrt(self.scale - 1) + self.gate * self.chain(x)


class LargeBeside(Parts):
    """One output is ten million times as large as the other."""

    def forward(self, x):
        return 1e7 * self.t(F.relu(self.h(x))), self.chain(x)


class Frozen(Parts):
    """Nothing is trained any more, and the chain adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        nn.init.zeros_(self.c.weight)
        nn.init.zeros_(self.c.bias)
        self.requires_grad_(requires_grad=False)

    def forward(self, x):
        return self.t(F.relu(self.h(x))) + self.chain(x)


def misaligned(net: nn.Module) -> Plan:
    """The second layer reads other channels than the first one makes."""
    graph = trace(net, IMAGE)
    names = [g.name for g in graph.groups if any(m.tensor == "b.weight" for m in g.members)]
    (first,) = [n for n in names if any(m.tensor == "a.weight" for m in graph[n].members)]
    plan = plan_units(graph, {first: tuple(range(8))})
    tensors = [
        replace(t, kept={**t.kept, 1: tuple(range(8, 16))}) if t.name == "b.weight" else t
        for t in plan.tensors
    ]
    return replace(plan, tensors=tuple(tensors))


@pytest.mark.parametrize("kind", [DividedByNothing, ClosedGate, LargeBeside, Frozen])
def test_a_misaligned_plan_is_refused_whatever_hides_it(kind):
    net = kind()
    plan = misaligned(net)
    with pytest.raises(VerificationError):
        verify(net, apply(plan, net), plan, IMAGE)


class RootOfWidth(Parts):
    """Not finite when narrower, behind a gate that is still closed."""

    def forward(self, x):
        y = F.relu(self.a(x))
        left = len(y[0]) - 12
        return self.t(F.relu(self.h(x))) + self.gate * self.c(self.b(y)) * torch.sqrt(
            1 + self.gate * left
        )


def test_a_slim_network_that_is_not_finite_is_no_proof():
    result = prunekit.prune(RootOfWidth(), {"prune": FILTER}, IMAGE)
    assert result.model.a.out_channels == 16
    assert result.model.h.out_channels == 8


class SizedByWidth(Parts):
    def forward(self, x):
        y = F.relu(self.a(x))
        return F.interpolate(self.c(self.b(y)), scale_factor=y.shape[1] / 8)


class CutByShare(Parts):
    """What is cut where follows from a width, and is no channel that anybody chose."""

    def forward(self, x):
        y = self.a(x)
        end = int(y.shape[1] * 0.5)
        y = torch.cat([F.relu(y[:, :end]), y[:, end:]], dim=1)
        return self.t(F.relu(self.h(x))) + self.c(F.relu(self.b(y)))


class ChosenByShare(Parts):
    """Which layer runs follows from a width."""

    def forward(self, x):
        y = F.relu(self.a(x))
        layer = self.b if y.shape[1] * 0.5 > 7 else self.h
        return self.t(F.relu(self.h(x))) + self.c(F.conv2d(y, self.b.weight, layer.bias))


class DecidedByWidth(Parts):
    """A branch that a narrower network does not take."""

    def forward(self, x):
        y = F.relu(self.a(x))
        y = self.b(y) * (2.0 if y.shape[1] > 13 else 3.0)
        return self.t(F.relu(self.h(x))) + self.c(F.relu(y))


class DecidedByShare(Parts):
    """The same by a share of it."""

    def forward(self, x):
        y = F.relu(self.a(x))
        y = self.b(y) * (2.0 if y.shape[1] / 2 > 7 else 3.0)
        return self.t(F.relu(self.h(x))) + self.c(F.relu(y))


class SmallerOfTwo(Parts):
    """A number that is the width only of a narrower network."""

    def forward(self, x):
        y = F.relu(self.a(x))
        return self.t(F.relu(self.h(x))) + self.c(F.relu(self.b(y) * min(y.shape[1], 14)))


class Levels(Parts):
    """A number is where channels are split, and of how many levels an image is."""

    def __init__(self) -> None:
        super().__init__()
        self.levels = 8

    def forward(self, x):
        first, second = torch.split(F.relu(self.a(x)), [self.levels, self.levels], dim=1)
        return torch.round(x * self.levels) / self.levels + 1e-3 * (first - second).mean()


def test_the_size_of_the_output_does_not_follow_a_width():
    net = SizedByWidth()
    result = prunekit.prune(net, {"prune": FILTER}, IMAGE)
    assert result.model(IMAGE).shape == net(IMAGE).shape
    assert result.model.a.out_channels == 16


@pytest.mark.parametrize("kind", [CutByShare, ChosenByShare])
def test_what_is_cut_or_chosen_by_a_width_does_not_follow_it(kind):
    result = prunekit.prune(kind(), {"prune": FILTER}, IMAGE)
    assert result.model.a.out_channels == 16
    assert result.model.h.out_channels == 8
    reasons = [group.reason for group in result.plan.groups if group.reason]
    assert "gets another size or another tensor when channels leave" in reasons[0]


@pytest.mark.parametrize("kind", [DecidedByWidth, DecidedByShare, SmallerOfTwo])
def test_what_is_decided_by_a_width_is_so_at_the_narrower_one_too(kind):
    result = prunekit.prune(kind(), {"prune": FILTER}, IMAGE)
    assert result.model.a.out_channels == 16
    assert result.model.h.out_channels == 8


def test_a_number_that_means_two_things_is_not_changed():
    with pytest.raises(PlanError, match="no group may get narrower"):
        prunekit.prune(Levels(), {"prune": FILTER}, IMAGE)


class Tempered(Parts):
    def __init__(self) -> None:
        super().__init__()
        self.temperature = 4

    def forward(self, x):
        return self.chain(x) / self.temperature


@pytest.mark.parametrize(
    "change",
    [
        AttributeChange("", "temperature", 4, 100),
        AttributeChange("", "forward.__globals__['IMAGE'].ndim", 4, 3),
        AttributeChange("", "__class__.training", 1, 0),
        AttributeChange("", "chain.__self__.temperature", 4, 5),
    ],
)
def test_a_plan_changes_nothing_that_it_has_no_reason_to(change):
    net = Tempered()
    graph = trace(net, IMAGE)
    plan = plan_units(graph, {group.name: tuple(range(8)) for group in graph.groups})
    wrong = replace(plan, attributes=(*plan.attributes, change))
    with pytest.raises((SurgeryError, VerificationError)):
        verify(net, apply(wrong, net), wrong, IMAGE)
    assert IMAGE.ndim == 4
