"""The check of a pruned network: it finds what was kept, and a wrong coupling does not pass."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.removal import judge, kept_indices, outputs, reduces_channels, without
from prunekit.graph.record import record


def chain(middle=4):
    return nn.Sequential(
        nn.Conv2d(3, middle, 3, padding=1), nn.Sigmoid(), nn.Conv2d(middle, 3, 3, padding=1)
    ).double()


def sliced(dense, rows, columns):
    """The chain with these output channels of the first layer, these inputs of the second."""
    slim = chain(len(rows))
    slim[0].weight.data = dense[0].weight.data[rows].clone()
    slim[0].bias.data = dense[0].bias.data[rows].clone()
    slim[2].weight.data = dense[2].weight.data[:, columns].clone()
    slim[2].bias.data = dense[2].bias.data.clone()
    return slim


@pytest.fixture
def dense():
    torch.manual_seed(0)
    return chain()


@pytest.fixture
def image():
    return (torch.rand(1, 3, 5, 6, dtype=torch.float64),)


def test_kept_indices_are_found_on_every_axis():
    dense = torch.randperm(4 * 5 * 6).view(4, 5, 6).double()
    slim = dense[[3, 1]][:, [0, 2, 4]]
    assert kept_indices(dense, slim) == [[3, 1], [0, 2, 4], [0, 1, 2, 3, 4, 5]]


def test_what_is_no_slice_is_told_apart():
    dense = torch.randperm(20).view(4, 5).double()
    assert kept_indices(dense, dense[:2] + 0.5) is None
    assert kept_indices(dense, dense[:2].flip(1)[:, :1] * 1.0) == [[0, 1], [4]]
    mixed = torch.stack([dense[0, :2], dense[1, 1:3]])  # another slice in each row
    assert kept_indices(dense, mixed) is None


def test_zeroing_can_be_undone(dense):
    before = dense[0].weight.detach().clone()
    undo = without(dense, {"0.weight": [[0, 3], [0, 1, 2], [0, 1, 2], [0, 1, 2]]})
    assert dense[0].weight[[1, 2]].abs().max() == 0
    assert torch.equal(dense[0].weight[[0, 3]], before[[0, 3]])
    undo()
    assert torch.equal(dense[0].weight, before)


def test_a_right_removal_is_equal_although_the_activation_of_zero_is_a_half(dense, image):
    slim = sliced(dense, [0, 2], [0, 2])
    outcome = judge(dense, slim, image, None, equality=True)
    assert outcome.verdict == "equal"
    assert outcome.removed_share == pytest.approx(1 - (2 * 28 + 2 * 27 + 3) / (4 * 28 + 4 * 27 + 3))


def test_a_wrong_coupling_differs(dense, image):
    assert (
        judge(dense, sliced(dense, [0, 2], [0, 1]), image, None, equality=True).verdict == "differs"
    )


def test_a_wrong_coupling_differs_behind_a_strong_skip(dense, image):
    """The body adds a hundred-millionth to the image; the error counts against the body alone."""

    class Skip(nn.Module):
        def __init__(self, body):
            super().__init__()
            self.body = body

        def forward(self, x):
            return x + 1e-8 * self.body(x)

    def verdict(columns):
        slim = Skip(sliced(dense, [0, 2], columns))
        return judge(Skip(dense), slim, image, None, equality=True).verdict

    assert verdict([0, 2]) == "equal"
    assert verdict([0, 1]) == "differs"


def test_a_fault_that_fades_on_the_way_differs_too(dense, image):
    """An early layer that counts for a millionth of what the last one does."""

    def deep(first):
        return nn.Sequential(first, nn.Conv2d(3, 3, 1, bias=False).double(), Fade(image[0]))

    class Fade(nn.Module):
        def __init__(self, x):
            super().__init__()
            self.weight = nn.Parameter(torch.rand(3, 4, 1, 1, dtype=torch.float64))
            self.x = x.sum(1, keepdim=True).expand(-1, 4, -1, -1)

        def forward(self, y):
            return torch.conv2d(self.x[:, : self.weight.shape[1]], self.weight) + 1e-6 * y

    whole = deep(dense)
    slim = deep(sliced(dense, [0, 2], [0, 1]))
    slim[1].weight.data = whole[1].weight.data.clone()
    slim[2].weight.data = whole[2].weight.data[:, :2].clone()
    assert judge(whole, slim, image, None, equality=True).verdict == "differs"


def test_a_wrong_coupling_passes_the_weaker_check(dense, image):
    assert (
        judge(dense, sliced(dense, [0, 2], [0, 1]), image, None, equality=False).verdict == "runs"
    )


def test_a_forgotten_coupling_does_not_run(dense, image):
    outcome = judge(dense, sliced(dense, [0, 2], [0, 1, 2]), image, None, equality=True)
    assert outcome.verdict == "does not run"
    assert "channels" in outcome.why


def test_a_pruned_output_has_the_wrong_shape(dense, image):
    slim = sliced(dense, [0, 2], [0, 2])
    slim[2].weight.data, slim[2].bias.data = slim[2].weight.data[:2], slim[2].bias.data[:2]
    assert judge(dense, slim, image, None, equality=True).verdict == "wrong shape"


def test_an_untouched_network_lost_nothing(dense, image):
    assert judge(dense, dense, image, None, equality=True).verdict == "nothing removed"


def test_the_dense_network_is_as_before(dense, image):
    before = outputs(dense, image)[0]
    judge(dense, sliced(dense, [0, 2], [0, 1]), image, None, equality=True)
    assert torch.equal(outputs(dense, image)[0], before)


@pytest.mark.parametrize(
    ("layer", "found"),
    [
        (nn.ReLU(), None),
        (nn.BatchNorm2d(4), None),
        (nn.AdaptiveAvgPool2d(1), None),
        (nn.GroupNorm(2, 4), "aten.native_group_norm"),
        (nn.Softmax(dim=1), "aten._softmax"),
    ],
)
def test_only_what_reduces_over_channels_forbids_equality(layer, found):
    model = nn.Sequential(nn.Conv2d(3, 4, 1), layer)
    assert reduces_channels(record(model, torch.zeros(1, 3, 4, 4))) == found
