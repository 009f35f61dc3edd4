"""What a teacher adds to the loss: by hand, and in training."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.errors import TrainError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.progress import Silent
from prunekit.train.affinity import affinity_distance
from prunekit.train.distill import Distillation, Features
from prunekit.train.loop import Session, finetune
from prunekit.train.matching import find_matches
from prunekit.train.options import Distill, TrainOptions
from prunekit.train.pyramid import laplacian_loss, pyramid_distance
from tests.train.test_finetune import make_model, make_pairs, weights

KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def blurred(image: np.ndarray) -> np.ndarray:
    padded = np.pad(image, 2, "reflect")
    out = np.zeros_like(image)
    for i in range(5):
        for j in range(5):
            height, width = image.shape
            out += KERNEL[i, j] * padded[i : i + height, j : j + width]
    return out


def bands(image: np.ndarray) -> list[np.ndarray]:
    """The five entries of a Laplacian pyramid, by loops over numpy."""
    found = []
    for _ in range(4):
        low = blurred(image)
        height, width = image.shape
        small = low.reshape(height // 2, 2, width // 2, 2).mean((1, 3))
        spread = np.zeros_like(image)
        spread[::2, ::2] = small
        found.append(image - 4 * blurred(spread))
        image = small
    return [*found, image]


def distance(one: np.ndarray, other: np.ndarray) -> float:
    pairs = zip(bands(one), bands(other), strict=True)
    return sum(2**level * np.abs(a - b).mean() for level, (a, b) in enumerate(pairs))


def test_the_laplacian_loss_is_that_of_the_paper_written_out():
    rng = np.random.default_rng(0)
    one, other = rng.random((2, 32, 48))
    expected = distance(one, other) + distance(one - blurred(one), other - blurred(other))
    tensors = [torch.from_numpy(x)[None, None] for x in (one, other)]
    assert float(laplacian_loss(*tensors)) == pytest.approx(expected, rel=1e-10)


def test_a_constant_difference_is_in_the_coarsest_band_alone():
    assert float(pyramid_distance(torch.full((2, 3, 32, 32), 0.5))) == pytest.approx(16 * 0.5)
    shifted = torch.zeros(1, 3, 32, 32), torch.ones(1, 3, 32, 32)
    assert float(laplacian_loss(*shifted)) == pytest.approx(16)  # it has no high frequencies


@pytest.mark.parametrize("sides", [(24, 32), (32, 40), (16, 16)])
def test_sides_that_do_not_halve_four_times_are_refused(sides):
    with pytest.raises(ValueError, match="multiples of 16"):
        laplacian_loss(torch.zeros(1, 3, *sides), torch.zeros(1, 3, *sides))


def test_affinities_are_cosines_of_pixels_whatever_their_channels():
    student = torch.tensor([[[[1.0, 0.0]], [[0.0, 2.0]]]])  # two pixels at a right angle
    same = torch.tensor([[[[3.0, 0.0]], [[0.0, 1.0]], [[0.0, 0.0]]]])
    parallel = torch.tensor([[[[1.0, 5.0]]]])
    assert float(affinity_distance(student, same)) == pytest.approx(0)
    assert float(affinity_distance(student, parallel)) == pytest.approx(0.5)  # two of four pairs


def test_matches_are_the_blocks_of_the_body_evenly_spread():
    graph = trace(EDSR(2, 8, 6), torch.rand(1, 3, 8, 8))
    assert find_matches(graph, 2) == ("body.2", "body.6")
    assert find_matches(graph, 3)[-1] == "body.6"
    assert len(find_matches(graph, 99)) == 7


def test_matches_are_the_same_places_in_the_slim_network():
    graph = trace(EDSR(2, 8, 3), torch.rand(1, 3, 8, 8))
    slim = trace(EDSR(2, 4, 3), torch.rand(1, 3, 8, 8))
    assert find_matches(graph, 2) == find_matches(slim, 2)


def test_a_network_without_feature_maps_has_no_matches():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(12, 8), nn.Linear(8, 12)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(x.flatten(1))).view_as(x)

    with pytest.raises(TrainError, match=r"distill\.features"):
        find_matches(trace(Flat(), torch.rand(1, 3, 2, 2)), 2)


def test_the_term_is_the_weighted_sum_of_all_distances():
    teacher, student = make_model(1, channels=12), make_model(2)
    options = Distill(weight=0.5, laplacian=0.25, features=2.0)
    distillation = Distillation(teacher, options, student, ("body.0", "body.1"))
    lr = torch.rand(2, 3, 16, 16)
    with distillation.ours.watched():
        sr = student(lr)
    term = distillation.term(lr, sr)
    with torch.no_grad():
        target = teacher(lr)
    both = {}
    for name, model in (("ours", student), ("theirs", teacher)):
        features = Features(model, ("body.0", "body.1"))
        with features.watched(), torch.no_grad():
            model(lr)
        both[name] = features.found
    affinities = [affinity_distance(both["ours"][n], both["theirs"][n]) for n in both["ours"]]
    expected = 0.5 * functional.l1_loss(sr, target) + 0.25 * laplacian_loss(sr, target)
    expected = expected + 2.0 * sum(affinities) / 2
    torch.testing.assert_close(term, expected)
    term.backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert student.body[0].body[0].weight.grad is not None


def trained(student, teacher, distill, matches=()):
    curve = finetune(
        student,
        make_pairs(),
        TrainOptions(steps=30, batch_size=2, patch_size=16, learning_rate=3e-3, distill=distill),
        teacher=teacher,
        seed=0,
        device=torch.device("cpu"),
        progress=Silent(),
        session=Session(matches=matches),
    )
    return weights(student), curve


@pytest.mark.parametrize(
    "distill",
    [Distill(1.0), Distill(0, laplacian=1.0), Distill(0, features=1.0), Distill(precision="bf16")],
)
def test_every_term_is_trained_on(distill):
    matches = ("body.0", "body.1")
    found, curve = trained(make_model(), make_model(7, channels=12), distill, matches)
    plain, _ = trained(make_model(), make_model(7, channels=12), Distill(1e-12))
    assert any(not torch.equal(tensor, plain[name]) for name, tensor in found.items())
    assert np.mean(curve.loss[-5:]) < np.mean(curve.loss[:5])


@pytest.mark.parametrize("patch_size", [8, 9, 20])
def test_patches_that_no_pyramid_can_be_made_of_are_refused(patch_size):
    options = TrainOptions(steps=1, batch_size=1, patch_size=patch_size, distill=Distill(0, 1.0))
    with pytest.raises(TrainError, match=f"scale 2 have sides of {2 * patch_size} pixels; make"):
        finetune(
            make_model(),
            make_pairs(),
            options,
            teacher=make_model(7),
            seed=0,
            device=torch.device("cpu"),
            progress=Silent(),
        )


def test_watching_leaves_no_hooks_behind():
    student, teacher = make_model(), make_model(7)
    trained(student, teacher, Distill(0, features=1.0), ("body.0",))
    for model in (student, teacher):
        assert not any(module._forward_hooks for module in model.modules())
        assert all(p.grad is None for p in model.parameters())


def test_a_place_without_a_feature_map_is_told():
    model = nn.Sequential(nn.Flatten())
    features = Features(model, ("0",))
    with features.watched(), pytest.raises(TrainError, match="'0' hands no feature map on"):
        model(torch.rand(1, 3, 2, 2))
