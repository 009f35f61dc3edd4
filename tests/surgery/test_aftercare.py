"""A slim network is a network like any other: what a user does next with it works."""

from __future__ import annotations

import copy
import io
import pickle
import shutil

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from prunekit.surgery import apply
from tests.surgery.slims import KINDS, SPANDREL, kinds, prune

each_kind = kinds(*KINDS)

COMPILED = ("EDSR", "BSRN", "NormedResidual", "Video", "WindowAttention")


def outputs(net: nn.Module, images: Tensor) -> Tensor:
    with torch.no_grad():
        return net.eval()(images)


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def changed(net: nn.Module) -> nn.Module:
    """Add to all parameters and statistics; tables of indices stay."""
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.add_(1 if tensor.is_floating_point() else 0)
    return net


@each_kind
def test_its_state_goes_into_another_slim_network(kind):
    slim, other = kind.slim(), changed(kind.slim())
    expected = outputs(slim, kind.images)
    assert not torch.equal(outputs(other, kind.images), expected)
    buffer = io.BytesIO()
    torch.save(slim.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert torch.equal(outputs(other, kind.images), expected)


@each_kind
def test_the_state_of_the_dense_network_is_refused(kind):
    with pytest.raises(RuntimeError, match="size mismatch"):
        kind.slim().load_state_dict(kind.dense.state_dict())


@each_kind
def test_a_copy_computes_the_same_and_is_another(kind):
    slim = kind.slim()
    expected = outputs(slim, kind.other)
    twin = copy.deepcopy(slim)
    assert torch.equal(outputs(twin, kind.other), expected)
    changed(twin)
    assert torch.equal(outputs(slim, kind.other), expected)


@each_kind
def test_pickles_compute_the_same(kind):
    slim = kind.slim()
    if any(parametrize.is_parametrized(module) for module in slim.modules()):
        with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):
            pickle.dumps(kind.dense)  # torch refuses the dense network as well
        return
    opened = pickle.loads(pickle.dumps(slim))  # noqa: S301 (our own)
    assert torch.equal(outputs(opened, kind.other), outputs(slim, kind.other))


@each_kind
def test_it_trains(kind):
    slim = kind.slim().train()
    optimizer = torch.optim.Adam(slim.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = slim(kind.images).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    assert all(p.grad is not None for p in slim.parameters() if p.requires_grad)


@each_kind
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-5), (torch.float16, 1e-2), (torch.bfloat16, 5e-2)],
    ids=str,
)
def test_it_changes_type(kind, dtype, tolerance):
    expected = outputs(kind.slim(), kind.images)
    slim = kind.slim().to(dtype)
    assert {p.dtype for p in slim.parameters() if p.is_floating_point()} == {dtype}
    found = outputs(slim, kind.images.to(dtype))
    assert found.dtype == dtype
    error = (found.double() - expected).abs().max() / expected.abs().max()
    assert error < tolerance
    assert outputs(slim.half().float(), kind.images.float()).dtype == torch.float32


@each_kind
def test_it_moves_to_another_device(kind):
    slim = kind.slim()
    state = slim.state_dict()
    meta = slim.to("meta")
    assert all(tensor.is_meta for tensor in meta.state_dict().values())
    back = meta.to_empty(device="cpu")
    back.load_state_dict(state)
    assert all(torch.equal(t, state[name]) for name, t in back.state_dict().items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
@each_kind
def test_it_computes_the_same_on_a_gpu(kind):
    slim = kind.slim()
    expected = outputs(slim, kind.other)
    moved = slim.to("cuda")
    assert all(tensor.is_cuda for tensor in moved.state_dict().values())
    torch.testing.assert_close(outputs(moved, kind.other.cuda()).cpu(), expected)
    moved(kind.images.cuda()).sum().backward()
    assert torch.equal(outputs(moved.cpu(), kind.other), expected)


@each_kind
def test_it_is_pruned_again(kind):
    slim = kind.slim()
    again = apply(prune(slim, kind.images, **kind.options), slim)
    assert parameters(kind.dense) > parameters(slim) > parameters(again)
    assert outputs(again, kind.other).shape == outputs(kind.dense, kind.other).shape


@each_kind
def test_torch_export_follows_it(kind):
    slim = kind.slim()
    program = torch.export.export(slim.eval(), (kind.images,))
    torch.testing.assert_close(program.module()(kind.images), outputs(slim, kind.images))


@pytest.fixture
def compiler():
    """Nothing is left of what torch compiled for another network."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def assert_compiles(slim: nn.Module, images: Tensor, **options: object) -> None:
    """The compiled network computes the same, forwards and backwards."""
    twin = copy.deepcopy(slim)
    compiled = torch.compile(twin, fullgraph=True, **options)
    found, expected = compiled(images), slim(images)
    torch.testing.assert_close(found, expected)
    found.square().mean().backward()
    expected.square().mean().backward()
    for ours, theirs in zip(twin.parameters(), slim.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@kinds(*COMPILED, slow=[name for name in KINDS if name not in COMPILED])
@pytest.mark.usefixtures("compiler")
def test_the_compiler_of_torch_follows_it_as_a_whole(kind):
    assert_compiles(kind.slim().eval(), kind.images, backend="aot_eager")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler of C++")
@kinds(slow=(*COMPILED, "IMDN", "ShiftedWindows", SPANDREL))
@pytest.mark.usefixtures("compiler")
def test_torch_compile_compiles_it(kind):
    assert_compiles(kind.slim().eval(), kind.images)


@pytest.fixture
def processes(tmp_path):
    """A group of one process."""
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@each_kind
@pytest.mark.usefixtures("processes")
def test_it_trains_wrapped_for_several_processes(kind):
    alone, slim = kind.slim().train(), kind.slim().train()
    wrapped = nn.parallel.DistributedDataParallel(slim)
    for net in (alone, wrapped):
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-2)
        net(kind.images).square().mean().backward()
        optimizer.step()
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(wrapped.module.state_dict()[name], tensor, msg=name)
    wrapped.load_state_dict({f"module.{name}": t for name, t in kind.slim().state_dict().items()})
    assert torch.equal(outputs(slim, kind.other), outputs(kind.slim(), kind.other))
