"""Importances of torch-pruning on our groups say what they say on their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch_pruning as tp
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import DataError, PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.score import CRITERIA, Calibration, as_criterion, score_groups, score_some
from tests.nets import NETS, conv, traced
from tests.score.samples import evidence_of

importance = tp.importance


class Chain(nn.Module):
    """Layers in a row, with a batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 12), nn.ReLU(), conv(12, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Residual(nn.Module):
    """Two blocks on a trunk."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.first = nn.ModuleList(conv(8, width) for width in (10, 12))
        self.second = nn.ModuleList(conv(width, 8) for width in (10, 12))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for first, second in zip(self.first, self.second, strict=True):
            x = x + second(F.relu(first(x)))
        return self.tail(x)


def built(kind: type[nn.Module]) -> tuple[nn.Module, ChannelGraph, Calibration]:
    torch.manual_seed(2)
    net = kind().eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight)
    x, hr = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 6, 6)
    return net, trace(net, x), Calibration.taken([(x, hr)], batches=1)


def theirs(net: nn.Module, scorer: Any, calibration: Calibration) -> dict[int, np.ndarray]:
    """What an importance says of each group that torch-pruning finds, by width.

    The network's gradients are those of L1 on the only batch.
    """
    (batch,) = calibration.batches
    watching = getattr(scorer, "compute_importance", None)
    if watching:
        with watching(net):
            net(batch.inputs)
    net.zero_grad()
    F.l1_loss(net(batch.inputs), batch.hr).backward()
    if hasattr(scorer, "accumulate_grad"):
        scorer.accumulate_grad(net)
    graph = tp.DependencyGraph().build_dependency(net, batch.inputs)
    last = [m for m in net.modules() if isinstance(m, nn.Conv2d)][-1]
    last = net.tail if isinstance(net, Residual) else last
    found = {}
    for group in graph.get_all_groups(ignored_layers=[last]):
        scores = scorer(group)
        if scores is not None:
            found.setdefault(len(scores), []).append(scores.numpy())
    net.zero_grad()
    return found


def by_width(graph: ChannelGraph, scores: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    found = {}
    for group in graph.groups:
        if group.name in scores:
            found.setdefault(group.width, []).append(scores[group.name])
    return found


def assert_agree(one: dict[int, list], two: dict[int, list], *, up_to_a_factor: bool = False):
    assert one.keys() == two.keys()
    for width, ours in one.items():
        for a, b in zip(ours, two[width], strict=True):
            factor = a.mean() / b.mean() if up_to_a_factor else 1
            np.testing.assert_allclose(a, b * factor, rtol=2e-4, atol=1e-9)


IMPORTANCES = {
    "magnitude": lambda: importance.GroupMagnitudeImportance(p=2),
    "magnitude of the first": lambda: importance.GroupMagnitudeImportance(
        p=1, group_reduction="first", normalizer=None, bias=True
    ),
    "largest magnitude": lambda: importance.MagnitudeImportance(
        group_reduction="max", normalizer="gaussian"
    ),
    "batch norm": importance.BNScaleImportance,
    "lamp": importance.LAMPImportance,
    "fpgm": importance.FPGMImportance,
    "taylor": importance.GroupTaylorImportance,
    "taylor of a unit": lambda: importance.GroupTaylorImportance(multivariable=True, bias=True),
    "hessian": importance.GroupHessianImportance,
    "activation": tp.pruner.importance.ActivationImportance,
}


@pytest.mark.filterwarnings("ignore:Layer")
@pytest.mark.parametrize("kind", [Chain, Residual])
@pytest.mark.parametrize("name", IMPORTANCES)
def test_an_importance_says_of_our_groups_what_it_says_of_its_own(kind, name):
    make = IMPORTANCES[name]
    net, graph, calibration = built(kind)
    criterion = as_criterion(make())
    evidence = evidence_of(net, graph, criterion, calibration)
    ours = score_some(net, graph.groups, criterion, evidence=evidence).scores
    assert ours or kind is Residual  # which has no batch norm
    ours, expected = by_width(graph, ours), theirs(net, make(), calibration)
    if "first" in name:  # of the trunk's layers theirs starts with another
        ours.pop(8), expected.pop(8)
    assert_agree(ours, expected)


PAIRS = {
    "group_norm": lambda: importance.GroupMagnitudeImportance(p=2, normalizer=None),
    "lamp": lambda: importance.LAMPImportance(p=2),
    "bn_scale": lambda: importance.BNScaleImportance(normalizer=None),
    "taylor": lambda: importance.GroupTaylorImportance(
        multivariable=True, bias=True, normalizer=None
    ),
    "obd": lambda: importance.GroupHessianImportance(bias=True, normalizer=None),
    "activation": lambda: tp.pruner.importance.ActivationImportance(normalizer=None),
}


@pytest.mark.filterwarnings("ignore:Layer")
@pytest.mark.parametrize("kind", [Chain, Residual])
@pytest.mark.parametrize("criterion", PAIRS)
def test_ours_agree_with_theirs_of_the_same_name(criterion, kind):
    net, graph, calibration = built(kind)
    evidence = evidence_of(net, graph, criterion, calibration)
    ours = score_some(net, graph.groups, criterion, evidence=evidence).scores
    expected = theirs(net, PAIRS[criterion](), calibration)
    if criterion in ("taylor", "obd"):  # theirs leave out the norm's slices
        ours = {n: s for n, s in ours.items() if kind is Residual or graph[n].width == 12}
        expected = {w: s for w, s in expected.items() if kind is Residual or w == 12}
    assert_agree(by_width(graph, ours), expected, up_to_a_factor=True)


class Largest(importance.Importance):
    """A user's own: the largest weight of the layer that makes a unit."""

    def __call__(self, group):
        dependency, indices = group[0]
        return dependency.target.module.weight.data[indices].flatten(1).abs().amax(dim=1)


def test_an_importance_of_the_users_own_works():
    net, graph, _ = built(Chain)
    scores = score_groups(net, graph.groups, as_criterion(Largest()))
    largest = net.layers[0].weight.abs().flatten(1).amax(dim=1)
    assert scores[graph.groups[0].name] == pytest.approx(largest.tolist())


def test_a_unit_of_several_filters_is_scored_whole():
    net, _, graph = traced(next(k for k in NETS if k.__name__ == "Shuffled"))
    scorer = as_criterion(
        importance.GroupMagnitudeImportance(group_reduction="sum", normalizer=None)
    )
    scores = score_groups(net, graph.groups, scorer)
    (name,) = [group.name for group in graph.groups if group.width == 5]
    made = net.up.weight.square().sum(dim=(1, 2, 3)).reshape(5, 4).sum(dim=1)
    read = net.tail.weight.square().sum(dim=(0, 2, 3))
    assert scores[name] == pytest.approx((made + read).tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", [k for k in NETS if k.__name__ in ("Grouped", "Depthwise")])
def test_layers_of_convolution_groups_are_indexed_as_they_index_them(kind):
    net, _, graph = traced(kind)
    scores = score_groups(net, graph.groups, as_criterion(importance.GroupMagnitudeImportance()))
    assert {name: len(each) for name, each in scores.items()} == graph.widths


def test_chance_of_theirs_is_drawn_by_the_seed():
    net, graph, _ = built(Chain)
    one, two, other = (
        score_groups(net, graph.groups, as_criterion(importance.RandomImportance()), seed=seed)
        for seed in (1, 1, 2)
    )
    name = graph.groups[0].name
    assert one[name].tolist() == two[name].tolist() != other[name].tolist()


def test_a_function_of_slices_is_a_criterion():
    def biggest(slices, _):
        return [s.weights.abs().amax(dim=1) for s in slices if s.role == "makes"]

    net, graph, _ = built(Chain)
    scores = score_groups(net, graph.groups, as_criterion(biggest))
    largest = net.layers[0].weight.abs().flatten(1).amax(dim=1)
    assert scores[graph.groups[0].name] == pytest.approx(largest.tolist())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("tailor", "no criterion 'tailor'; did you mean 'taylor'"),
        (3, "criterion 3 is a int; give a name"),
        (importance.OBDCImportance(), "needs a pruner of torch-pruning beside its groups"),
    ],
)
def test_what_is_no_criterion_is_refused(given, message):
    with pytest.raises(PlanError, match=message):
        as_criterion(given)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (lambda _, __: [torch.ones(3)], r"gives \(3,\) for the 8 units of group"),
        (lambda _, __: None, "gives NoneType for group"),
        (lambda _, __: 3, "gives int for group"),
        (lambda _, __: [torch.ones(8, dtype=torch.complex64)], "gives complex scores for group"),
        (lambda _, __: [1.0], "gives float for the 8 units of group"),
        (lambda _, __: 1 / 0, "fails on group '.*' .ZeroDivisionError"),
        (lambda s, _: [s[0].weights[:, 0] / 0], "scores by '<lambda>' of group .* not finite"),
    ],
)
def test_a_criterion_of_the_users_own_that_fails_is_told_by_name_and_group(rule, message):
    net, graph, _ = built(Chain)
    with pytest.raises(PlanError, match=message):
        score_groups(net, graph.groups, as_criterion(rule))


def test_an_importance_that_looks_at_images_needs_them():
    net, graph, _ = built(Chain)
    criterion = as_criterion(importance.GroupTaylorImportance())
    with pytest.raises(DataError, match="looks at images, and there is no calibration data"):
        evidence_of(net, graph, criterion, None)


def test_names_are_criteria_as_they_are():
    assert all(as_criterion(name) is criterion for name, criterion in CRITERIA.items())
