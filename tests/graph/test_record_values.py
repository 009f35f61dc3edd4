"""Forward passes that ask for the values of tensors, and what is said of them."""

from __future__ import annotations

import gc
import random
import weakref

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import TraceError
from prunekit.graph.integers import Literal, Size
from prunekit.graph.record import record
from prunekit.graph.tape import Tape
from tests.graph.test_record_wirings import Net, between, names
from tests.nets import conv
from tests.untouched import assert_untouched, picture

ONE_INPUT = "; branches that depend on values are traced for one input only"


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 12, 12)


def moved(net: Net, x: Tensor) -> Tensor:
    net.tail.to(x.device, x.dtype)
    return x * 2


@pytest.mark.parametrize(
    ("body", "expected", "reason"),
    [
        (lambda _, x: x * x.mean().item(), ["mean", "_local_scalar_dense", "mul"],
         "aten._local_scalar_dense"),
        (lambda _, x: x * 2 if x.mean() < 1e9 else x, ["mean", "lt", "_local_scalar_dense", "mul"],
         "aten._local_scalar_dense"),
        (lambda _, x: x + (x > 0).nonzero().sum(), ["gt", "nonzero", "sum", "add"], "aten.nonzero"),
        (lambda _, x: x + x[x > 0].sum(), ["gt", "index", "sum", "add"], "aten.index"),
        (lambda _, x: x * sum(x.mean((2, 3)).tolist()[0]), ["mean", "item", "mul"],
         "aten._local_scalar_dense"),
        (lambda _, x: torch.from_numpy(x.numpy() * 2), ["detach", "item", "lift_fresh"],
         "RuntimeError (.numpy() is not supported for tensor subclasses.)"),
        (lambda _, x: x + torch.from_numpy(np.asarray(x)),
         ["detach", "item", "lift_fresh", "add"],
         "RuntimeError (.numpy() is not supported for tensor subclasses.)"),
        (moved, ["mul"], "RuntimeError (_apply(): Couldn't swap Conv2d.weight)"),
    ],
)  # fmt: skip
def test_values_are_asked_of_real_tensors(body, expected, reason, image):
    net = Net(body)
    before = picture(net)
    tape = record(net, image)
    assert between(tape) == expected
    assert tape.notes == (
        f"recorded on real tensors, because of {reason} in its forward{ONE_INPUT}",
    )
    assert_untouched(net, before)


def test_the_note_names_the_module(image):
    tape = record(nn.Sequential(conv(3, 3), Net(lambda _, x: x * x.sum().item())), image)
    assert "because of aten._local_scalar_dense in 1; " in tape.notes[0]


def test_most_networks_need_no_values(image):
    assert record(Net(lambda _, x: x), image).notes == ()


def test_what_leaves_for_numpy_is_written_down_with_its_shape(image):
    tape = record(Net(lambda _, x: torch.from_numpy(x.numpy() * 2)), image)
    left = next(op for op in tape.operators if op.name == "aten.item")
    assert left.outputs == ()
    assert tape.shapes[left.operands[0].index] == (1, 8, 12, 12)


def test_integers_are_followed_on_real_tensors_too(image):
    body = Net(lambda net, x: x.view(x.shape[0], net.n, 12, 12) * x.sum().item(), n=8)
    view = next(op for op in record(body, image).operators if op.name == "aten.view")
    assert [type(n) for n in view.arguments[1]] == [Size, Size, Literal, Literal]


@pytest.mark.parametrize("values", [False, True])
def test_a_network_that_takes_plain_integers_only_is_recorded_without_sizes(values, image):
    def body(net: Net, x: Tensor) -> Tensor:
        if type(net.n) is not int or type(x.shape[1]) is not int:
            message = "an int, please"
            raise TypeError(message)
        return x.view(1, net.n, *x.shape[2:]) * (x.sum().item() if values else 2)

    tape = record(Net(body, n=8), image)
    view = next(op for op in tape.operators if op.name == "aten.view")
    assert [type(n) for n in view.arguments[1]] == [Literal] * 4
    assert tape.notes[-1] == (
        "recorded without following integers, because of TypeError (an int, please) in its "
        "forward; sizes in the code are taken for fixed"
    )
    assert len(tape.notes) == 1 + values


def test_the_error_of_the_real_run_is_told(image):
    def body(_: Net, x: Tensor) -> Tensor:
        limit = x.sum().item()
        message = f"{limit > -1e9} is not good enough"
        raise ValueError(message)

    with pytest.raises(TraceError, match="ValueError in its forward: True is not good enough"):
        record(Net(body), image)


def test_the_meta_device_has_no_values():
    net = Net(lambda _, x: x * x.sum().item()).to("meta")
    with pytest.raises(TraceError, match="needs the values of tensors, and the meta device has"):
        record(net, torch.rand(1, 3, 12, 12, device="meta"))


def test_real_inputs_and_generators_stay_as_they_are(image):
    def body(_: Net, x: Tensor) -> Tensor:
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 (what networks do)
        return x * torch.rand(1).item() * random.random() * np.random.rand()  # noqa: NPY002, S311

    class Overwrites(Net):
        def forward(self, x: Tensor) -> Tensor:
            x *= 0
            return super().forward(x)

    net, before = Overwrites(body), image.clone()
    torch_state, python_state, numpy_state = picture(net), random.getstate(), np.random.get_state()  # noqa: NPY002
    assert record(net, image).notes
    assert torch.equal(image, before)
    assert_untouched(net, torch_state)
    assert random.getstate() == python_state
    assert np.random.get_state()[1].tolist() == numpy_state[1].tolist()  # noqa: NPY002


def test_activations_are_let_go():
    alive: list[weakref.ref[Tensor]] = []

    def body(_: Net, x: Tensor) -> Tensor:
        for _step in range(20):
            x = F.relu(x) * x.sum().item()
            alive.append(weakref.ref(x))
            assert sum(reference() is not None for reference in alive) <= 2
        return x

    assert record(Net(body), torch.rand(1, 3, 12, 12)).notes
    gc.collect()
    assert not any(reference() is not None for reference in alive)


@pytest.mark.parametrize("shape", [(4,), (2, 3)])
def test_a_number_is_never_that_of_a_tensor_that_is_gone(shape):
    tape = Tape(lambda: "")
    ids: set[int] = set()
    numbers: set[int] = set()
    for _ in range(200):
        tensor = torch.zeros(shape)
        ids.add(id(tensor))
        numbers.add(tape.value(tensor).index)
        assert tape.value(tensor).index == len(tape.shapes) - 1
        del tensor
    assert len(numbers) == len(tape.shapes) == 200
    assert len(ids) < 200  # ids did come again


def test_memory_that_comes_again_is_no_alias(image):
    def body(_: Net, x: Tensor) -> Tensor:
        x.sum().item()
        for i in range(50):
            x = x + torch.from_numpy(np.full((1, 8, 12, 12), i, np.float32))
        return x

    assert "alias" not in names(record(Net(body), image))
