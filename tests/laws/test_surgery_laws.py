"""What holds for the plan and the slim network of every network."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunekit.errors import PlanError, VerificationError
from prunekit.graph import TraceOptions, trace
from prunekit.graph.compare import run
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import NETS, Averaged, Net, graph_of, make

FINE = Policy(round_to=1, min_width=1)
# of the others the proof refuses every plan, since their code computes with a width
REBUILT = [kind for kind in NETS if not kind.computes]

each_net = pytest.mark.parametrize("kind", REBUILT, ids=lambda kind: kind.__name__)
each_ratio = pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])


def planned(kind: type[Net], ratio: float = 0.5, criterion: str = "l2"):
    (net, inputs), graph = make(kind), graph_of(kind)
    scores = score_groups(net, graph.groups, criterion)
    return net, inputs, make_plan(graph, scores, Target("channel_ratio", ratio), FINE)


def assert_same(expected: Iterable[torch.Tensor], found: Iterable[torch.Tensor]) -> None:
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@each_ratio
@each_net
def test_removing_units_equals_zeroing_their_slices_at_two_sizes(kind, ratio):
    net, inputs, plan = planned(kind, ratio)
    slim = apply(plan, net)
    result = verify(net, slim, plan, inputs, options=TraceOptions(**kind.options))
    assert plan.exact is not any(
        len(g.kept) < g.width for g in plan.groups if not graph_of(kind)[g.name].exact
    )
    assert result.passed
    assert result.dtype == "float64"
    assert len(result.input_shapes) == 2
    assert type(slim) is kind
    assert [x.shape for x in run(slim, inputs)] == [x.shape for x in run(net, inputs)]


@each_net
def test_predicted_params_and_macs_are_those_of_the_slim_network(kind):
    net, inputs, plan = planned(kind)
    graph = trace(apply(plan, net), inputs, **kind.options)
    assert plan.params[1] == graph.params() < plan.params[0]
    assert plan.macs[1] == graph.macs() < plan.macs[0]


@each_net
def test_slim_widths_are_those_of_the_plan(kind):
    net, inputs, plan = planned(kind, 0.25)
    slim = trace(apply(plan, net), inputs, **kind.options)
    # a group as narrow as the image is frozen from then on
    kept = sorted(len(group.kept) for group in plan.groups if len(group.kept) > 3)
    assert sorted(group.width for group in slim.groups if group.width > 3) == kept


@each_net
def test_modules_tell_their_new_sizes(kind):
    net, inputs, plan = planned(kind)
    slim = apply(plan, net)
    run(slim, inputs)  # a hook may compute the weight
    for module in slim.modules():
        if isinstance(module, _ConvNd):
            first, second = module.weight.shape[:2]
            outer, inner = (
                (second * module.groups, first)
                if isinstance(module, _ConvTransposeNd)
                else (first, second * module.groups)
            )
            assert (module.out_channels, module.in_channels) == (outer, inner)
        if isinstance(module, torch.nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.InstanceNorm2d) and module.affine:
            assert module.num_features == len(module.weight)
        if isinstance(module, torch.nn.GroupNorm):
            assert module.num_channels == len(module.weight)
        if isinstance(module, torch.nn.LayerNorm):
            assert module.normalized_shape == tuple(module.weight.shape)


@each_net
def test_a_plan_survives_json(kind):
    _, _, plan = planned(kind)
    assert Plan.from_json(plan.to_json()) == plan


@each_net
def test_a_larger_ratio_removes_a_superset(kind):
    kept = [
        {(g.name, unit) for g in planned(kind, ratio)[2].groups for unit in g.kept}
        for ratio in (0.2, 0.4, 0.6, 0.8)
    ]
    assert all(more >= less for more, less in pairwise(kept))


@each_net
def test_an_empty_plan_changes_nothing(kind):
    (net, inputs), graph = make(kind), graph_of(kind)
    scores = score_groups(net, graph.groups, "l2")
    whole = Policy(round_to=1, min_width=64)
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), whole)
    assert plan.tensors == plan.attributes == ()
    slim = apply(plan, net)
    assert_same(run(slim, inputs), run(net, inputs))
    assert_same(net.state_dict().values(), slim.state_dict().values())


@each_net
def test_surgery_leaves_the_network_alone_and_shares_nothing_with_it(kind):
    net, _, plan = planned(kind)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    slim = apply(plan, net)
    with torch.no_grad():
        for parameter in slim.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


@each_net
def test_two_plans_in_turn_are_one_plan(kind):
    net, inputs, first = planned(kind, 0.25)
    between = apply(first, net)
    graph = trace(between, inputs, **kind.options)
    try:
        scores = score_groups(between, graph.groups, "l1")
        second = make_plan(graph, scores, Target("channel_ratio", 0.25), FINE)
    except PlanError:
        pytest.fail("every network here can be pruned twice by a quarter")
    once = apply(first.then(second), net)
    twice = apply(second, between)
    assert_same(run(once, inputs), run(twice, inputs))
    assert_same(once.state_dict().values(), twice.state_dict().values())
    assert first.then(second).macs == (first.macs[0], second.macs[1])


@each_net
def test_the_same_seed_gives_the_same_plan(kind):
    assert planned(kind, criterion="random")[2] == planned(kind, criterion="random")[2]


def test_a_mean_is_one_over_the_channels_that_stay():
    net, inputs, plan = planned(Averaged)
    slim = apply(plan, net)
    assert not plan.exact
    verify(net, slim, plan, inputs)
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(net, slim, replace(plan, exact=True), inputs)


@pytest.mark.parametrize("kind", [k for k in NETS if k.computes], ids=lambda kind: kind.__name__)
def test_a_width_that_the_code_computes_with_is_refused(kind):
    net, inputs, plan = planned(kind)
    with pytest.raises(VerificationError, match="differs from the dense one"):
        verify(net, apply(plan, net), plan, inputs)
