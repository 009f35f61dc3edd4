"""What cannot be recorded is told in one sentence, and the caller's network is as it was."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import TraceError
from prunekit.graph.record import record
from tests.graph.test_record_wirings import Net
from tests.nets import conv
from tests.untouched import assert_untouched, picture


def image(**options: object) -> Tensor:
    return torch.rand(1, 3, 12, 12, **options)


def raises(_: Net, _x: Tensor) -> Tensor:
    message = "not today"
    raise ValueError(message)


def yields(_: Net, x: Tensor):
    yield x


class Inner(nn.Module):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, _: Tensor) -> Tensor:
        raise self.error


@pytest.mark.parametrize(
    ("net", "inputs", "told"),
    [
        (Net(raises), image(), r"Net cannot be run .*ValueError in its forward: not today"),
        (nn.Sequential(conv(3, 3), Inner(KeyError("depth"))), image(),
         r"Sequential cannot be run .*: KeyError in 1: 'depth'"),
        (nn.Sequential(conv(3, 3), Inner(RuntimeError())), image(), "RuntimeError in 1: Runtime"),
        (Net(lambda _, x: x.view(2, 7)), image(), r"Net cannot be run on inputs of shape \(1, 3, "),
        (conv(3, 3), torch.rand(1, 4, 12, 12), r"inputs of shape \(1, 4, 12, 12\): RuntimeError"),
        (conv(3, 3), torch.zeros(1, 3, 12, 12, dtype=torch.int64), "RuntimeError in its forward: "),
        (conv(3, 3), torch.rand(0, 3, 8, 8), r"an input of shape \(0, 3, 8, 8\) holds no values"),
        (conv(3, 3), (), "inputs without a tensor: TypeError in its forward: "),
        (conv(3, 3), {"picture": image()}, "TypeError in its forward: .*'picture'"),
        (Net(yields), image(), "Net cannot be run on inputs"),
        (conv(3, 3), image(device="meta"), "is on cpu and an input is on the meta device"),
        (nn.Sequential(conv(3, 3), nn.LazyConv2d(3, 3)), image(), "such as 1.weight; run it once"),
    ],
)  # fmt: skip
def test_each_mistake_has_its_sentence(net, inputs, told):
    lazy = any(isinstance(p, nn.UninitializedParameter) for p in net.parameters())
    before = None if lazy else picture(net.train())
    state = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 (the caller's)
    with pytest.raises(TraceError, match=told) as caught:
        record(net, inputs)
    assert "\n" not in str(caught.value)
    assert before is None or assert_untouched(net, before) is None
    assert (random.getstate(), np.random.get_state()[1].tolist()) == state  # noqa: NPY002


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_networks_are_refused():
    net = nn.Sequential(conv(3, 3), nn.Linear(12, 12))
    slim = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    with pytest.raises(TraceError, match=r"quantised \(1 holds packed integers\); prune the float"):
        record(slim, image())


def test_networks_that_are_to_be_quantised_later_are_not_refused():
    class Prepared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.body, self.tail = conv(3, 8), conv(8, 8), conv(8, 3)
            self.enter = torch.ao.quantization.QuantStub()
            self.adds = torch.ao.nn.quantized.FloatFunctional()

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(self.enter(x))
            return self.tail(self.adds.add(x, self.body(x)))

    assert record(Prepared(), image()).operators


def test_a_cause_is_kept_for_those_who_look():
    with pytest.raises(TraceError) as caught:
        record(Net(raises), image())
    assert isinstance(caught.value.__cause__, ValueError)


def test_networks_on_the_meta_device_are_recorded():
    net = Net(lambda _, x: x).to("meta")
    assert len(record(net, image(device="meta")).operators) == 2
    assert net.head.weight.is_meta


def test_weights_that_are_not_finite_are_recorded():
    net = Net(lambda _, x: x)
    nn.init.constant_(net.head.weight, float("nan"))
    assert len(record(net, image()).operators) == 2


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_the_callers_gradient_mode_does_not_matter_and_stays(mode):
    net = Net(lambda _, x: x)
    with mode():
        before = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
        assert [op.name for op in record(net, image()).operators] == ["aten.convolution"] * 2
        assert (torch.is_grad_enabled(), torch.is_inference_mode_enabled()) == before


def test_functions_in_attributes_are_shared_and_left_alone():
    factor = torch.rand(1)
    net = Net(lambda _, x: x, scale=lambda x: x * factor)
    net.body = lambda net, x: net.scale(x)
    assert len(record(net, image()).operators) == 3
    assert type(factor) is Tensor


def test_two_recordings_are_the_same():
    net = Net(lambda _, x: x.view(1, 2, 4, 12, 12).mean(1).repeat(1, 2, 1, 1))
    first, second = record(net, image()), record(copy.deepcopy(net), image())
    assert first == second
