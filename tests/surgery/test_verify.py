"""The proof: what it must refuse, in which type it judges, and which sizes it tries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import SurgeryError, VerificationError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Plan, Policy, Target, TensorPlan, make_plan, plan_units
from prunekit.score import score_groups
from prunekit.surgery import Original, apply, prove, verify
from prunekit.surgery.apply import rebuild
from tests.graph.test_verify import Chaotic
from tests.nets import NETS, conv, traced
from tests.untouched import assert_untouched, picture
from tests.wirings.norms import LevelsByWidth, ScaledUnseen


def planned(net: nn.Module, image: Tensor, ratio: float = 0.5) -> Plan:
    graph = trace(net, image)
    scores = score_groups(net, graph.groups, "l2")
    return make_plan(graph, scores, Target("channel_ratio", ratio), Policy("local", 1, 1))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(2)
    return EDSR(channels=8, blocks=2)


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x))


def edited(plan: Plan, tensor: str, axis: int, kept: tuple[int, ...]) -> Plan:
    def edit(t: TensorPlan) -> TensorPlan:
        return replace(t, kept={**t.kept, axis: kept}) if t.name == tensor else t

    return replace(plan, tensors=tuple(edit(t) for t in plan.tensors))


def shifted(plan: Plan, tensor: str, axis: int) -> Plan:
    """One layer keeps other channels than its neighbours do."""
    kept = next(t for t in plan.tensors if t.name == tensor).kept[axis]
    others = [i for i in range(max(kept) + 2) if i not in kept]
    return edited(plan, tensor, axis, tuple(sorted((*kept[1:], others[0]))))


def test_a_right_plan_passes_at_two_sizes_and_touches_nothing(dense, image):
    plan = planned(dense, image)
    slim = apply(plan, dense).train()
    before, after = picture(dense), picture(slim)
    result = verify(dense, slim, plan, image)
    assert result.passed
    assert result.max_error <= result.limit
    assert result.severity == result.max_error / result.limit
    assert result.input_shapes == ((1, 3, 6, 6), (1, 3, 9, 12))
    assert_untouched(dense, before)
    assert_untouched(slim, after)


@pytest.mark.parametrize(
    ("tensor", "axis"),
    [
        ("head.0.weight", 0),
        ("head.0.bias", 0),
        ("body.0.body.0.weight", 0),
        ("body.0.body.0.weight", 1),
        ("body.1.body.2.bias", 0),
        ("tail.0.0.weight", 1),
        ("tail.1.weight", 1),
    ],
)
def test_a_plan_that_is_wrong_on_one_axis_of_one_tensor_fails(dense, image, tensor, axis):
    plan = planned(dense, image)
    wrong = shifted(plan, tensor, axis)
    slim = apply(wrong, dense)
    for proof in (plan, wrong):
        with pytest.raises(VerificationError, match="differs from the dense one by"):
            verify(dense, slim, proof, image)


def test_a_failed_proof_names_the_groups_the_size_and_the_limit(dense, image):
    plan = planned(dense, image)
    wrong = apply(shifted(plan, "head.0.bias", 0), dense)
    with pytest.raises(VerificationError) as caught:
        verify(dense, wrong, plan, image)
    message = str(caught.value)
    assert "at input (1, 3, 6, 6), after pruning 'trunk', 'body.0 hidden'" in message
    assert "where rounding allows" in message


def test_a_slim_network_of_other_weights_fails(dense, image):
    plan = planned(dense, image)
    slim = apply(plan, dense)
    with torch.no_grad():
        slim.body[1].body[0].weight[0, 0, 1, 1] += 0.05
    with pytest.raises(VerificationError, match="differs"):
        verify(dense, slim, plan, image)


def test_a_slim_network_that_is_another_one_fails(dense, image):
    plan = planned(dense, image)
    with pytest.raises(VerificationError, match="differs"):
        verify(dense, EDSR(channels=4, blocks=2), plan, image)
    with pytest.raises(VerificationError, match="differs"):
        verify(dense, dense, plan, image)


def test_a_slim_network_with_another_output_shape_fails(dense, image):
    plan = planned(dense, image)
    with pytest.raises(VerificationError, match="by inf where"):
        verify(dense, EDSR(scale=3, channels=4, blocks=2), plan, image)


def test_a_slim_network_that_is_not_finite_fails(dense, image):
    plan = planned(dense, image)
    slim = apply(plan, dense)
    nn.init.constant_(slim.tail[1].bias, float("nan"))
    with pytest.raises(VerificationError, match="by inf where"):
        verify(dense, slim, plan, image)


def test_a_slim_network_that_does_not_run_fails_with_its_own_words(dense, image):
    plan = planned(dense, image)
    forgotten = rebuild(replace(plan, attributes=()), dense)
    forgotten.head[0].weight = nn.Parameter(forgotten.head[0].weight[:3].detach())
    with pytest.raises(VerificationError, match=r"the slim network does not run \(RuntimeError: "):
        verify(dense, forgotten, plan, image)


def test_a_network_that_asserts_its_width_fails_with_its_own_words(image):
    class Asserts(Two):
        def forward(self, x: Tensor) -> Tensor:
            x = self.head(x)
            assert x.shape[1] == 8, "8 channels are wanted"
            return self.tail(x)

    net = Asserts()
    plan = planned(net, image)
    with pytest.raises(VerificationError, match="AssertionError: 8 channels are wanted"):
        verify(net, apply(plan, net), plan, image)


def test_doubt_in_single_precision_is_settled_in_double(dense, image):
    plan = planned(dense, image)
    slim = apply(plan, dense)
    slim.tail[1].register_forward_hook(lambda _m, _i, out: (out + 1e3) - 1e3)
    result = verify(dense, slim, plan, image)
    assert result.passed
    assert result.dtype == "float64"
    assert (slim(image) - dense(image)).abs().max() > 1e-5


def test_what_single_precision_forgives_is_not_looked_at_in_double(dense, image):
    plan = planned(dense, image)
    slim = apply(plan, dense)
    with torch.no_grad():
        slim.tail[1].bias += 2e-6
    result = verify(dense, slim, plan, image)
    assert result.dtype == "float32"
    with pytest.raises(VerificationError):
        verify(dense.double(), slim.double(), planned(dense, image.double()), image.double())


def test_a_network_that_runs_in_its_own_type_only_is_judged_in_it(image):
    class Single(Two):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.float())

    net = Single()
    plan = planned(net, image)
    slim = apply(plan, net)
    assert verify(net, slim, plan, image).dtype == "float32"
    with torch.no_grad():
        slim.tail.bias += 1
    with pytest.raises(VerificationError, match="differs"):
        verify(net, slim, plan, image)


@pytest.mark.parametrize("error", [RuntimeError, AssertionError, KeyError, ZeroDivisionError])
def test_a_network_that_takes_one_size_only_is_proven_at_that(image, error):
    class OneSize(Two):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[-2:] != (6, 6):
                raise error
            return super().forward(x)

    net = OneSize()
    plan = planned(net, image)
    assert verify(net, apply(plan, net), plan, image).input_shapes == ((1, 3, 6, 6),)


def test_a_fault_that_shows_at_the_second_size_only_is_found(image):
    class Sized(Two):
        def forward(self, x: Tensor) -> Tensor:
            y = self.head(x)
            return self.tail(y.roll(1, 1) if x.shape[-1] > 6 else y)

    net = Sized()
    plan = planned(net, image)
    with pytest.raises(VerificationError, match=r"at input \(1, 3, 9, 12\)"):
        verify(net, apply(plan, net), plan, image)


class Scaled(nn.Module):
    """Written for one width: the strength of a branch follows from how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.inner = conv(3, 16, bias=False), conv(16, 16, bias=False)
        self.tail = conv(16, 3, bias=False)
        self.gate = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x)
        return self.tail(y + self.gate * self.inner(y) * (1.0 / y.shape[1]))


@pytest.mark.parametrize("hidden_by", ["black image", "closed gate"])
def test_a_fault_that_the_example_hides_is_found_with_generic_weights(image, hidden_by):
    net = Scaled()
    if hidden_by == "closed gate":
        nn.init.zeros_(net.gate)
    else:
        image = torch.zeros_like(image)
    plan = planned(net, image)
    with pytest.raises(VerificationError, match="with generic weights differs"):
        verify(net, apply(plan, net), plan, image)


def test_a_proof_of_idle_channels_is_empty_and_refused(image):
    class Idle(Two):
        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(x)) * 0

    net = Idle()
    plan = planned(net, image)
    with pytest.raises(VerificationError, match="nothing is proven"):
        verify(net, apply(plan, net), plan, image)


@pytest.fixture
def chaotic() -> Chaotic:
    torch.manual_seed(0)
    net = Chaotic(width=12)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(5)
    return net


def test_a_network_that_amplifies_rounding_is_proven_with_generic_weights(chaotic, image):
    plan = planned(chaotic, image)
    slim = apply(plan, chaotic)
    slim.head.register_forward_hook(lambda _m, _i, out: out * (1 + 4 * torch.finfo(out.dtype).eps))
    proof = verify(chaotic, slim, plan, image)
    assert proof.amplified
    assert proof.max_error > 1e-3
    assert proof.generic_error is not None
    assert proof.generic_error < 1e-6


def test_a_wrong_plan_of_a_network_that_amplifies_rounding_fails(chaotic, image):
    plan = shifted(planned(chaotic, image), "body.3.weight", 1)
    with pytest.raises(VerificationError, match="with generic weights differs"):
        verify(chaotic, apply(plan, chaotic), plan, image)


def test_other_weights_of_a_network_that_amplifies_rounding_fail(chaotic, image):
    plan = planned(chaotic, image)
    slim = apply(plan, chaotic)
    with torch.no_grad():
        slim.body[2].bias[0] *= 1 + 1e-6
    with pytest.raises(VerificationError, match=r"other weights .*'body.2.bias'"):
        verify(chaotic, slim, plan, image)


class Stepped(Two):
    """Weights are rounded to multiples of a step for each channel (LSQ); or a fault: of another."""

    def __init__(self, *, across: bool = False) -> None:
        super().__init__()
        self.step = nn.Parameter(torch.linspace(0.02, 0.05, 8).reshape(8, 1, 1, 1))
        self.across = across

    def forward(self, x: Tensor) -> Tensor:
        step = self.step.flip(0) if self.across and len(self.step) < 8 else self.step
        weight = torch.round(self.head.weight / self.step) * step
        return self.tail(torch.nn.functional.conv2d(x, weight, self.head.bias, padding=1))


def test_scales_that_the_code_divides_by_are_not_made_zero(image):
    dense = Stepped()
    plan = planned(dense, image)
    assert verify(dense, apply(plan, dense), plan, image).passed
    wrong = Stepped(across=True)
    plan = planned(wrong, image)
    with pytest.raises(VerificationError, match=r"same operators twice|differs from the dense one"):
        verify(wrong, apply(plan, wrong), plan, image)


class Hashed(nn.Module):
    """Pixels are put in buckets by random rotations of their channels (NLSN)."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        pixels = x.flatten(2).transpose(1, 2)
        rotations = torch.randn(1, x.shape[1], 4, dtype=x.dtype)
        bucket = torch.cat([pixels @ rotations, -(pixels @ rotations)], dim=-1).argmax(dim=-1)
        return self.tail(x * bucket.reshape(len(x), 1, *x.shape[2:]))


def test_random_numbers_are_drawn_for_the_channels_that_stay(image):
    dense = Hashed()
    plan = planned(dense, image)
    assert verify(dense, apply(plan, dense), plan, image).passed
    wrong = shifted(plan, "tail.weight", 1)
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(dense, apply(wrong, dense), wrong, image)


def test_the_proof_says_how_it_went_with_generic_weights(dense, image):
    plan = planned(dense, image)
    error = verify(dense, apply(plan, dense), plan, image).generic_error
    assert error is not None
    assert 0 <= error < 1e-9


def test_a_branch_of_training_that_breaks_is_found(image):
    class Aided(Two):
        def forward(self, x: Tensor) -> Tensor:
            y = self.head(x)
            return self.tail(y.reshape(-1, 8, *y.shape[2:]) if self.training else y)

    net = Aided()
    plan = planned(net, image)
    with pytest.raises(VerificationError, match="in training mode"):
        verify(net, apply(plan, net), plan, image)


@pytest.mark.parametrize("kind", ["AuxiliaryHead", "BranchesOfTraining"])
def test_what_is_read_in_training_alone_follows(kind):
    torch.manual_seed(5)
    net = next(one for one in NETS if one.__name__ == kind)()
    for module in net.modules():
        module.p = 0.0  # of dropout
    image = torch.rand(2, 3, 6, 6)
    plan = planned(net, image)
    slim = apply(plan, net)
    assert verify(net, slim, plan, image).passed
    for tensor in plan.tensors:
        value = dict((*net.named_parameters(), *net.named_buffers()))[tensor.name]
        for axis, kept in tensor.kept.items():
            gone = [i for i in range(value.shape[axis]) if i not in kept]
            value.data.index_fill_(axis, torch.tensor(gone), 0)
    torch.testing.assert_close(net.train()(image), slim.train()(image))


class Translated(nn.Module):
    """Torch's own encoder and decoder, which check the width of what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.body = nn.Transformer(8, 2, 1, 1, 12, dropout=0.0, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        pixels = x.flatten(2).transpose(1, 2)
        return self.tail(self.body(pixels, pixels.flip(1)).transpose(1, 2).reshape(x.shape))


def test_the_width_that_a_transformer_of_torch_checks_follows(image):
    net = Translated()
    plan = planned(net, image)
    slim = apply(plan, net)
    assert (net.body.d_model, slim.body.d_model) == (8, 4)
    assert verify(net, slim, plan, image).passed


def test_training_that_wants_more_than_an_image_is_not_followed(image):
    class WithTarget(Two):
        def __init__(self) -> None:
            super().__init__()
            self.other = conv(8, 3)

        def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
            x = self.head(x)
            return (self.other(x) - target).abs() if self.training else self.tail(x)

    net = WithTarget()
    plan = planned(net, image)
    assert verify(net, apply(plan, net), plan, image).passed
    assert {frozen.tensor for frozen in trace(net, image).frozen if frozen.axis < 2} >= {
        "other.weight"
    }


def test_networks_of_half_precision_are_proven(image):
    net = EDSR(channels=8, blocks=1).half()
    plan = planned(net, image.half())
    assert verify(net, apply(plan, net), plan, image.half()).passed
    wrong = apply(shifted(plan, "head.0.bias", 0), net)
    with pytest.raises(VerificationError):
        verify(net, wrong, plan, image.half())


def test_whole_numbers_have_to_be_equal(image):
    class Quantised(Two):
        def forward(self, x: Tensor) -> Tensor:
            return (super().forward(x) * 255).round().to(torch.int32)

    net, image = Quantised().double(), image.double()
    plan = planned(net, image)
    slim = apply(plan, net)
    result = verify(net, slim, plan, image)
    assert (result.max_error, result.limit, result.severity) == (0.0, 0.0, 0.0)
    with torch.no_grad():
        slim.tail.bias += 1 / 255
    with pytest.raises(VerificationError, match="by 1 where rounding allows 0"):
        verify(net, slim, plan, image)


def test_the_example_inputs_are_not_written_to(image):
    class Overwrites(Two):
        def forward(self, x: Tensor) -> Tensor:
            x *= 2
            return super().forward(x)

    net, image = Overwrites().double(), image.double()
    before = image.clone()
    plan = planned(net, image)
    assert verify(net, apply(plan, net), plan, image).passed
    assert torch.equal(image, before)


def test_every_output_is_compared(image):
    class Both(Two):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"sr": super().forward(x), "bias": self.tail.bias * 1}

    net = Both()
    plan = planned(net, image)
    slim = apply(plan, net)
    assert verify(net, slim, plan, image).passed
    slim.register_forward_hook(lambda _m, _i, out: {**out, "bias": out["bias"] + 1})
    with pytest.raises(VerificationError, match="differs from the dense one by 1 where"):
        verify(net, slim, plan, image)


def test_a_plan_that_is_not_exact_after_all_is_proven_as_such():
    net, inputs, graph = traced(ScaledUnseen)
    plan = plan_units(graph, {group.name: tuple(range(5)) for group in graph.groups})
    slim = apply(plan, net)
    assert plan.exact
    proven, result = prove(Original(net, inputs), slim, plan)
    assert proven == replace(plan, exact=False)
    assert result.passed
    wrong = shifted(plan, "mid.weight", 1)
    with pytest.raises(VerificationError, match="differs from the dense one"):
        prove(Original(net, inputs), apply(wrong, net), wrong)


def test_a_plan_that_does_not_hold_either_way_is_told_as_it_was_made():
    net, inputs, graph = traced(LevelsByWidth)
    plan = plan_units(graph, {group.name: tuple(range(5)) for group in graph.groups})
    slim = apply(plan, net)
    with pytest.raises(VerificationError) as strict:
        verify(net, slim, plan, inputs)
    with pytest.raises(VerificationError) as caught:
        prove(Original(net, inputs), slim, plan)
    assert str(caught.value) == str(strict.value)


INEXACT = [kind for kind in NETS if kind.inexact and not kind.computes and not kind.options]


@pytest.mark.parametrize("kind", INEXACT, ids=lambda kind: kind.__name__)
def test_one_layer_that_keeps_other_channels_breaks_the_proof_over_norms_too(kind):
    net, inputs, graph = traced(kind)
    group = max((g for g in graph.groups if not g.exact), key=lambda g: g.width)
    tied = next((names for names in graph.balances if group.name in names), (group.name,))
    narrow = next(w for w in graph.narrower(tied) if w[group.name] < group.width)
    plan = plan_units(graph, {name: tuple(range(width)) for name, width in narrow.items()})
    assert verify(net, apply(plan, net), plan, inputs).passed
    member = next(m for m in group.members if m.tensor in graph.parameters)
    left = group.width - narrow[group.name]
    everything = np.arange(graph.shapes[member.tensor][member.axis])
    other = np.delete(everything, member.indices[:left].ravel())  # the first, not the last
    wrong = edited(plan, member.tensor, member.axis, tuple(other.tolist()))
    with pytest.raises((VerificationError, SurgeryError)):
        verify(net, apply(wrong, net), wrong, inputs)


class ManyNormGroups(nn.Module):
    """More groups of a norm than channels in each, so that it is groups that leave."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm, self.tail = conv(3, 16), nn.GroupNorm(8, 16), conv(16, 3)
        nn.init.normal_(self.norm.weight, 1, 0.5)
        nn.init.normal_(self.norm.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.norm(self.head(x)).relu())


def test_whole_groups_of_a_norm_leave_and_are_proven(image):
    torch.manual_seed(0)
    dense = ManyNormGroups()
    plan = planned(dense, image)
    slim = apply(plan, dense)
    assert (slim.norm.num_groups, slim.norm.num_channels) == (4, 8)
    proven, verification = prove(Original(dense, image), slim, plan)
    assert not proven.exact
    assert verification.max_error < 1e-5
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(dense, rebuild(shifted(plan, "norm.bias", 0), dense), plan, image)
