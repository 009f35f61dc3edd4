"""What holds for the plan and the slim network of every network."""

from itertools import pairwise

import pytest
import torch

from prunekit.errors import PlanError
from prunekit.graph import trace
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import NETS, Averaged, Net, make

FINE = Policy(round_to=1, min_width=1)
EXACT = [kind for kind in NETS if kind is not Averaged]

each_net = pytest.mark.parametrize("kind", EXACT, ids=lambda kind: kind.__name__)
each_ratio = pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])


def planned(kind: type[Net], ratio: float = 0.5, criterion: str = "l2"):
    net, image = make(kind)
    graph = trace(net, image)
    scores = score_groups(net, graph.groups, criterion)
    return net, image, make_plan(graph, scores, Target("channel_ratio", ratio), FINE)


@each_ratio
@each_net
def test_removing_units_equals_zeroing_their_slices_at_two_sizes(kind, ratio):
    net, image, plan = planned(kind, ratio)
    slim = apply(plan, net)
    result = verify(net, slim, plan, image)
    assert result.passed
    assert result.dtype == "float64"
    assert len(result.input_shapes) == 2
    assert type(slim) is kind
    assert slim(image).shape == net(image).shape


@each_net
def test_predicted_params_and_macs_are_those_of_the_slim_network(kind):
    net, image, plan = planned(kind)
    graph = trace(apply(plan, net), image)
    assert plan.params[1] == graph.params() < plan.params[0]
    assert plan.macs[1] == graph.macs() < plan.macs[0]


@each_net
def test_slim_widths_are_those_of_the_plan(kind):
    net, image, plan = planned(kind)
    slim = trace(apply(plan, net), image)
    kept = {group.name: len(group.kept) for group in plan.groups}
    # a group as narrow as the image is frozen from then on
    assert {group.name: group.width for group in slim.groups} == {
        name: width for name, width in kept.items() if width > 3
    }


@each_net
def test_modules_tell_their_new_sizes(kind):
    net, _, plan = planned(kind)
    for module in apply(plan, net).modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            first, second = module.weight.shape[:2]
            outer, inner = (
                (second, first)
                if isinstance(module, torch.nn.ConvTranspose2d)
                else (first, second * module.groups)
            )
            assert (module.out_channels, module.in_channels) == (outer, inner)
        if isinstance(module, torch.nn.Linear):
            assert (module.out_features, module.in_features) == tuple(module.weight.shape)
        if isinstance(module, torch.nn.BatchNorm2d):
            assert module.num_features == len(module.weight)


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
    net, image = make(kind)
    graph = trace(net, image)
    scores = score_groups(net, graph.groups, "l2")
    whole = Policy(round_to=1, min_width=64)
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), whole)
    assert plan.tensors == plan.attributes == ()
    slim = apply(plan, net)
    assert torch.equal(slim(image), net(image))
    assert all(
        torch.equal(a, b)
        for a, b in zip(net.state_dict().values(), slim.state_dict().values(), strict=True)
    )


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
    net, image, first = planned(kind, 0.25)
    between = apply(first, net)
    graph = trace(between, image)
    try:
        scores = score_groups(between, graph.groups, "l1")
        second = make_plan(graph, scores, Target("channel_ratio", 0.25), FINE)
    except PlanError:
        pytest.fail("every network here can be pruned twice by a quarter")
    once = apply(first.then(second), net)
    twice = apply(second, between)
    assert torch.equal(once(image), twice(image))
    assert all(
        torch.equal(a, b)
        for a, b in zip(once.state_dict().values(), twice.state_dict().values(), strict=True)
    )
    assert first.then(second).macs == (first.macs[0], second.macs[1])


@each_net
def test_the_same_seed_gives_the_same_plan(kind):
    assert planned(kind, criterion="random")[2] == planned(kind, criterion="random")[2]


def test_a_group_that_an_operator_averages_over_is_left_whole():
    with pytest.raises(PlanError, match="reduced over"):
        planned(Averaged)
