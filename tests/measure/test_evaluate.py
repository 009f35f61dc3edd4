"""Evaluation of networks whose figures are known beforehand."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.data.pairs import ImagePair
from prunekit.data.resize import downscale
from prunekit.errors import DataError, MeasureError
from prunekit.measure.evaluate import evaluate, evaluate_bicubic, super_resolve
from prunekit.measure.protocol import PROTOCOLS
from prunekit.measure.quality import psnr_y, ssim_y
from prunekit.progress import Silent


class Nearest(nn.Module):
    """Repeats pixels, then adds `offset`; knows the modes it ran in."""

    def __init__(self, scale, offset=0.0):
        super().__init__()
        self.scale = scale
        self.offset = nn.Parameter(torch.tensor(offset))
        self.dropout = nn.Dropout(0.5)

    def forward(self, lr):
        large = lr.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)
        return self.dropout(large + self.offset)


def pair(scale, size=(14, 19), name="pair"):
    """HR is LR with repeated pixels, so `Nearest` is without error."""
    lr = np.random.default_rng(scale).integers(0, 200, (*size, 3), dtype=np.uint8)
    return ImagePair(name, lr, lr.repeat(scale, axis=0).repeat(scale, axis=1))


def evaluated(model, pairs):
    """Scores on Y with the scale as border, and the outputs by name."""
    outputs = {}
    protocol = PROTOCOLS["y"]
    return evaluate(model, pairs, protocol, progress=Silent(), take=outputs.__setitem__), outputs


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_a_perfect_network_is_without_error(scale):
    pairs = [pair(scale), pair(scale, (21, 15), "other")]
    scores, outputs = evaluated(Nearest(scale), pairs)
    assert scores.psnr == math.inf
    assert scores.ssim == pytest.approx(1.0)
    assert (scores.protocol, scores.scale) == (PROTOCOLS["y"].at(scale), scale)
    assert [image.name for image in scores.images] == list(outputs) == ["pair", "other"]
    for each in pairs:
        assert outputs[each.name].dtype == np.uint8
        assert np.array_equal(outputs[each.name], each.hr)


def test_figures_are_those_of_the_8_bit_output_and_their_mean():
    pairs = [pair(2), pair(2, (30, 16), "other")]
    scores, outputs = evaluated(Nearest(2, 10.4 / 255), pairs)
    # 10.4 grey levels are rounded to 10, which is 10 * 219 / 255 on Y.
    assert scores.psnr == pytest.approx(20 * math.log10(255 * 255 / 2190))
    ssims = [ssim_y(outputs[p.name], p.hr, 2) for p in pairs]
    assert [image.ssim for image in scores.images] == ssims
    assert scores.ssim == pytest.approx(sum(ssims) / 2)


def test_output_is_clamped_to_8_bits():
    lr = pair(1).lr
    assert (super_resolve(Nearest(1, 3.0), lr) == 255).all()
    assert (super_resolve(Nearest(1, -3.0), lr) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_a_network_is_run_in_its_own_dtype(dtype):
    each = pair(2)
    assert np.array_equal(super_resolve(Nearest(2).to(dtype), each.lr), each.hr)


def test_every_module_keeps_its_mode_also_after_a_failure():
    model = nn.Sequential(Nearest(2), nn.Dropout(0.5)).train()
    model[1].eval()
    evaluated(model, [pair(2)])
    assert [m.training for m in model.modules()] == [True, True, True, False]
    with pytest.raises(MeasureError, match="fails on an image of 19x14 pixels"):
        super_resolve(nn.Sequential(model, nn.Conv2d(5, 3, 1)), pair(2).lr)
    assert [m.training for m in model.modules()] == [True, True, True, False]


def test_a_wrong_scale_is_told_with_both_sizes():
    with pytest.raises(
        MeasureError,
        match="'pair': the network turns 19x14 pixels into 57x42 where scale 2 asks for 38x28",
    ):
        evaluated(Nearest(3), [pair(2)])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_output_that_is_not_finite_is_refused(value):
    with pytest.raises(MeasureError, match=r"image 'pair': .* not finite"):
        evaluated(Nearest(2, value), [pair(2)])


def test_a_single_pixel_that_is_not_finite_is_refused():
    class Spotted(nn.Module):
        def forward(self, lr):
            sr = lr.clone()
            sr[0, 1, 2, 3] = math.nan
            return sr

    with pytest.raises(MeasureError, match="not finite"):
        super_resolve(Spotted(), pair(1).lr)


@pytest.mark.parametrize(
    ("model", "found"),
    [(nn.Flatten(), r"\(1, 798\)"), (nn.Conv2d(3, 1, 1), r"\(1, 1, 14, 19\)")],
)
def test_output_that_is_no_image_is_refused(model, found):
    with pytest.raises(MeasureError, match=f"one RGB image into {found} where"):
        super_resolve(model, pair(2).lr)


def test_an_image_too_small_to_score_is_named():
    with pytest.raises(DataError, match=r"image 'tiny' cannot be scored: .*; leave it out"):
        evaluated(Nearest(2), [pair(2, (6, 6), "tiny")])


def test_no_pairs_are_refused():
    with pytest.raises(ValueError, match="at least one pair"):
        evaluate_bicubic([], PROTOCOLS["y"])


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_scored_on_enlarged_lr(scale):
    hr = np.random.default_rng(0).integers(0, 256, (12 * scale, 13 * scale, 3), dtype=np.uint8)
    smooth = np.ascontiguousarray(hr // 64 + 96)
    each = ImagePair("smooth", downscale(smooth, scale), smooth)
    outputs = {}
    scores = evaluate_bicubic([each], PROTOCOLS["y"], take=outputs.__setitem__)
    assert outputs["smooth"].shape == smooth.shape
    assert scores.psnr == psnr_y(outputs["smooth"], smooth, scale)
    assert scores.psnr > 40
