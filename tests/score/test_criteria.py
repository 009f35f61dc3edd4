"""Criteria: what they say of a network worked by hand, and what holds for all of them."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from prunekit.errors import PlanError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Policy, Target, make_plan
from prunekit.recipe import OF_WEIGHTS, CriterionName
from prunekit.score import CRITERIA, Calibration, score_groups, score_some
from prunekit.score.signals import watch
from tests.nets import NETS as WIRINGS
from tests.nets import make, point, traced
from tests.score.samples import evidence_of, tiny, two_pixels

NAMES = [name for name in CRITERIA if name != "bn_scale"]
"""All that have something to score in a network without batch norms."""

BY_HAND = {
    "l1": [6, 4, 4, 1],
    "l2": [math.sqrt(18), math.sqrt(8), math.sqrt(10), 1],
    "group_norm": [8.5, 4, 5, 0.5],
    "lamp": [1, 4 / 17.5, 5 / 13.5, 0.5 / 18],
    "fpgm": [7, 10, 7, 6],
    "wn_gamma": [1, 2, 1, 0],
    "taylor": [8 / 3, 16 / 9, 0, 0],
    "taylor2": [16 / 9, 112 / 27, 0, 0],
    "obd": [112 / 9, 64 / 9, 0, 0],
    "fisher": [16, 64 / 9, 0, 0],
    "activation": [3, 4, 0, 0],
    "activation_variance": [1, 4, 0, 0],
    "apoz": [1, 1, 0, 0],
    "reconstruction": [10, 5, 0, 0],
    "reconstruction_varying": [1, 1, 0, 0],
    "output": [320 / 6, 160 / 6, 0, 0],
}

MINIMAL_AT_ZERO = [name for name in NAMES if name not in ("random", "fpgm", "lamp")]


def images(seed: int = 0, scale: int = 2) -> Calibration:
    generator = torch.Generator().manual_seed(seed)
    pairs = [
        (
            torch.rand(2, 3, 8, 8, generator=generator),
            torch.rand(2, 3, 8 * scale, 8 * scale, generator=generator),
        )
        for _ in range(3)
    ]
    return Calibration.taken(pairs, batches=3)


def scores_of(net, graph, criterion, calibration, **options):
    evidence = evidence_of(net, graph, criterion, calibration)
    return score_groups(
        net, graph.groups, criterion, evidence=evidence, outputs=graph.output_axes, **options
    )


@pytest.fixture(scope="module")
def edsr():
    torch.manual_seed(4)
    net = EDSR(channels=8, blocks=2).eval()
    return net, trace(net, torch.rand(1, 3, 8, 8))


def test_recipes_name_every_criterion_and_know_which_look_at_images():
    assert set(get_args(CriterionName)) == {*CRITERIA, "custom"}
    assert {name for name, criterion in CRITERIA.items() if not criterion.needs} == OF_WEIGHTS


@pytest.mark.parametrize("criterion", BY_HAND)
def test_scores_are_those_worked_by_hand(criterion):
    net, graph = tiny()
    (scores,) = scores_of(net, graph, criterion, two_pixels()).values()
    assert scores == pytest.approx(BY_HAND[criterion])


def test_every_criterion_but_chance_and_norms_is_worked_by_hand():
    assert {*BY_HAND, "random", "bn_scale"} == {*CRITERIA}


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("sum", [17, 8, 10, 1]),
        ("mean", [8.5, 4, 5, 0.5]),
        ("max", [16, 4, 9, 1]),
        ("first", [1, 4, 1, 0]),
    ],
)
def test_coupled_slices_are_reduced_as_asked(reduction, expected):
    net, graph = tiny()
    (scores,) = score_groups(net, graph.groups, "group_norm", reduction=reduction).values()
    assert scores == pytest.approx(expected)


def test_a_batch_norm_is_scored_by_its_scale_and_a_group_without_one_is_told():
    net = nn.Sequential(point(3, 4), nn.BatchNorm2d(4), nn.ReLU(), point(4, 5), point(5, 3)).eval()
    with torch.no_grad():
        net[1].weight.copy_(torch.tensor([0.5, -2.0, 0.0, 1.0]))
    graph = trace(net, torch.rand(1, 3, 4, 4))
    found = score_some(net, graph.groups, "bn_scale")
    (scores,) = found.scores.values()
    assert scores.tolist() == [0.5, 2, 0, 1]
    assert list(found.unscored.values()) == ["no batch norm with a scale"]
    with pytest.raises(PlanError, match="cannot be scored: it has no batch norm with a scale"):
        score_groups(net, graph.groups, "bn_scale")


@pytest.mark.parametrize(
    "normed", [torch.nn.utils.weight_norm, nn.utils.parametrizations.weight_norm]
)
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_weight_norm_changes_nothing_for_what_looks_at_whole_units(normed):
    net, graph = tiny()
    criteria = ("wn_gamma", "fisher")
    with torch.no_grad():
        net.make.weight[3] = 0.5  # a direction needs a length
    before = [scores_of(net, graph, criterion, two_pixels()) for criterion in criteria]
    normed(net.make)
    again = trace(net, torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    after = [scores_of(net, again, criterion, two_pixels()) for criterion in criteria]
    for one, two in zip(before, after, strict=True):
        assert next(iter(two.values())) == pytest.approx(next(iter(one.values())))


@pytest.mark.parametrize("criterion", MINIMAL_AT_ZERO)
def test_a_unit_that_is_switched_off_is_the_least_important(edsr, criterion):
    net, graph = edsr
    net = EDSR(channels=8, blocks=2).eval()
    net.load_state_dict(edsr[0].state_dict())
    parameters = dict(net.named_parameters())
    with torch.no_grad():
        for group in graph.groups:
            for member in group.members:
                off = torch.from_numpy(member.indices[5])
                parameters[member.tensor].index_fill_(member.axis, off, 0)
    for scores in scores_of(net, graph, criterion, images()).values():
        assert scores[5] == 0
        assert scores[5] == scores.min()


@pytest.mark.parametrize("criterion", NAMES)
def test_the_same_seed_gives_the_same_scores_and_the_network_is_untouched(edsr, criterion):
    net, graph = edsr
    before = {name: value.clone() for name, value in net.state_dict().items()}
    one, two = (scores_of(net, graph, criterion, images(), seed=3) for _ in range(2))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert not any(module._forward_hooks for module in net.modules())


@pytest.mark.parametrize("criterion", NAMES)
def test_a_larger_ratio_removes_a_superset(edsr, criterion):
    net, graph = edsr
    scores = scores_of(net, graph, criterion, images())
    kept = []
    for ratio in (0.2, 0.4, 0.6):
        plan = make_plan(graph, scores, Target("channel_ratio", ratio), Policy("local", 1, 1))
        kept.append({(group.name, unit) for group in plan.groups for unit in group.kept})
    assert kept[0] > kept[1] > kept[2]


@pytest.mark.parametrize("criterion", [n for n in NAMES if n not in ("random", "fpgm")])
def test_of_equal_units_the_first_stay(criterion):
    net, _ = tiny()
    with torch.no_grad():
        for layer in (net.make, net.read):
            layer.weight.fill_(0.25)
            layer.bias.fill_(0.5)
    graph = trace(net, torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    scores = scores_of(net, graph, criterion, two_pixels())
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    assert [group.kept for group in plan.groups] == [(0, 1)]


@pytest.mark.parametrize("criterion", [n for n in NAMES if n != "random"])
def test_weights_that_are_not_finite_are_refused_by_every_criterion(criterion):
    net, graph = tiny()
    with torch.no_grad():
        net.make.weight[1] = math.nan
    with pytest.raises(PlanError, match="not finite"):
        scores_of(net, graph, criterion, two_pixels())


def test_a_bright_unit_of_small_weights_is_told_by_all_that_look_at_images():
    net, _ = tiny()
    with torch.no_grad():
        net.make.weight.mul_(0.01)
        net.make.bias.copy_(torch.tensor([0.8, 0.01, 0.01, 0.01]))
        net.read.weight.zero_()
        net.read.weight[:, :, 0, 0] = torch.tensor([0.1, 0.9, -0.9, 0.9])
    graph = trace(net, torch.zeros(1, 3, 2, 2, dtype=torch.float64))
    (by_weight,) = score_groups(net, graph.groups, "l2").values()
    assert by_weight.argmin() == 0
    for criterion in ("taylor", "fisher", "activation", "reconstruction", "output"):
        (scores,) = scores_of(net, graph, criterion, two_pixels()).values()
        assert scores.argmax() == 0, criterion


WATCHED = ("Grouped", "Shuffled", "Unshuffled", "Depthwise", "LayerNormed", "GlobalAttention")


@pytest.mark.parametrize("kind", [k for k in WIRINGS if k.__name__ in WATCHED])
@pytest.mark.parametrize("criterion", NAMES)
def test_groups_of_every_make_are_scored(kind, criterion):
    net, inputs, graph = traced(kind)
    calibration = Calibration.taken([inputs], batches=1)
    scores = scores_of(net, graph, criterion, calibration)
    assert {name: len(each) for name, each in scores.items()} == graph.widths
    assert all(np.isfinite(each).all() and each.min() >= 0 for each in scores.values())


@pytest.mark.parametrize("kind", [k for k in WIRINGS if k.__name__ in ("Residual", "Unshuffled")])
def test_what_is_lost_by_moments_is_what_is_lost_when_a_channel_is_dropped(kind):
    net, inputs = make(kind)
    layer = net.second if kind.__name__ == "Residual" else net.inner
    seen = {}
    layer.register_forward_hook(lambda _, args, out: seen.update(x=args[0], y=out))
    with torch.no_grad():
        net(inputs)
        without = seen["x"].clone()
        without[:, 4] = 0
        lost = seen["y"] - layer.forward(without)
    path = next(name for name, module in net.named_modules() if module is layer)
    with torch.no_grad(), watch(net, [path]) as found:
        net(inputs)
    told = found[path].of_reads(torch.tensor([[4]]))
    energy = seen["y"].square().sum()
    mean = lost.mean(dim=(0, 2, 3), keepdim=True)
    assert float(told.lost) == pytest.approx(float(lost.square().sum() / energy))
    assert float(told.lost_varying) == pytest.approx(
        float((lost - mean).square().sum() / energy), abs=1e-12
    )


class OverPixels(nn.Linear):
    """Puts channels last and back, as BSRN-S does."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Standardised(nn.Conv2d):
    """Pads by itself, and takes the mean out of its weights."""

    def forward(self, x):
        weight = self.weight - self.weight.mean(dim=(1, 2, 3), keepdim=True)
        return functional.conv2d(functional.pad(x, (2, 0, 1, 1)), weight, self.bias)


LAYERS = {
    "linear_over_pixels": lambda: OverPixels(6, 5),
    "standardised": lambda: Standardised(6, 5, 3),
    "same": lambda: nn.Conv2d(6, 5, (3, 4), padding="same", dilation=(2, 1)),
    "valid": lambda: nn.Conv2d(6, 5, 3, padding="valid", stride=(2, 1)),
    "reflect": lambda: nn.Conv2d(6, 5, 3, padding=1, padding_mode="reflect"),
    "transposed": lambda: nn.ConvTranspose2d(6, 5, 3, stride=2, output_padding=1),
    "weight_norm": lambda: nn.utils.parametrizations.weight_norm(
        nn.Conv2d(6, 5, 3, padding=(0, 1))
    ),
}


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_what_a_layer_loses_is_measured_where_it_computes(name):
    torch.manual_seed(0)
    layer = LAYERS[name]().double()
    x = torch.rand(2, 6, 9, 8, dtype=torch.float64)
    net = nn.Sequential(layer)
    with torch.no_grad(), watch(net, ["0"]) as found:
        whole = net(x)
    with torch.no_grad():
        for unit in range(6):
            without = x.clone()
            without[:, unit] = 0
            lost = whole - net(without)
            told = found["0"].of_reads(torch.tensor([[unit]]))
            mean = lost.mean(dim=(0, 2, 3), keepdim=True)
            energy = whole.square().sum()
            assert float(told.lost) == pytest.approx(float(lost.square().sum() / energy))
            varying = float((lost - mean).square().sum() / energy)
            assert float(told.lost_varying) == pytest.approx(varying)
        made = found["0"].of_makes(torch.arange(5)[:, None])
    assert torch.allclose(made.mean_abs, whole.abs().mean(dim=(0, 2, 3)))
