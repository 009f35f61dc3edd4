"""Tracing a network: what it takes and refuses, and that the caller's is left alone."""

from __future__ import annotations

import logging
import threading
from collections import UserDict
from dataclasses import dataclass
from types import MappingProxyType

import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import TraceError
from prunekit.graph import fake_copy, trace
from prunekit.graph.record import record
from prunekit.nets import EDSR
from tests.nets import conv
from tests.untouched import assert_untouched, picture


class Two(nn.Module):
    """Two layers, with a group of width 8 between them."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x))


class Fails(Two):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.ReLU(), nn.Linear(5, 5))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(self.head(x))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 12, 12)


def widths(model: nn.Module, inputs: object) -> list[int]:
    return [group.width for group in trace(model, inputs).groups]


def test_a_failing_forward_is_told_with_module_path_and_shapes(image):
    with pytest.raises(TraceError) as caught:
        trace(Fails(), image)
    message = str(caught.value)
    assert message.startswith("Fails cannot be run on inputs of shape (1, 3, 12, 12): ")
    assert "RuntimeError in inner.1: " in message
    assert "\n" not in message


def test_a_failing_forward_leaves_the_network_as_it_was(image):
    net = Fails().train()
    net.head.eval()
    net.tail.weight.requires_grad_(False)
    net.inner.register_forward_hook(lambda *_: None)
    before = picture(net)
    with pytest.raises(TraceError):
        trace(net, image)
    assert_untouched(net, before)


def test_a_failing_forward_logs_nothing(image, caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(TraceError):
        trace(Fails(), image)
    assert not caplog.records
    assert not logging.getLogger("torch._subclasses.fake_tensor").disabled


def test_inputs_of_the_wrong_shape_are_told(image):
    with pytest.raises(TraceError, match=r"shape \(1, 4, 12, 12\): RuntimeError in head: "):
        trace(Two(), torch.rand(1, 4, 12, 12))
    with pytest.raises(TraceError, match="inputs of shape"):
        trace(Two(), (image, image))


@pytest.mark.parametrize("inputs", [(1, 3, 12, 12), None, 5, "image", {"y": 1}])
def test_what_is_no_tensor_is_told(inputs):
    with pytest.raises(TraceError, match="on inputs without a tensor: TypeError"):
        trace(Two(), inputs)


@pytest.mark.parametrize("thing", [None, "edsr", EDSR, torch.rand(3), {}])
def test_what_is_no_module_is_refused(thing, image):
    with pytest.raises(TraceError, match=r"a torch\.nn\.Module is traced, not "):
        trace(thing, image)


def test_a_module_without_parameters_is_refused(image):
    with pytest.raises(TraceError, match="ReLU has no parameters, so there is nothing to prune"):
        trace(nn.ReLU(), image)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_with_the_way_out(image):
    net = nn.Sequential(torch.jit.trace(nn.ReLU(), image), conv(3, 3))
    with pytest.raises(TraceError, match=r"TorchScript.*give the Python module"):
        trace(net, image)


@pytest.mark.parametrize("result", [None, 7, "text", (), object()])
def test_a_network_that_returns_no_tensor_is_refused(result, image):
    class Mute(Two):
        def forward(self, x: Tensor) -> object:
            super().forward(x)
            return result

    with pytest.raises(TraceError, match="no tensor in it, so nothing could be proven"):
        trace(Mute(), image)


def test_inputs_come_as_tensor_sequence_or_mapping(image):
    class Named(Two):
        def forward(self, x: Tensor, *, gain: Tensor | None = None) -> Tensor:
            return super().forward(x if gain is None else x * gain)

    gain = torch.rand(1, 1, 12, 12)
    named = {"x": image, "gain": gain}
    assert widths(Named(), image) == [8]
    for inputs in (image, (image,), [image], {"x": image}, MappingProxyType({"x": image})):
        assert trace(Named(), inputs).input_shapes == ((1, 3, 12, 12),)
    for inputs in (named, MappingProxyType(named)):
        graph = trace(Named(), inputs)
        assert graph.input_shapes == ((1, 3, 12, 12), (1, 1, 12, 12))
        assert graph.verify(Named(), inputs).holds


def test_nested_inputs_and_outputs_are_found(image):
    class Nested(Two):
        def forward(self, images: dict[str, list[Tensor]]) -> dict[str, object]:
            features = self.head(images["lr"][0])
            return {"sr": [self.tail(features)], "more": (features.mean(dim=(2, 3)), 5)}

    graph = trace(Nested(), ({"lr": [image]},))
    assert graph.input_shapes == ((1, 3, 12, 12),)
    assert sorted(graph.output_shapes) == [(1, 3, 12, 12), (1, 8)]
    assert graph.groups == ()  # the features are an output too


@dataclass
class Restored:
    """What a network returns, with its name."""

    sr: Tensor
    by: str


def test_records_and_mappings_of_any_class_are_looked_into(image):
    class Recorded(Two):
        def forward(self, x: Tensor) -> object:
            features = self.head(x)
            return Restored(self.tail(features), "me"), UserDict(mean=features.mean(dim=(1, 2, 3)))

    graph = trace(Recorded(), image)
    assert sorted(graph.output_shapes) == [(1,), (1, 3, 12, 12)]
    assert [group.width for group in graph.groups] == [8]
    assert graph.verify(Recorded(), image).holds


def test_a_network_that_keeps_tensors_of_its_forward_comes_out_untouched(image):
    class Caches(Two):
        def __init__(self) -> None:
            super().__init__()
            self.last = None
            self.seen = [torch.rand(8)]
            self.register_buffer("count", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.head(x)
            self.seen.append(self.last)
            self.count += 1
            return self.tail(self.last)

    net = Caches()
    before = picture(net)
    graph = trace(net, image)
    assert graph.verify(net, image).holds
    assert_untouched(net, before)
    assert net.last is None
    assert len(net.seen) == 1
    assert [group.width for group in graph.groups] == [8]


def test_a_network_that_rewrites_its_weights_in_forward_comes_out_untouched(image):
    class Rewrites(Two):
        def forward(self, x: Tensor) -> Tensor:
            self.head.weight.data = self.head.weight.data * 2
            with torch.no_grad():
                self.tail.weight.mul_(0.5)
            return super().forward(x)

    net = Rewrites()
    before = picture(net)
    assert trace(net, image).verify(net, image).holds
    assert_untouched(net, before)


def test_inputs_that_a_network_overwrites_come_out_untouched(image):
    class Overwrites(Two):
        def forward(self, x: Tensor) -> Tensor:
            x -= 0.5
            return super().forward(x)

    before = image.clone()
    assert trace(Overwrites(), image).verify(Overwrites(), image).holds
    assert torch.equal(image, before)


def test_random_numbers_in_forward_do_not_touch_the_callers_generator(image):
    class Noisy(Two):
        def forward(self, x: Tensor) -> Tensor:
            noise = torch.randn_like(x)
            torch.manual_seed(7)
            return super().forward(x + noise + torch.rand(1))

    net = Noisy()
    before = picture(net)
    assert trace(net, image).verify(net, image).holds
    assert_untouched(net, before)


def test_weights_are_not_copied_for_the_trace():
    class Heavy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1 << 20, 1 << 20, bias=False, device="meta")  # 4 TiB
            self.tail = nn.Linear(1 << 20, 3, device="meta")

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.layer(x))

    graph = trace(Heavy(), torch.rand(1, 1 << 20, device="meta"))
    assert [group.width for group in graph.groups] == [1 << 20]
    mode = torch._subclasses.fake_tensor.FakeTensorMode()
    for tensor in fake_copy(Two(), mode).parameters():
        assert isinstance(tensor, torch._subclasses.FakeTensor)
        assert tensor.device.type == "cpu"
        assert tensor.untyped_storage().device.type == "meta"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_networks_of_any_floating_type_are_traced_and_proven(dtype, image):
    net = EDSR(channels=8, blocks=1).to(dtype)
    graph = trace(net, image.to(dtype))
    assert graph["trunk"].width == 8
    assert graph.verify(net, image.to(dtype)).holds


def test_training_mode_stays_and_the_trace_sees_evaluation_mode(image):
    class Modes(Two):
        def forward(self, x: Tensor) -> Tensor:
            assert not self.training
            assert not self.head.training
            return super().forward(x)

    net = Modes().train()
    trace(net, image)
    assert net.training
    assert net.head.training


def test_hooks_run_in_the_trace_and_survive_it(image):
    net = Two()
    seen = []
    hook = net.head.register_forward_hook(lambda _m, _i, out: (seen.append(type(out)), out * 2)[1])
    before = picture(net)
    graph = trace(net, image)
    assert_untouched(net, before)
    assert len(seen) == 1
    assert graph.operators == 3
    hook.remove()
    assert trace(net, image).operators == 2


def test_a_tensor_that_is_a_computed_attribute_is_of_fixed_size(image):
    class Computed(Two):
        def __init__(self) -> None:
            super().__init__()
            self.mid = conv(8, 6)
            self.gain = (torch.rand(8, requires_grad=True) * 2).view(1, 8, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(self.mid(self.head(x) * self.gain)[:, :3]))

    net = Computed()
    graph = trace(net, image)
    assert not net.gain.is_leaf
    reasons = {f.reason.text for f in graph.frozen if f.tensor == "head.weight" and f.axis == 0}
    assert reasons == {"meets an axis of fixed size"}


@pytest.mark.parametrize("value", [threading.Lock(), (i for i in ())], ids=["lock", "generator"])
def test_an_attribute_that_cannot_be_copied_is_told(value, image):
    net = Two()
    net.extra = value
    with pytest.raises(TraceError, match=r"Two cannot be copied \(cannot pickle .*; store what"):
        trace(net, image)


def test_a_network_that_refuses_to_be_copied_is_told(image):
    class Refuses(Two):
        def __deepcopy__(self, memo: object) -> Refuses:
            raise ValueError

    with pytest.raises(TraceError, match="Refuses cannot be copied"):
        trace(Refuses(), image)


def test_weights_that_are_not_finite_do_not_matter_to_the_trace(image):
    net = Two()
    nn.init.constant_(net.head.weight, float("nan"))
    assert widths(net, image) == [8]


def test_operators_are_in_order_with_the_module_that_called_them(image):
    tape = record(Two(), image)
    assert [(op.name, op.module) for op in tape.operators] == [
        ("aten.convolution", "head"),
        ("aten.convolution", "tail"),
    ]
    assert [tape.shapes[v.index] for v in tape.outputs] == [(1, 3, 12, 12)]
    assert tape.operators[0].outputs[0] in tape.operators[1].operands


def test_modules_are_told_apart_after_an_error_that_the_network_caught(image):
    class Catches(Two):
        def __init__(self) -> None:
            super().__init__()
            self.block = Fails()

        def forward(self, x: Tensor) -> Tensor:
            try:
                self.block(x)
            except RuntimeError:
                x = x * 2
            return super().forward(x)

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Catches()
            self.last = conv(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.inner(x)) * 2

    tape = record(Outer(), image)
    assert [(op.name, op.module) for op in tape.operators][-3:] == [
        ("aten.convolution", "inner.tail"),
        ("aten.convolution", "last"),
        ("aten.mul", ""),
    ]
