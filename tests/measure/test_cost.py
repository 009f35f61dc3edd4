"""Costs worked by hand, layer by layer."""

import math
import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from prunekit.errors import MeasureError
from prunekit.measure.cost import count_macs, count_params, measure_cost, measure_cost_of
from prunekit.measure.counters import cross_check
from prunekit.nets.edsr import EDSR


def edsr_macs(channels, blocks, pixels):
    """EDSR x2 by hand: 3x3 convolutions, and two fixed 1x1 ones that shift the mean colour."""
    head = 3 * channels * 9 * pixels
    body = (2 * blocks + 1) * channels * channels * 9 * pixels
    upsampler = channels * 4 * channels * 9 * pixels
    last = channels * 3 * 9 * (4 * pixels)
    mean_shifts = 3 * 3 * pixels + 3 * 3 * (4 * pixels)
    return head + body + upsampler + last + mean_shifts


def test_edsr_baseline_has_the_published_cost():
    cost = measure_cost(EDSR(scale=2, channels=64, blocks=16), scale=2)
    assert cost.params == 1_369_859
    assert cost.macs == edsr_macs(64, 16, 640 * 360) == 316_259_251_200
    mean_shifts = (9 + 36) * 640 * 360  # left out of the published 316.25 G
    assert round((cost.macs - mean_shifts) / 1e9, 2) == 316.25
    assert cost.input_size == (640, 360)
    assert cost.output_size == (1280, 720)


@pytest.mark.parametrize(("scale", "params"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_params_of_edsr_baseline_at_every_scale(scale, params):
    assert count_params(EDSR(scale=scale)) == params


def test_compact_edsr_by_hand():
    model = EDSR(scale=2, channels=16, blocks=2)
    cost = measure_cost(model, scale=2, output_size=(64, 48))
    assert cost.macs == edsr_macs(16, 2, 32 * 24)
    weights = 3 * 16 * 9 + 5 * 16 * 16 * 9 + 16 * 64 * 9 + 16 * 3 * 9
    assert cost.params == weights + (16 + 5 * 16 + 64 + 3)


def test_lr_is_the_output_divided_by_the_scale_and_cut_off():
    assert measure_cost(EDSR(3, 4, 1), scale=3).input_size == (426, 240)
    assert measure_cost(EDSR(4, 4, 1), scale=4).input_size == (320, 180)


class Attention(nn.Module):
    """Scaled dot-product attention of a tensor with itself."""

    def forward(self, x):
        return functional.scaled_dot_product_attention(x, x, x)


class SelfAttention(nn.Module):
    """The layer of torch, which has a fast path in evaluation mode."""

    def __init__(self):
        super().__init__()
        self.layer = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        return self.layer(x, x, x, need_weights=False)[0]


LAYERS = [
    (nn.Conv2d(8, 4, 3, padding=1), (1, 8, 5, 6), 30 * 9 * 8 * 4),
    (nn.Conv2d(8, 4, 3, stride=2, padding=1), (1, 8, 5, 6), 9 * 9 * 8 * 4),
    (nn.Conv2d(8, 4, 3, padding=1, groups=2), (1, 8, 5, 6), 30 * 9 * 4 * 4),
    (nn.Conv2d(8, 8, 3, padding=1, groups=8), (2, 8, 5, 6), 2 * 30 * 9 * 8),
    (nn.Conv2d(8, 4, 3, dilation=2, bias=False), (1, 8, 5, 6), 1 * 2 * 9 * 8 * 4),
    (nn.ConvTranspose2d(8, 4, 4, stride=2, padding=1), (1, 8, 5, 6), 30 * 16 * 8 * 4),
    (nn.Conv3d(2, 4, 3, padding=1), (1, 2, 3, 5, 6), 90 * 27 * 2 * 4),
    (nn.Linear(8, 4), (2, 5, 8), 10 * 8 * 4),
    (nn.Linear(8, 4, bias=False), (8,), 8 * 4),
    (Attention(), (1, 2, 10, 8), 2 * (2 * 10 * 10 * 8)),
    (SelfAttention(), (1, 10, 16), 4 * 10 * 16 * 16 + 2 * 10 * 10 * 16),
    (nn.Sequential(nn.PixelShuffle(2), nn.ReLU(), nn.BatchNorm2d(2)), (1, 8, 5, 6), 0),
]


@pytest.mark.parametrize(("layer", "shape", "macs"), LAYERS)
def test_macs_of_one_layer(layer, shape, macs):
    assert count_macs(layer, (torch.rand(shape),)) == macs


def test_shared_parameters_count_once_and_their_macs_at_every_use():
    conv = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(conv, conv)
    assert count_params(model) == 4 * 4 * 9 + 4
    assert count_macs(model, (torch.rand(1, 4, 5, 6),)) == 2 * 30 * 9 * 16


def test_weight_normalisation_of_both_kinds_is_counted():
    with pytest.warns(FutureWarning):
        old = nn.utils.weight_norm(nn.Conv2d(3, 4, 1))
    old(torch.rand(1, 3, 2, 2))  # its weight is now no leaf, which deepcopy alone refuses
    new = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 1))
    for model in (old, new):
        assert count_macs(model, (torch.rand(1, 3, 2, 2),)) == 4 * 3 * 4


def test_tensors_outside_parameters_and_buffers_are_taken_along():
    class Listed(nn.Module):
        def __init__(self):
            super().__init__()
            self.kernels = [torch.ones(2, 3, 1, 1)]
            self.gain = torch.ones(1)

        def forward(self, x):
            return functional.conv2d(x * self.gain, self.kernels[0])

    model = Listed()
    assert count_macs(model, (torch.rand(1, 3, 2, 2),)) == 4 * 6
    assert type(model.gain) is type(model.kernels[0]) is torch.Tensor


def test_the_network_is_untouched():
    model = EDSR(2, 8, 1).train()
    model.body.eval()
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    identities = {name: id(tensor) for name, tensor in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    fast_path = torch.backends.mha.get_fastpath_enabled()
    measure_cost(model, scale=2, output_size=(32, 32))
    cross_check(model, (torch.rand(1, 3, 8, 8),))
    assert {name: id(tensor) for name, tensor in model.named_parameters()} == identities
    assert all(torch.equal(weights[n], t) for n, t in model.state_dict().items())
    assert model.state_dict().keys() == weights.keys()
    assert [module.training for module in model.modules()] == modes
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model(torch.rand(1, 3, 8, 8)).requires_grad
    assert torch.backends.mha.get_fastpath_enabled() == fast_path


def test_nothing_of_the_weights_is_copied(monkeypatch):
    def refuse(_self, _memo):
        pytest.fail("a weight was copied")

    monkeypatch.setattr(nn.Parameter, "__deepcopy__", refuse)
    assert measure_cost(EDSR(2, 8, 1), scale=2, output_size=(32, 32)).macs > 0


def test_a_network_that_depends_on_values_is_refused():
    class Branching(nn.Module):
        def forward(self, x):
            return x if float(x.mean()) > 0 else -x

    with pytest.raises(MeasureError, match=r"input \(1, 3, 4, 4\) cannot be counted, as the"):
        count_macs(Branching(), (torch.rand(1, 3, 4, 4),))


def test_a_network_that_does_not_take_the_input_is_refused():
    with pytest.raises(MeasureError, match="run it on a real input of that shape"):
        count_macs(nn.Conv2d(5, 3, 1), (torch.rand(1, 3, 4, 4),))


def test_fvcore_and_thop_agree_on_edsr_within_its_mean_shifts():
    pytest.importorskip("fvcore")
    own, fvcore, thop = cross_check(EDSR(2, 8, 2), (torch.rand(1, 3, 24, 24),))
    assert [own.counter, fvcore.counter, thop.counter] == ["prunekit", "fvcore", "thop"]
    assert own.macs == fvcore.macs == edsr_macs(8, 2, 24 * 24)
    assert own.params == fvcore.params == thop.params == count_params(EDSR(2, 8, 2))
    assert fvcore.note == "leaves out add, mul, pixel_shuffle"
    if thop.macs is not None:  # needs distutils, which newer Pythons have from setuptools alone
        assert thop.macs == own.macs - 45 * 24 * 24
        assert thop.note == "leaves out _MeanShift"


def test_counters_that_fail_say_why_and_do_not_raise():
    class Broken(nn.Module):
        def forward(self, _):
            message = "no\nway"
            raise ArithmeticError(message)

    results = cross_check(Broken(), (torch.rand(1, 3, 4, 4),))
    assert len(results) == 3
    for result in results:
        assert result.macs is None
        assert result.params is None
        assert result.note.startswith("failed: ")
        assert "\n" not in result.note
    assert "ArithmeticError: no" in results[1].note


def test_a_missing_counter_is_a_note(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "thop", None)
    thop = cross_check(EDSR(2, 4, 1), (torch.rand(1, 3, 8, 8),))[2]
    assert thop.macs is None
    assert thop.note.startswith("failed: ModuleNotFoundError")


def test_macs_grow_with_the_area():
    model = EDSR(2, 8, 1)
    small = measure_cost(model, scale=2, output_size=(64, 64)).macs
    assert measure_cost(model, scale=2, output_size=(128, 64)).macs == 2 * small
    assert math.isclose(measure_cost(model, scale=2, output_size=(1280, 720)).macs, small * 225)


class Mixing(nn.Module):
    """Takes an image, a number of steps and a mask, by keyword."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, 1, 1)

    def forward(self, *, image, steps, mask):
        for _ in range(steps):
            image = image + self.conv(image)[:, :2] * mask[:, None].float()
        return image


def test_costs_of_other_inputs_than_images_say_on_what():
    inputs = {"image": torch.rand(1, 2, 6, 5), "steps": 3, "mask": torch.ones(1, 6, 5).long()}
    for with_values in (False, True):
        cost = measure_cost_of(Mixing(), inputs, with_values=with_values)
        assert cost.macs == 3 * 2 * 4 * 9 * 30
        assert (cost.input_size, cost.output_size) == (None, None)
        assert cost.shapes == ((1, 2, 6, 5), (1, 6, 5))
    with pytest.raises(MeasureError, match=re.escape("input (1, 3, 4, 4) cannot be counted")):
        measure_cost_of(Mixing(), {"image": torch.rand(1, 3, 4, 4), "steps": 1, "mask": None})
