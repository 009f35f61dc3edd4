"""Scores of networks whose figures are known beforehand, by each convention."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.data.pairs import ImagePair
from prunekit.errors import DataError, MeasureError
from prunekit.measure.evaluate import evaluate
from prunekit.measure.protocol import Protocol
from prunekit.progress import Silent


class Repeat(nn.Module):
    """Repeats pixels and adds an offset to one channel."""

    def __init__(self, scale=2, offset=0.0, channel=0):
        super().__init__()
        self.scale = scale
        self.register_buffer("offset", torch.zeros(3, 1, 1))
        self.offset[channel] = offset

    def forward(self, x):
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3) + self.offset


def pair(name, size=(14, 19)):
    lr = np.random.default_rng(1).integers(0, 200, (*size, 3), dtype=np.uint8)
    return ImagePair(name, lr, lr.repeat(2, axis=0).repeat(2, axis=1))


def scored(model, pairs, channels, border):
    return evaluate(model, pairs, Protocol(channels, border), progress=Silent())


def test_a_perfect_network_is_without_error():
    scores = scored(Repeat(), [pair("a"), pair("b", (9, 9))], "y", 2)
    assert (scores.psnr, scores.ssim) == (math.inf, pytest.approx(1))
    assert [image.name for image in scores.images] == ["a", "b"]
    assert all(image.seconds > 0 for image in scores.images)


@pytest.mark.parametrize(
    ("channels", "error"), [("rgb", 100 / 3), ("y", (10 * 128.553 / 255) ** 2)]
)
def test_an_offset_of_green_is_weighed_by_the_convention(channels, error):
    scores = scored(Repeat(offset=10 / 255, channel=1), [pair("a")], channels, 4)
    assert scores.psnr == pytest.approx(10 * math.log10(255**2 / error))


def test_ssim_of_rgb_is_the_mean_of_the_channels():
    rgb = scored(Repeat(offset=10 / 255), [pair("a")], "rgb", 2).ssim
    (grey,) = scored(Repeat(offset=10 / 255), [pair("a")], "rgb", 2).images
    assert 2 / 3 < rgb < 1
    assert grey.ssim == rgb


def test_the_border_is_left_out():
    class Framed(Repeat):
        def forward(self, x):
            large = super().forward(x).clone()
            large[..., :3, :] = 1
            return large

    assert scored(Framed(), [pair("a")], "rgb", 3).psnr == math.inf
    assert scored(Framed(), [pair("a")], "rgb", 2).psnr < 40


def test_a_wrong_scale_is_told():
    why = r"^image 'a': the network turns 19x14 pixels into 57x42 where scale 2 asks for 38x28"
    with pytest.raises(MeasureError, match=why):
        scored(Repeat(3), [pair("a")], "y", 2)


def test_an_image_that_is_all_border_is_told():
    with pytest.raises(DataError, match=r"^image 'a' cannot be scored: nothing is left"):
        scored(Repeat(), [pair("a")], "y", 14)
