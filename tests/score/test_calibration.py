"""Calibration data: what is taken of it, what the loss is, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit.data.loader import Batches
from prunekit.data.pairs import ImagePair
from prunekit.data.patches import Patches
from prunekit.errors import DataError, PlanError
from prunekit.graph import trace
from prunekit.progress import Silent
from prunekit.score import CRITERIA, Calibration, gather, score_groups
from prunekit.score.calibrate import loss_of
from tests.nets import conv
from tests.score.samples import evidence_of, tiny, two_pixels

LR, HR = torch.rand(2, 3, 4, 4), torch.rand(2, 3, 8, 8)


def patches(seed: int) -> Patches:
    generator = np.random.default_rng(1)
    lr = generator.integers(0, 256, (20, 20, 3), dtype=np.uint8)
    hr = generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    return Patches([ImagePair("a", lr, hr)], patch_size=8, seed=seed)


def test_patches_are_those_of_the_seed():
    one, two, other = (
        Calibration.cut(patches(seed), batches=3, batch_size=2) for seed in (5, 5, 6)
    )
    assert len(one.batches) == 3
    assert one.batches[0].inputs.shape == (2, 3, 8, 8)
    assert one.batches[0].hr.shape == (2, 3, 16, 16)
    for a, b, c in zip(one.batches, two.batches, other.batches, strict=True):
        assert torch.equal(a.inputs, b.inputs)
        assert not torch.equal(a.inputs, c.inputs)


@pytest.mark.parametrize("loader", [[(LR, HR)] * 5, iter([[LR, HR]] * 5), [(LR, None)], [LR]])
def test_a_loader_gives_at_most_as_many_batches_as_are_asked_for(loader):
    calibration = Calibration.taken(loader, batches=2)
    assert 1 <= len(calibration.batches) <= 2
    assert calibration.batches[0].inputs is LR


def test_batches_of_the_projects_own_loader_are_taken():
    (batch,) = Calibration.taken(Batches(patches(0), range(2), range(1)), batches=4).batches
    assert batch.inputs.shape == (2, 3, 8, 8)
    assert batch.hr.shape == (2, 3, 16, 16)


@pytest.mark.parametrize(
    ("loader", "message"),
    [
        ([], "the calibration data has no batch; give at least one pair"),
        (5, "is a int, which gives no batches"),
        ([3], "batch 0 of the calibration data is a int"),
        ([(LR, HR), "LR"], "batch 1 of the calibration data is a str"),
        ([(LR, HR, HR)], "batch 0 of the calibration data is a tuple"),
    ],
)
def test_what_is_no_calibration_data_is_refused(loader, message):
    with pytest.raises(DataError, match=message):
        Calibration.taken(loader, batches=4)


def test_without_hr_the_signs_of_the_errors_are_drawn_and_always_the_same():
    sr = torch.rand(2, 3, 40, 40, requires_grad=True)
    gradients = [torch.autograd.grad(loss_of(sr, None, place), sr)[0] for place in (0, 0, 1)]
    assert torch.equal(gradients[0], gradients[1])
    assert not torch.equal(gradients[0], gradients[2])
    assert torch.equal(gradients[0].abs(), torch.full_like(sr, 1 / sr.numel()))
    assert abs(float(gradients[0].sum())) < 0.1  # as many of each sign


@pytest.mark.parametrize("criterion", [name for name, c in CRITERIA.items() if c.needs])
def test_every_criterion_does_without_hr_and_says_so_without_images(criterion):
    net, graph = tiny()
    calibration = Calibration.taken([two_pixels().batches[0].inputs], batches=1)
    evidence = evidence_of(net, graph, criterion, calibration)
    (scores,) = score_groups(net, graph.groups, criterion, evidence=evidence).values()
    assert scores[2] == 0 < scores[0]
    with pytest.raises(DataError, match="looks at images, and there is no calibration data"):
        gather(net, graph.groups, CRITERIA[criterion], None, progress=Silent())


def faulty(**parts: Tensor | None) -> Calibration:
    (good,) = two_pixels().batches
    pair = parts.get("lr", good.inputs), parts.get("hr", good.hr)
    return Calibration.taken([(good.inputs, good.hr), pair], batches=2)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (faulty(lr=torch.full((1, 3, 1, 2), math.nan)), "output on calibration batch 1 is not fin"),
        (faulty(hr=torch.full((1, 3, 1, 2), math.nan)), "loss on calibration batch 1 is not fini"),
        (faulty(hr=torch.ones(1, 3, 2, 4)), r"HR of calibration batch 1 has the shape \(1, 3, 2, "),
        (faulty(lr=torch.ones(1, 5, 1, 2)), "the network fails on calibration batch 1 .RuntimeErr"),
    ],
)
def test_images_that_say_nothing_are_refused_in_one_line(calibration, message):
    net, graph = tiny()
    with pytest.raises(PlanError, match=message) as caught:
        evidence_of(net, graph, "taylor", calibration)
    assert "\n" not in str(caught.value)
    assert all(parameter.grad is None for parameter in net.parameters())


class Rooted(nn.Module):
    """A root, whose slope at zero has no end."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x).abs().sqrt())


def test_a_gradient_that_is_not_finite_is_refused_by_name():
    net = Rooted().eval()
    graph = trace(net, LR)
    with pytest.raises(
        PlanError, match=r"gradient of 'head\.weight' on calibration batch 0 is not"
    ):
        evidence_of(net, graph, "taylor", Calibration.taken([LR], batches=1))


def test_parameters_that_are_not_trained_are_scored_too():
    net, graph = tiny()
    net.requires_grad_(False)
    evidence = evidence_of(net, graph, "taylor", two_pixels())
    (scores,) = score_groups(net, graph.groups, "taylor", evidence=evidence).values()
    assert scores[0] == pytest.approx(8 / 3)
    assert not any(parameter.requires_grad for parameter in net.parameters())


class Steps:
    """Notes the stages it is told of."""

    def __init__(self) -> None:
        self.told: dict[str, int] = {}

    def start(self, stage, total=None):
        self.stage = stage
        self.told[stage] = total

    def advance(self, **_):
        self.told[self.stage] -= 1

    def finish(self, note=""):
        pass

    def warn(self, message):
        pass


@pytest.mark.parametrize(
    ("criterion", "stage"),
    [("taylor", "differentiate"), ("activation", "watch layers"), ("output", "switch units off")],
)
def test_progress_is_told_step_by_step(criterion, stage):
    net, graph = tiny()
    steps = Steps()
    gather(net, graph.groups, CRITERIA[criterion], two_pixels(), progress=steps)
    assert steps.told == {stage: 0}
