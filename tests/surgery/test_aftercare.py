"""A slim network is a network like any other: what a user does next with it works."""

from __future__ import annotations

import copy
import io
import os
import pickle
import shutil

import pytest
import torch
from torch import nn

from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests import nets
from tests.wirings import attention, attributes, convolutions, gates, norms

KINDS = (
    nets.Residual,
    nets.Dense,
    attributes.BranchSizes,
    attributes.NestedOptions,
    convolutions.WeightNormParametrized,
    gates.RecurrentCell,
    norms.LayerNormed,
    attention.WindowAttention,
)

each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def slimmed(net: nn.Module, inputs: object, ratio: float = 0.5, **options: object) -> nn.Module:
    graph = trace(net, inputs, **options)
    scores = score_groups(net, graph.groups, "l2")
    plan = make_plan(graph, scores, Target("channel_ratio", ratio), Policy("local", 1, 1))
    slim = apply(plan, net)
    verify(net, slim, plan, inputs)
    return slim


def prepared(kind) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    net, inputs = nets.make(kind)
    return net, slimmed(net, inputs, **kind.options), inputs


def outputs(net: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return net.eval()(inputs)


@each_kind
def test_its_state_goes_into_another_slim_network(kind):
    dense, slim, inputs = prepared(kind)
    other = slimmed(dense, inputs, **kind.options)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    other.load_state_dict(slim.state_dict(), strict=True)
    assert torch.equal(outputs(slim, inputs), outputs(other, inputs))


@each_kind
def test_copies_and_pickles_compute_the_same(kind):
    _, slim, inputs = prepared(kind)
    expected = outputs(slim, inputs)
    assert torch.equal(outputs(copy.deepcopy(slim), inputs), expected)
    if not hasattr(slim, "mid") or not hasattr(slim.mid, "parametrizations"):  # torch refuses those
        assert torch.equal(outputs(pickle.loads(pickle.dumps(slim)), inputs), expected)  # noqa: S301
    buffer = io.BytesIO()
    torch.save(slim.state_dict(), buffer)
    buffer.seek(0)
    slim.load_state_dict(torch.load(buffer, weights_only=True))


@each_kind
def test_it_trains(kind):
    _, slim, inputs = prepared(kind)
    slim.train()
    optimizer = torch.optim.Adam(slim.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = slim(inputs).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    graded = [p.grad is not None for p in slim.parameters() if p.requires_grad]
    assert all(graded)


@each_kind
def test_it_changes_type_and_device(kind):
    _, slim, inputs = prepared(kind)
    expected = outputs(slim, inputs)
    single = outputs(slim.float(), inputs.float())
    torch.testing.assert_close(single.double(), expected, rtol=1e-4, atol=1e-4)
    half = slim.bfloat16()
    assert {p.dtype for p in half.parameters() if p.is_floating_point()} == {torch.bfloat16}
    assert outputs(half, inputs.bfloat16()).dtype == torch.bfloat16
    meta = slim.to("meta")
    assert all(p.is_meta for p in meta.parameters())


@each_kind
def test_it_is_pruned_again(kind):
    dense, slim, inputs = prepared(kind)
    again = slimmed(slim, inputs, 0.5, **kind.options)
    counts = [sum(p.numel() for p in net.parameters()) for net in (dense, slim, again)]
    assert counts[0] > counts[1] > counts[2]


@each_kind
def test_torch_export_follows_it(kind):
    _, slim, inputs = prepared(kind)
    program = torch.export.export(slim.eval(), (inputs,))
    torch.testing.assert_close(program.module()(inputs), outputs(slim, inputs))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no compiler")
def test_torch_compile_compiles_it():
    slim = slimmed(EDSR(channels=16, blocks=1), torch.rand(1, 3, 12, 12))
    image = torch.rand(1, 3, 12, 12)
    compiled = torch.compile(slim)
    torch.testing.assert_close(outputs(compiled, image), outputs(slim, image))


def test_it_is_wrapped_for_several_processes(tmp_path):
    slim = slimmed(EDSR(channels=16, blocks=1), torch.rand(1, 3, 12, 12))
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        wrapped = nn.parallel.DistributedDataParallel(slim)
        wrapped(torch.rand(1, 3, 12, 12)).sum().backward()
        assert all(p.grad is not None for p in slim.parameters() if p.requires_grad)
    finally:
        torch.distributed.destroy_process_group()


def test_onnx_takes_it(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    image = torch.rand(1, 3, 12, 12)
    slim = slimmed(EDSR(channels=16, blocks=1), image)
    file = os.fspath(tmp_path / "slim.onnx")
    torch.onnx.export(slim.eval(), (image,), file, dynamo=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image.numpy()})
    torch.testing.assert_close(torch.from_numpy(found), outputs(slim, image), rtol=1e-4, atol=1e-4)
