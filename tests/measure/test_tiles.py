"""Tiles have every pixel once and make the same image as the whole; the reach of networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

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
        assert 0 <= max(0, tile.rows[0] - overlap) - tile.top < 16
        assert tile.top % 16 == tile.left % 16 == 0
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


class Halved(nn.Module):
    """A level at half of the size beside one at full size, as a U-Net has."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.down = nn.Conv2d(8, 8, 4, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.tail = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x):
        head = self.head(x).relu()
        low = self.up(self.down(head).relu())
        low = nn.functional.pad(low, [head.shape[n] - low.shape[n] if b else 0 for n, b in EDGES])
        return self.tail(head + low)


EDGES = ((3, 0), (3, 1), (2, 0), (2, 1))


class Folded(nn.Module):
    """Pixels folded into channels, the image padded to a multiple of four."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, 16, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, x):
        height, width = x.shape[2:]
        padded = nn.functional.pad(x, (0, -width % 4, 0, -height % 4), mode="replicate")
        return self.body(padded)[:, :, :height, :width]


@pytest.mark.parametrize("kind", [Halved, Folded])
@pytest.mark.parametrize("size", [7, 16, 25])
def test_tiles_of_networks_that_look_at_windows_make_the_whole_image(kind, size):
    torch.manual_seed(0)
    net, image = kind().eval(), torch.rand(1, 3, 61, 75)
    reach = find_reach(net)
    assert reach is not None
    tiled = infer_tiled(net, image, tiles(61, 75, size=size, overlap=reach))
    assert torch.allclose(tiled, infer(net, image), atol=1e-6)


class Divided(nn.Module):
    """Divides the image into eight parts a side, however large it is."""

    def forward(self, x):
        parts = nn.functional.adaptive_max_pool2d(x, (x.shape[2] // 8, x.shape[3] // 8))
        return x + nn.functional.interpolate(parts, x.shape[2:])


class Thirds(nn.Module):
    """Looks at windows of 3 pixels, of which tiles do not begin at multiples."""

    def forward(self, x):
        height, width = x.shape[2:]
        padded = nn.functional.pad(x, (0, -width % 3, 0, -height % 3), mode="replicate")
        means = nn.functional.avg_pool2d(padded, 3).repeat_interleave(3, 2).repeat_interleave(3, 3)
        return means[:, :, :height, :width]


class Noisy(nn.Module):
    def forward(self, x):
        return x + 0.1 * torch.rand_like(x)


@pytest.mark.parametrize("kind", [Divided, Thirds, Noisy])
def test_a_network_whose_parts_are_not_those_of_the_whole_has_no_reach(kind):
    assert find_reach(kind()) is None


class Largest(nn.Module):
    """Takes the maximum over a window, of which the gradient shows one pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        return nn.functional.max_pool2d(self.body(x), 13, stride=1, padding=6)


def test_a_network_that_takes_maxima_has_a_reach_that_is_enough():
    torch.manual_seed(0)
    net, image = Largest().eval(), torch.rand(1, 3, 61, 75)
    reach = find_reach(net)
    assert reach is not None
    assert reach >= 7
    tiled = infer_tiled(net, image, tiles(61, 75, size=20, overlap=reach))
    assert torch.allclose(tiled, infer(net, image), atol=1e-6)


class Eights(nn.Module):
    def forward(self, x):
        assert x.shape[2] % 8 == x.shape[3] % 8 == 0
        return x + nn.functional.avg_pool2d(x, 3, 1, 1)


def test_a_network_that_takes_few_sizes_has_a_reach():
    assert find_reach(Eights()) == 1


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
    torch.manual_seed(0)  # else what takes means may be dead
    assert find_reach(Mean()) is None
    assert find_reach(IMDN(2, 64, 1).eval()) is None
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


class ShiftedWindows(nn.Module):
    """Every pixel is that of its window's mean and itself, in windows that are shifted by half."""

    def __init__(self, side):
        super().__init__()
        self.side = side

    def forward(self, x):
        height, width = x.shape[2:]
        side, half = self.side, self.side // 2
        x = functional.pad(x, (half, half + -width % side, half, half + -height % side), "reflect")
        mean = functional.avg_pool2d(x, side)
        mixed = x + mean.repeat_interleave(side, 2).repeat_interleave(side, 3)
        return mixed[:, :, half : half + height, half : half + width]


@pytest.mark.parametrize("side", [8, 16])
def test_the_reach_of_windows_is_that_of_all_their_pixels(side):
    """One pixel in the middle of a shifted window sees half as far as one at its end."""
    net = ShiftedWindows(side)
    reach = find_reach(net)
    assert reach is not None
    assert reach >= side - 1
    image = torch.rand(1, 3, 96, 112)
    tiled = infer_tiled(net, image, tiles(96, 112, size=32, overlap=reach))
    assert torch.allclose(tiled, infer(net, image), atol=1e-6)
