"""Everything that runs eagerly is recorded: what networks do besides calling layers."""

from __future__ import annotations

import copy
import functools
import warnings
from collections import Counter

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils import checkpoint

from prunekit.errors import TraceError
from prunekit.graph import fake_copy, trace
from prunekit.graph.copying import clone_model, tensors_of, unwrap
from prunekit.graph.integers import Attribute, AxisSize, Literal, Size
from prunekit.graph.record import Recording, record
from tests.nets import conv
from tests.untouched import assert_untouched, picture


class Net(nn.Module):
    """Head and tail, and in between what the test asks for."""

    def __init__(self, body, **attributes: object) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.body = body
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self, self.head(x)))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 12, 12)


def names(tape: Recording) -> list[str]:
    return [operator.name.removeprefix("aten.") for operator in tape.operators]


def between(tape: Recording) -> list[str]:
    """The operators between head and tail; what follows them are tensors put in others' places."""
    recorded = names(tape)
    while recorded[-1] == "copy_":
        recorded.pop()
    assert recorded[0] == recorded[-1] == "convolution"
    return recorded[1:-1]


def kernel() -> nn.Parameter:
    return nn.Parameter(torch.rand(8, 8, 1, 1))


def merged_into_data(net: Net, x: Tensor) -> Tensor:
    net.weight.data = net.source.data * 2
    return F.conv2d(x, net.weight)


def set_parameter(net: Net, x: Tensor) -> Tensor:
    net.weight = nn.Parameter(net.source * 2)
    return F.conv2d(x, net.weight)


def copied_into(net: Net, x: Tensor) -> Tensor:
    net.weight.copy_(net.source)
    return F.conv2d(x, net.weight)


@pytest.mark.parametrize("values", [False, True], ids=["fake", "real"])
@pytest.mark.parametrize("body", [merged_into_data, set_parameter, copied_into])
def test_a_weight_that_is_written_in_forward_comes_from_its_source(body, values, image):
    def forward(net: Net, x: Tensor) -> Tensor:
        return body(net, x * 2 if not values or x.sum().item() else x)

    net = Net(forward, weight=kernel(), source=kernel())
    before = picture(net)
    tape = record(net, image)
    assert bool(tape.notes) == values
    assert_untouched(net, before)
    known = {tape.state["source"]}
    for operator in tape.operators:
        if known & set(operator.operands) and operator.name != "aten.convolution":
            known |= set(operator.outputs)
    layers = [operator for operator in tape.operators if operator.name == "aten.convolution"]
    assert layers[-2].arguments[1] in known


def test_a_weight_that_is_merged_by_the_switch_to_evaluation_comes_from_its_source(image):
    class Merging(Net):
        def train(self, mode: bool = True) -> Net:  # noqa: FBT001, FBT002 (torch's own form)
            if not mode:
                self.weight = nn.Parameter(self.source * 2)
            return super().train(mode)

    net = Merging(lambda net, x: F.conv2d(x, net.weight), weight=kernel(), source=kernel())
    tape = record(net.train(), image)
    copies = [o for o in tape.operators if o.name == "aten.copy_"]
    assert copies[0].outputs == (tape.state["weight"],)
    assert any(tape.state["source"] in operator.operands for operator in tape.operators)


def test_data_that_is_assigned_is_a_copy_into_the_parameter(image):
    tape = record(Net(merged_into_data, weight=kernel(), source=kernel()), image)
    assert between(tape) == ["detach", "mul", "copy_", "convolution"]
    assert tape.operators[3].outputs == (tape.state["weight"],)
    assert tape.operators[4].arguments[1] == tape.state["weight"]


def test_data_of_another_shape_is_another_value(image):
    def body(net: Net, x: Tensor) -> Tensor:
        net.weight.data = torch.cat([net.source, net.source])
        return F.conv2d(x, net.weight)[:, :8]

    tape = record(Net(body, weight=kernel(), source=kernel()), image)
    assert between(tape) == ["cat", "alias", "convolution", "slice"]
    made = tape.operators[2].outputs[0]
    assert tape.shapes[made.index] == (16, 8, 1, 1)
    assert tape.shapes[tape.state["weight"].index] == (8, 8, 1, 1)
    assert tape.operators[3].arguments[1] == made


def test_a_tensor_that_changes_its_shape_in_place_is_another_value(image):
    def body(_net: Net, x: Tensor) -> Tensor:
        x = x.clone()
        return x.squeeze_(0).unsqueeze_(0)

    tape = record(Net(body), image)
    squeezed = tape.operators[2].outputs[0]
    assert tape.operators[2].operands != (squeezed,)
    assert tape.shapes[squeezed.index] == (8, 12, 12)


def test_a_buffer_that_is_replaced_is_read_where_it_was_and_written_where_it_is(image):
    def body(net: Net, x: Tensor) -> Tensor:
        net.mean = net.mean * 0.9 + x.mean((0, 2, 3)) * 0.1
        return x - net.mean.view(1, -1, 1, 1)

    net = Net(body)
    net.register_buffer("mean", torch.rand(8))
    tape = record(net, image)
    assert between(tape) == ["mul", "mean", "mul", "add", "view", "sub"]
    assert tape.operators[1].operands == (tape.state["mean"],)
    assert tape.operators[5].operands == tape.operators[4].outputs
    assert set(net.state_dict()) >= {"mean"}


class Doubles(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, width: int) -> Tensor:  # noqa: ARG004 (torch's signature)
        return x.view(1, width, -1) * 2


def gate(x: Tensor, width: int) -> Tensor:
    return torch.sigmoid(x).view(1, width, 12, 12)


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecated, but many networks have some
    scripted = torch.jit.script(gate)


def in_autocast(_net: Net, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return F.relu(x).float()


def with_gradients(_net: Net, x: Tensor) -> Tensor:
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad((x**2).sum(), x)[0]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (lambda _, x: torch.stack([x * i for i in (1, 2)]).sum(0), ["mul"] * 2 + ["stack", "sum"]),
        (lambda _, x: functools.reduce(torch.add, [x, x, x]), ["add", "add"]),
        (lambda _, x: checkpoint.checkpoint(F.relu, x, use_reentrant=False), ["relu"]),
        (lambda _, x: torch.inference_mode()(F.silu)(torch.conv2d(x, torch.ones(8, 8, 1, 1))),
         ["ones", "convolution", "silu"]),
        (lambda _, x: torch.inference_mode()(torch.flatten)(x, 2).view_as(x), ["view", "view"]),
        (lambda _, x: torch.no_grad()(F.relu)(x), ["relu"]),
        (lambda _, x: Doubles.apply(x, 8).view_as(x), ["view", "mul", "view"]),
        (lambda _, x: scripted(x, x.shape[1]), ["sigmoid", "view"]),
        (lambda _, x: torch.vmap(lambda y: y * 2)(x), ["mul"]),
        (lambda _, x: torch.vmap(lambda y: y.view(y.shape[0], -1))(x).view_as(x), ["view", "view"]),
        (lambda _, x: x.requires_grad_(requires_grad=False) * 2, ["mul"]),
        (in_autocast, ["relu"]),
        (with_gradients, ["detach", "pow", "sum", "ones_like", "expand", "pow", "mul", "mul"]),
    ],
)  # fmt: skip
def test_what_happens_around_operators_leaves_the_operators(body, expected, image):
    tape = record(Net(body), image)
    assert between(tape) == expected
    assert tape.notes == ()


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning", "ignore:The .grad attribute")
@pytest.mark.parametrize(
    ("reparametrise", "expected"),
    [
        (nn.utils.parametrizations.weight_norm, {"_weight_norm_interface": 1}),
        (nn.utils.weight_norm, {"_weight_norm_interface": 1}),
        (nn.utils.parametrizations.spectral_norm, {"vdot": 1, "mv": 1, "div": 1}),
        (nn.utils.spectral_norm, {"dot": 1, "mv": 1, "div": 1}),
    ],
)
def test_computed_weights_are_recorded_as_they_are_computed(reparametrise, expected, image):
    net = nn.Sequential(reparametrise(conv(3, 8)), conv(8, 3))
    before = picture(net)
    tape = record(net, image)
    assert_untouched(net, before)
    counts = Counter(names(tape))
    assert {name: counts[name] for name in expected} == expected
    weight = next(op for op in tape.operators if op.name == "aten.convolution").arguments[1]
    assert weight not in tape.state.values()
    assert any(weight in op.outputs for op in tape.operators)


FUSED = ("rnn", "lstm", "gru", "transformer", "multi_head")


@pytest.mark.parametrize(
    ("layer", "count"),
    [
        (nn.LSTM(8, 6, 2, bidirectional=True, batch_first=True), 1),
        (nn.LSTM(8, 6, proj_size=3), 1),
        (nn.GRU(8, 6), 1),
        (nn.RNN(8, 6), 1),
        (nn.LSTMCell(8, 6), 1),
        (nn.GRUCell(8, 6), 1),
        (nn.MultiheadAttention(8, 2), 3),
        (nn.TransformerEncoderLayer(8, 2, 16), 1),
        (nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2), 1),
        (nn.Transformer(8, 2, 1, 1, 16, batch_first=True), 2),
    ],
    ids=lambda x: type(x).__name__,
)
def test_layers_with_fused_kernels_are_recorded_as_their_parts(layer, count):
    shape = (2, 8) if isinstance(layer, nn.RNNCellBase) else (5, 2, 8)
    before = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    tape = record(layer, (torch.rand(shape),) * count)
    assert not [name for name in names(tape) if any(word in name for word in FUSED)]
    assert {"addmm", "mm"} & set(names(tape))
    assert (torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled) == before


def test_packed_sequences_are_recorded():
    class Packs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.GRU(8, 6)

        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 3]))
            return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0])[0]

    assert "addmm" in names(record(Packs(), torch.rand(5, 2, 8)))


def test_compiled_code_is_recorded_as_it_was_written(image):
    inner = Net(lambda _net, x: F.relu(x))
    inner.tail = torch.compile(inner.tail, backend="eager")
    inner.head.compile(backend="eager")
    before = picture(inner)
    assert between(record(inner, image)) == ["relu"]
    assert_untouched(inner, before)


def test_a_function_that_holds_the_network_is_refused(image):
    compiled = Net(lambda _net, x: F.relu(x))
    compiled.forward = torch.compile(compiled.forward, backend="eager")
    captured = Net(lambda _net, x: F.relu(x))
    captured.body = lambda _net, x: captured.inner(x)
    captured.inner = conv(8, 8)
    for net in (compiled, captured):
        before = picture(net)
        with pytest.raises(TraceError, match="through a function that holds it"):
            record(net, image)
        assert_untouched(net, before)


def test_a_hook_that_holds_the_network_is_refused(image):
    net = Net(lambda _net, x: F.relu(x))
    net.kept = {}
    net.head.register_forward_hook(lambda _m, _i, output: net.kept.update(out=output))
    with pytest.raises(TraceError, match="has a hook on 'head' that holds"):
        record(net, image)
    assert not net.kept


class WithOutside(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), OUTSIDE


OUTSIDE = torch.rand(3)


def test_a_tensor_that_no_operator_saw_is_an_output_like_others(image):
    net = WithOutside(lambda _net, x: F.relu(x))
    assert trace(net, image).output_shapes == ((1, 3, 12, 12), (3,))


def test_wrappers_are_taken_off():
    net = conv(3, 3)
    assert unwrap(net) is net
    assert unwrap(nn.DataParallel(net)) is net
    assert unwrap(torch.compile(net, backend="eager")) is net
    assert unwrap(nn.DataParallel(torch.compile(nn.DataParallel(net), backend="eager"))) is net


def test_wrapped_layers_keep_no_bookkeeping(image):
    tape = record(nn.Sequential(nn.DataParallel(conv(3, 3))), image)
    assert names(tape) == ["convolution"]


# caches


@functools.lru_cache
def grid(height: int, width: int) -> Tensor:
    return torch.ones(1, 1, height, width)


TABLE: dict[object, object] = {}
SEEN: list[object] = ["before"]


class Caching(Net):
    masks: dict[tuple[int, ...], Tensor] = {}  # noqa: RUF012 (the fault that is tested)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        TABLE[height] = height * width
        SEEN.append(x)
        if (height, width) not in self.masks:
            self.masks[height, width] = torch.ones(height, width)
        return super().forward(x * grid(height, width) * self.masks[height, width])


def test_a_recording_leaves_nothing_in_caches_and_takes_nothing_from_them(image):
    net = Caching(lambda _net, x: x)
    cached = grid
    grid(12, 12)
    first = record(net, image)
    assert names(first) == names(record(net, image)) == [
        "ones", "ones", "mul", "mul", "convolution", "convolution"
    ]  # fmt: skip
    assert (TABLE, SEEN, Caching.masks) == ({}, ["before"], {})
    assert grid is cached
    assert grid.cache_info().currsize == 1
    made = first.operators[1].arguments[0]
    assert [x.expression for x in made[2:]] == [AxisSize(4, 2), AxisSize(4, 3)]
    assert net(image).shape == (1, 3, 12, 12)
    Caching.masks.clear()
    TABLE.clear()
    SEEN[1:] = []


def test_einops_is_followed_and_its_cache_left_alone(image):
    einops = pytest.importorskip("einops")

    def body(net: Net, x: Tensor) -> Tensor:
        x = einops.rearrange(x, "b (g c) h w -> b g c h w", g=net.parts)
        return einops.rearrange(x, "b g c h w -> b (g c) h w")

    net = Net(body, parts=2)
    net(image)
    cache = einops.einops._reconstruct_from_shape
    before = cache.cache_info()
    split, merged = record(net, image).operators[1:3]
    assert einops.einops._reconstruct_from_shape is cache
    assert cache.cache_info() == before
    assert split.arguments[1][1].expression == Attribute("", "parts")
    assert isinstance(merged.arguments[1][1], Size)


def test_layers_of_einops_tell_the_attribute_that_they_are_copied_from(image):
    layers = pytest.importorskip("einops.layers.torch")
    net = Net(lambda net, x: net.split(x).flatten(1, 2))
    net.split = layers.Rearrange("b (g c) h w -> b g c h w", g=2)
    view = record(net, image).operators[1]
    assert view.arguments[1][1].expression == Attribute("split", "axes_lengths['g']")
    assert net.split._axes_lengths == (("g", 2),)


# private copies


class Holder:
    """An object of any kind, with a tensor that was computed."""

    def __init__(self) -> None:
        self.weight = torch.rand(8, requires_grad=True) * 2
        self.deep = {"list": [(torch.rand(2, requires_grad=True) * 2,)]}
        self.me = self

    def hook(self, _module: object, _inputs: object, output: Tensor) -> Tensor:
        self.last = output
        return output * self.weight.view(1, -1, 1, 1)


@pytest.mark.filterwarnings("ignore:The .grad attribute")
def test_tensors_in_any_object_are_private_too(image):
    holder = Holder()
    net = Net(lambda net, x: x * net.holder.deep["list"][0][0].sum(), holder=holder)
    net.head.register_forward_hook(holder.hook)
    before = picture(net)
    assert len(list(tensors_of(net))) == 6
    tape = record(net, image)
    assert between(tape) == ["view", "mul", "sum", "mul"]
    assert_untouched(net, before)
    assert not hasattr(holder, "last")
    copied = clone_model(net)
    assert copied.holder is not holder
    assert torch.equal(copied.holder.weight, holder.weight)


def test_fakes_are_like_their_tensors():
    net = nn.Sequential(conv(3, 4).half(), nn.BatchNorm2d(4).double(), nn.Conv2d(4, 4, 1))
    net[2].weight.requires_grad_(requires_grad=False)
    net[2].to(memory_format=torch.channels_last)
    private = fake_copy(net, torch._subclasses.fake_tensor.FakeTensorMode())
    for (name, original), (_, fake) in zip(
        net.state_dict(keep_vars=True).items(),
        private.state_dict(keep_vars=True).items(),
        strict=True,
    ):
        assert isinstance(fake, torch._subclasses.FakeTensor), name
        for aspect in ("shape", "dtype", "device", "requires_grad", "is_leaf"):
            assert getattr(fake, aspect) == getattr(original, aspect), (name, aspect)
        assert fake.stride() == original.stride()
        assert isinstance(fake, nn.Parameter) == isinstance(original, nn.Parameter)


# what stays with the integers


def test_integers_in_scripted_functions_are_followed(image):
    view = record(Net(lambda net, x: scripted(x, net.n), n=8), image).operators[2]
    assert view.arguments[1][1].expression == Attribute("", "n")
    assert all(isinstance(n, Literal) for n in view.arguments[1][2:])


def test_integers_pass_through_functions_with_their_own_gradient(image):
    view = record(Net(lambda net, x: Doubles.apply(x, net.n).view_as(x), n=8), image).operators[1]
    assert view.arguments[1][1].expression == Attribute("", "n")


def test_integers_inside_vmap_are_of_fixed_size(image):
    def body(_: Net, x: Tensor) -> Tensor:
        return torch.vmap(lambda y: y.view(y.shape[0], -1))(x).view_as(x)

    view = record(Net(body), image).operators[1]
    assert [type(n) for n in view.arguments[1]] == [int, Literal, int]


def test_integers_in_shared_objects_of_the_caller_are_not_touched(image):
    class Shared:
        def __init__(self) -> None:
            self.n = 8

        def __deepcopy__(self, memo: object) -> Shared:
            return self

    shared = Shared()
    record(Net(lambda net, x: x[:, : net.shared.n], shared=shared), image)
    assert type(shared.n) is int
    assert type(copy.deepcopy(shared).n) is int
