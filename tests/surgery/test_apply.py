"""Rebuilding: what the slim network keeps, what is refused, and that the dense one stays."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import SurgeryError, TraceError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import AttributeChange, Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import Normed, Tied, conv, make
from tests.untouched import assert_untouched, picture

FINE = Policy(round_to=1, min_width=1)


def planned(net: nn.Module, ratio: float = 0.5) -> Plan:
    graph = trace(net, torch.rand(1, 3, 6, 6, dtype=next(net.parameters()).dtype))
    scores = score_groups(net, graph.groups, "l2")
    return make_plan(graph, scores, Target("channel_ratio", ratio), FINE)


@pytest.fixture
def dense() -> EDSR:
    return EDSR(channels=8, blocks=2)


@pytest.fixture
def slim(dense) -> EDSR:
    return apply(planned(dense), dense)


def test_weights_are_the_kept_slices_of_the_dense_network(dense):
    plan = planned(dense)
    slim = apply(plan, dense)
    kept = {group.name: list(group.kept) for group in plan.groups}
    trunk, hidden = kept["trunk"], kept["body.0 hidden"]
    first = dense.body[0].body[0]
    assert torch.equal(slim.body[0].body[0].weight, first.weight[hidden][:, trunk])
    assert torch.equal(slim.body[0].body[0].bias, first.bias[hidden])
    filters = [4 * unit + phase for unit in kept["tail.0.0 / 4"] for phase in range(4)]
    assert torch.equal(slim.tail[0][0].weight, dense.tail[0][0].weight[filters][:, trunk])
    assert torch.equal(slim.add_mean.weight, dense.add_mean.weight)


@pytest.mark.parametrize(
    "other",
    [EDSR(channels=9, blocks=2), EDSR(channels=8, blocks=3), EDSR(3, 8, 2), nn.Conv2d(3, 3, 1)],
    ids=["wider", "deeper", "other scale", "other class"],
)
def test_a_plan_for_another_network_is_refused(dense, other):
    with pytest.raises(SurgeryError, match="the plan was made for another network than this"):
        apply(planned(dense), other)


def test_a_plan_is_refused_for_the_network_it_has_slimmed_and_for_another_type(dense, slim):
    with pytest.raises(SurgeryError, match="another network"):
        apply(planned(dense), slim)
    with pytest.raises(SurgeryError, match="another network"):
        apply(planned(dense), copy.deepcopy(dense).double())


def test_an_attribute_that_is_not_as_planned_is_refused_and_nothing_has_changed(dense):
    plan = planned(dense)
    dense.head[0].out_channels = 7
    before = picture(dense)
    with pytest.raises(SurgeryError, match=r"head\.0\.out_channels is 7 where the plan expects 8"):
        apply(plan, dense)
    assert_untouched(dense, before)


def test_an_attribute_that_is_not_there_is_refused(dense):
    odd = AttributeChange("head.0", "depth", 8, 4)
    with pytest.raises(
        SurgeryError, match=r"head\.0\.depth cannot be set to 4: there is no 'depth'"
    ):
        apply(replace(planned(dense), attributes=(odd,)), dense)


def test_the_dense_network_is_untouched(dense):
    plan = planned(dense)
    before = picture(dense)
    apply(plan, dense)
    assert_untouched(dense, before)


def test_a_failure_half_way_leaves_the_dense_network_untouched(dense, monkeypatch):
    plan = planned(dense)
    before = picture(dense)
    original, calls = Tensor.index_select, []

    def failing(self, *arguments):
        calls.append(self)
        if len(calls) == 5:
            raise MemoryError
        return original(self, *arguments)

    monkeypatch.setattr(Tensor, "index_select", failing)
    with pytest.raises(MemoryError):
        apply(plan, dense)
    monkeypatch.undo()
    assert_untouched(dense, before)


def test_an_attribute_that_cannot_be_copied_is_told_and_nothing_has_changed(dense):
    plan = planned(dense)
    dense.stream = (i for i in ())
    before = picture(dense)
    with pytest.raises(TraceError, match="cannot be copied"):
        apply(plan, dense)
    assert_untouched(dense, before)


def test_requires_grad_modes_and_hooks_are_kept_and_gradients_are_not(dense):
    dense.train()
    dense.body[1].eval()
    dense.head.requires_grad_(False)
    seen = []
    dense.head.register_forward_hook(lambda module, *_: seen.append(module))
    dense(torch.rand(1, 3, 6, 6)).sum().backward()
    slim = apply(planned(dense), dense)
    for (name, old), (_, new) in zip(
        dense.named_parameters(), slim.named_parameters(), strict=True
    ):
        assert type(new) is nn.Parameter
        assert new.requires_grad == old.requires_grad == (not name.startswith("head")), name
        assert new.grad is None
        assert new.is_leaf
    assert [m.training for m in slim.modules()] == [m.training for m in dense.modules()]
    seen.clear()
    slim(torch.rand(1, 3, 6, 6))
    assert seen == [slim.head]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_are_kept_each(dtype):
    dense = EDSR(channels=8, blocks=1).to(dtype)
    dense.register_buffer("step", torch.tensor(7))
    slim = apply(planned(dense), dense)
    assert {p.dtype for p in slim.parameters()} == {dtype}
    assert slim.step.dtype == torch.int64
    assert slim.step.item() == 7


def test_tied_weights_stay_tied():
    dense, _ = make(Tied)
    slim = apply(planned(dense), dense)
    assert slim.one.weight is slim.two.weight
    assert slim.one.weight.shape == (4, 4, 3, 3)
    assert len(list(slim.parameters())) == len(list(dense.parameters()))


def test_buffers_are_sliced_or_kept_and_stay_buffers():
    dense, _ = make(Normed)
    dense.register_buffer("table", torch.rand(5), persistent=False)
    plan = planned(dense)
    slim = apply(plan, dense)
    kept = list(plan.groups[0].kept)
    assert torch.equal(slim.norm.running_var, dense.norm.running_var[kept])
    assert torch.equal(slim.norm.num_batches_tracked, dense.norm.num_batches_tracked)
    assert torch.equal(slim.table, dense.table)
    assert slim.table.data_ptr() != dense.table.data_ptr()
    assert dict(slim.named_buffers()).keys() == dict(dense.named_buffers()).keys()
    assert "table" not in slim.state_dict()
    assert slim.norm.num_features == 4


def test_attributes_that_hold_tensors_and_values_come_along(dense):
    dense.notes = {"mean": torch.rand(3), "words": ["a"]}
    slim = apply(planned(dense), dense)
    assert torch.equal(slim.notes["mean"], dense.notes["mean"])
    assert slim.notes["words"] == ["a"]
    slim.notes["mean"].zero_()
    slim.notes["words"].clear()
    assert dense.notes["words"] == ["a"]
    assert dense.notes["mean"].any()


def same(a: nn.Module, b: nn.Module) -> bool:
    image = torch.rand(1, 3, 7, 5)
    return torch.equal(a.eval()(image), b.eval()(image))


def test_a_slim_state_dict_loads_into_another_slim_network(dense, slim):
    other = apply(planned(dense), dense)
    nn.init.zeros_(other.tail[1].weight)
    assert not same(slim, other)
    other.load_state_dict(slim.state_dict())
    assert same(slim, other)
    with pytest.raises(RuntimeError, match="size mismatch"):
        dense.load_state_dict(slim.state_dict())


def test_a_slim_network_is_copied_and_pickled(slim):
    assert same(slim, copy.deepcopy(slim))
    assert same(slim, pickle.loads(pickle.dumps(slim)))  # noqa: S301 (what was just written)


def test_a_slim_network_is_converted(slim):
    half = copy.deepcopy(slim).half()
    result = half(torch.rand(1, 3, 6, 6).half())
    assert result.dtype == torch.float16
    assert result.shape == (1, 3, 12, 12)


def test_a_slim_network_learns(slim):
    before = copy.deepcopy(slim.state_dict())
    adam = torch.optim.Adam(slim.train().parameters(), lr=1e-3)
    image, target = torch.rand(2, 3, 6, 6), torch.rand(2, 3, 12, 12)
    losses = []
    for _ in range(5):
        loss = (slim(image) - target).abs().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in slim.named_parameters():
        assert parameter.grad is not None, name
        assert not torch.equal(parameter, before[name]), name


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_slim_network_is_exported(slim):
    image = torch.rand(1, 3, 6, 6)
    exported = torch.export.export(slim.eval(), (image,))
    assert torch.allclose(exported.module()(image), slim(image))


def test_a_slim_network_is_pruned_again_until_little_is_left(dense):
    image, net = torch.rand(1, 3, 6, 6), dense
    for width in (6, 5, 4):
        plan = planned(net, 0.2)
        slim = apply(plan, net)
        assert verify(net, slim, plan, image).passed
        assert slim.head[0].out_channels == width
        net = slim


def test_a_network_of_two_devices_keeps_both():
    class Split(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 8), conv(8, 3)
            self.spare = nn.Parameter(torch.empty(4, device="meta"))

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(x))

    slim = apply(planned(Split()), Split())
    assert slim.spare.device.type == "meta"
    assert slim.head.weight.device.type == "cpu"


MEASURED = """
import resource, torch
from torch import nn
from prunekit.graph import trace
from prunekit.plan import plan_units
from prunekit.surgery import apply

layers = [nn.Conv2d(3, 1500, 1), *[nn.Conv2d(1500, 1500, 3, 1, 1) for _ in range(2)]]
net = nn.Sequential(*layers, nn.Conv2d(1500, 3, 1))
graph = trace(net, torch.rand(1, 3, 2, 2))
plan = plan_units(graph, {group.name: tuple(range(1400)) for group in graph.groups})
weights = sum(p.numel() * p.element_size() for p in net.parameters())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
slim = apply(plan, net)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) * 1024 / weights)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is told in other units elsewhere")
def test_rebuilding_holds_one_more_copy_of_the_weights_at_most():
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 1.1
