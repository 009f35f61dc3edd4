"""Tiles have every pixel once and make the same image as the whole; the reach of networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit.errors import MeasureError
from prunekit.measure.infer import infer
from prunekit.measure.tiles import find_reach, infer_tiled, tiles
from prunekit.nets import EDSR, IMDN, SRVGGNetCompact


class Blur(nn.Module):
    """A chain of convolutions of known size, then pixels repeated."""

    def __init__(self, *kernels, scale=2):
        super().__init__()
        self.scale = scale
        self.body = nn.Sequential(*(nn.Conv2d(3, 3, k, padding=k // 2) for k in kernels))

    def forward(self, x):
        return nn.functional.interpolate(self.body(x), scale_factor=self.scale, mode="nearest")


class Mean(nn.Module):
    def forward(self, x):
        return (x + x.mean((2, 3), keepdim=True)).repeat_interleave(2, 2).repeat_interleave(2, 3)


@pytest.mark.parametrize(("size", "overlap"), [(0, 0), (7, 0), (8, 3), (100, 9), (1, 2)])
def test_tiles_have_every_pixel_once_and_see_their_overlap(size, overlap):
    counts = torch.zeros(20, 33)
    for tile in tiles(20, 33, size=size, overlap=overlap):
        counts[slice(*tile.rows), slice(*tile.columns)] += 1
        assert 0 <= tile.top <= tile.rows[0] < tile.rows[1] <= tile.top + tile.height <= 20
        assert 0 <= tile.left <= tile.columns[0] < tile.columns[1] <= tile.left + tile.width <= 33
        assert size == 0 or tile.rows[1] - tile.rows[0] <= size
        assert tile.top == max(0, tile.rows[0] - overlap)
        assert tile.left + tile.width == min(33, tile.columns[1] + overlap)
    assert (counts == 1).all()


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_tiles_of_edsr_make_the_whole_image(scale):
    torch.manual_seed(0)
    net, image = EDSR(scale, 8, 3).eval(), torch.rand(1, 3, 45, 61)
    reach = find_reach(net)
    assert reach is not None
    whole = infer(net, image)
    tiled = infer_tiled(net, image, tiles(45, 61, size=16, overlap=reach))
    assert torch.allclose(tiled, whole, atol=1e-6)
    blind = infer_tiled(net, image, tiles(45, 61, size=16, overlap=0))
    assert (blind - whole).abs().max() > 1e-3, "the image does not tell tiles apart"


@pytest.mark.parametrize(
    ("net", "reach"),
    [
        (Blur(3), 1),
        (Blur(3, 5, 7), 6),
        (Blur(*[9] * 9), 36),
        (EDSR(2, 8, 2), 1 + 4 + 1 + 1 + 1),
        (SRVGGNetCompact(4, 8, 4), 6),
    ],
    ids=["one", "three", "nine", "edsr", "srvgg"],
)
def test_the_reach_is_that_of_the_kernels(net, reach):
    assert find_reach(net.eval()) == reach


def test_a_network_that_takes_means_has_no_reach():
    assert find_reach(Mean()) is None
    assert find_reach(IMDN(2, 16, 1).eval()) is None
    assert find_reach(Blur(*[9] * 30).eval()) is None


def test_a_gradient_that_would_not_fit_is_not_asked_for(monkeypatch):
    net = Blur(*[9] * 9).eval()
    monkeypatch.setattr("prunekit.measure.tiles._MOST_MEMORY", 10**6)
    assert find_reach(net) is None
    assert find_reach(Blur(3).eval()) == 1


def test_finding_the_reach_leaves_the_network_alone():
    net = EDSR(2, 8, 1).train()
    find_reach(net)
    assert net.training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_every_tile_is_told():
    told = []
    cut = tiles(20, 20, size=10, overlap=1)
    infer_tiled(Blur(3).eval(), torch.rand(1, 3, 20, 20), cut, done=lambda: told.append(1))
    assert len(told) == 4


class Odd(nn.Module):
    def forward(self, x):
        return x[:, :, 1:]


def test_an_output_of_no_whole_scale_is_refused():
    with pytest.raises(MeasureError, match="turns 8x8 pixels into 8x7, which is no whole number"):
        infer_tiled(Odd(), torch.rand(1, 3, 8, 8), tiles(8, 8, size=0, overlap=0))
