"""Which weights become zero: how many, which, where they stay, and what torch makes of it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils import prune as torch_prune

from prunekit.errors import PlanError, SurgeryError, VerificationError
from prunekit.graph import trace
from prunekit.plan import plan_units
from prunekit.sparse import (
    MaskRule,
    Masks,
    Pattern,
    apply_masks,
    check_zeros,
    choose_masks,
    find_weights,
    follow_plan,
    from_torch_masks,
    has_torch_masks,
    impose,
    prove_masks,
    to_torch_masks,
)
from prunekit.surgery import apply
from tests.nets import NETS, make
from tests.sparse.samples import WEIGHTS, half_of_all, masked, mixed
from tests.untouched import assert_untouched, picture

shares = st.floats(0.01, 0.99)
allocations = st.sampled_from(["local", "global"])
quick = settings(deadline=None, max_examples=40)


def equal(first: Masks, second: Masks) -> bool:
    return first.kept.keys() == second.kept.keys() and all(
        torch.equal(mask, second.kept[name]) for name, mask in first.kept.items()
    )


def assert_superset(more: Masks, less: Masks) -> None:
    """All that the second sets to zero, the first does."""
    for name, mask in less.kept.items():
        assert not (more.kept[name] & ~mask).any()


# how many


@quick
@given(shares)
def test_of_every_layer_the_rounded_share_is_zero_but_one_weight_stays(share):
    masks = choose_masks(mixed(), MaskRule("sparsity", share))
    assert set(masks.kept) == set(WEIGHTS)
    for mask in masks.kept.values():
        size = mask.numel()
        assert int((~mask).sum()) == min(round(share * size), size - 1)


@quick
@given(shares)
def test_of_all_layers_together_the_rounded_share_is_zero(share):
    masks = choose_masks(mixed(), MaskRule("sparsity", share, allocation="global"))
    assert masks.zeros == round(share * masks.weights)
    assert masks.weights == 216 + 288 + 72 + 96 + 144


def test_a_share_of_all_weights_is_given_by_those_in_scope():
    for allocation in ("local", "global"):
        rule = MaskRule("weight_ratio", 0.25, allocation=allocation, layers=("grouped", "head"))
        masks = choose_masks(mixed(), rule)
        assert masks.zeros == round(0.25 * 816)
        assert set(masks.kept) == {"grouped.weight", "head.weight"}


def test_a_share_out_of_reach_is_refused_with_what_is_in_reach():
    rule = MaskRule("weight_ratio", 0.5, layers=("head",))
    with pytest.raises(PlanError, match=r"hold 26\.5% of the weights, so at most 26\.3%"):
        choose_masks(mixed(), rule)


# which


@quick
@given(shares, shares, allocations)
def test_a_larger_share_sets_a_superset_to_zero(one, other, allocation):
    less, more = (
        choose_masks(mixed(), MaskRule("sparsity", share, allocation=allocation))
        for share in sorted((one, other))
    )
    assert_superset(more, less)


def test_the_smallest_go():
    net = mixed()
    for name, mask in choose_masks(net, half_of_all()).kept.items():
        values = net.get_parameter(name).detach().abs()
        assert values[~mask].max() <= values[mask].min()


@pytest.mark.parametrize("allocation", ["local", "global"])
def test_of_equal_weights_the_first_go(allocation):
    net = nn.Sequential(nn.Linear(4, 2, bias=False), nn.Linear(2, 4, bias=False))
    for parameter in net.parameters():
        nn.init.constant_(parameter, -0.5)
    masks = choose_masks(net, half_of_all(allocation=allocation))
    found = torch.cat([mask.flatten() for mask in masks.kept.values()]).tolist()
    half = {"local": [False] * 4 + [True] * 4 + [False] * 4 + [True] * 4}
    assert found == half.get(allocation, [False] * 8 + [True] * 8)


def test_what_was_masked_before_stays_masked_and_counts():
    net = mixed()
    first = choose_masks(net, MaskRule("sparsity", 0.3, layers=("grouped", "point")))
    with torch.no_grad():
        net.grouped.weight.neg_()
    for share in (0.1, 0.6):
        later = choose_masks(net, MaskRule("sparsity", share), before=first)
        assert_superset(later, first)
        assert int((~later.kept["grouped.weight"]).sum()) == round(max(share, 0.3) * 288)
    elsewhere = choose_masks(net, MaskRule("sparsity", 0.5, layers=("up",)), before=first)
    assert set(elsewhere.kept) == {"grouped.weight", "point.weight", "up.weight"}


def test_torch_prunes_the_same_weights():
    net = mixed()
    local, together = mixed(), mixed()
    layers = [(local.get_submodule(name.removesuffix(".weight")), "weight") for name in WEIGHTS]
    for layer, name in layers:
        torch_prune.l1_unstructured(layer, name, amount=0.37)
    assert equal(from_torch_masks(local)[1], choose_masks(net, MaskRule("sparsity", 0.37)))
    layers = [(together.get_submodule(name.removesuffix(".weight")), "weight") for name in WEIGHTS]
    torch_prune.global_unstructured(layers, torch_prune.L1Unstructured, amount=0.37)
    rule = MaskRule("sparsity", 0.37, allocation="global")
    assert equal(from_torch_masks(together)[1], choose_masks(net, rule))


# patterns


@pytest.mark.parametrize(("stays", "block"), [(1, 2), (2, 4), (1, 4), (3, 4), (2, 3), (1, 6)])
def test_a_pattern_holds_on_every_layer_whose_inputs_divide(stays, block):
    net = mixed()
    masks = choose_masks(net, MaskRule("pattern", pattern=(stays, block)))
    inputs = {"head.weight": 3, "grouped.weight": 4, "depthwise.weight": 1, "point.weight": 8}
    inputs["up.weight"] = 12
    fits = {name for name, width in inputs.items() if width % block == 0}
    assert set(masks.kept) == set(masks.patterns) == fits
    for name, mask in masks.kept.items():
        axis = 0 if name == "up.weight" else 1
        lines = mask.movedim(axis, -1).reshape(-1, block)
        assert (lines.sum(1) == stays).all()
        assert masks.patterns[name] == Pattern(stays, block, axis)
        values = net.get_parameter(name).detach().abs().movedim(axis, -1).reshape(-1, block)
        largest = values.sort(dim=1, descending=True).values[:, :stays].sum(1)
        torch.testing.assert_close((values * lines).sum(1), largest)
    for name in set(inputs) - fits:
        assert masks.dense[name] == (
            f"its input dimension {inputs[name]} is no multiple of {block}"
        )


def test_masks_tell_their_story():
    masks = choose_masks(mixed(), MaskRule("pattern", pattern=(2, 4)))
    assert repr(masks) == "Masks: 264 of 528 weights in 3 tensors are zero, 2:4"
    assert repr(choose_masks(mixed(), half_of_all())).endswith("in 5 tensors are zero")


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(
        PlanError, match=r"2:5 fits no layer: no input dimension \(1, 3, 4, 8, 12\)"
    ):
        choose_masks(mixed(), MaskRule("pattern", pattern=(2, 5)))


def test_a_broken_pattern_is_found():
    net = mixed()
    masks = choose_masks(net, MaskRule("pattern", layers=("point",)))
    masks.kept["point.weight"][0, :3] = True
    assert not masks.patterns["point.weight"].holds(masks.kept["point.weight"])
    with pytest.raises(VerificationError, match="does not have its pattern"):
        check_zeros(apply_masks(net, masks), masks)


# where


def test_biases_norms_and_tables_stay_and_all_else_is_named():
    net = mixed()
    parametrizations.weight_norm(net.point)
    masks = choose_masks(net, half_of_all(layers=("*",), protect=("head", "up.weight")))
    assert set(masks.kept) == {"grouped.weight", "depthwise.weight"}
    assert masks.dense == {
        "head.weight": "protected",
        "up.weight": "protected",
        "point.weight": "computed from other tensors, as by weight norm",
    }


def test_shared_weights_have_one_mask_and_attention_its_own():
    net = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4), nn.MultiheadAttention(4, 1)])
    net[1].weight = net[0].weight
    names = [weight.name for weight in find_weights(net)[0]]
    assert names == ["0.weight", "2.in_proj_weight", "2.out_proj.weight"]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (
            {"layers": ("heads",)},
            r"prune\.layers: 'heads' matches no convolution.*did you mean 'head'",
        ),
        ({"protect": ("norm",)}, r"prune\.protect: 'norm' matches no convolution"),
        ({"protect": ("*",)}, "every layer is protected"),
    ],
)
def test_scopes_that_cannot_be_are_refused(rule, words):
    with pytest.raises(PlanError, match=words):
        choose_masks(mixed(), half_of_all(**rule))


def test_networks_without_weights_or_with_bad_ones_are_refused():
    with pytest.raises(PlanError, match="it has no convolution or linear layer"):
        choose_masks(nn.BatchNorm2d(3), half_of_all())
    net = mixed()
    with torch.no_grad():
        net.point.weight[0, 0] = float("nan")
    with pytest.raises(PlanError, match=r"'point\.weight' holds numbers that are not finite"):
        choose_masks(net, half_of_all())


# the masked network


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_it_is_the_dense_one_with_zeros_and_nothing_else(dtype):
    net = mixed().to(dtype)
    before = picture(net)
    sparse, masks = masked(net, half_of_all())
    assert_untouched(net, before)
    proof = prove_masks(net, sparse, masks)
    assert (proof.zeros, proof.kept, proof.untouched) == (408, 408, 9)
    by_hand = mixed().to(dtype)
    with torch.no_grad():
        for name, mask in masks.kept.items():
            by_hand.get_parameter(name).mul_(mask)
    image = torch.rand(1, 3, 12, 12, dtype=dtype)
    assert torch.equal(sparse(image), by_hand(image))
    assert all(str(v) != "-0.0" for v in sparse.point.weight.detach().flatten().tolist())


@pytest.mark.parametrize("damage", ["revived", "moved", "bias", "class"])
def test_anything_else_is_found(damage):
    net = mixed()
    sparse, masks = masked(net, half_of_all())
    with torch.no_grad():
        match damage:
            case "revived":
                sparse.point.weight[~masks.kept["point.weight"]] += 1e-30
            case "moved":
                sparse.point.weight.mul_(1 + 1e-6)
            case "bias":
                sparse.norm.bias[0] = -0.0
            case "class":
                sparse = nn.Sequential(sparse)
    with pytest.raises(VerificationError):
        prove_masks(net, sparse, masks)


def test_masks_of_another_network_are_refused():
    masks = choose_masks(mixed(), half_of_all())
    with pytest.raises(PlanError, match=r"'head\.weight' has shape .* no such parameter"):
        impose(nn.Linear(2, 2), masks.kept)


def test_masks_follow_a_plan():
    net = mixed()
    sparse, masks = masked(net, half_of_all())
    graph = trace(sparse, torch.rand(1, 3, 12, 12))
    group = max(graph.groups, key=lambda g: g.axes)
    plan = plan_units(graph, {group.name: tuple(range(1, group.width))})
    slim, followed = apply(plan, sparse), follow_plan(masks, plan)
    check_zeros(slim, followed)
    assert followed.weights == sum(slim.get_parameter(name).numel() for name in WEIGHTS)
    assert followed.weights < masks.weights
    kept = sum(int((slim.get_parameter(n) != 0).sum()) for n in WEIGHTS)
    assert followed.zeros == followed.weights - kept


@pytest.mark.parametrize("net", NETS, ids=lambda net: net.__name__)
def test_every_wiring_can_be_masked(net):
    dense, _ = make(net)
    if not find_weights(dense)[0]:
        pytest.skip("no layer with a weight")
    sparse, masks = masked(dense, half_of_all())
    prove_masks(dense, sparse, masks)
    assert 0 < masks.zeros <= masks.weights / 2 + len(masks.kept)


# torch.nn.utils.prune


def test_masks_go_to_torch_and_come_back():
    net = mixed()
    masks = choose_masks(net, half_of_all())
    carried = to_torch_masks(net, masks)
    assert has_torch_masks(carried)
    assert not has_torch_masks(net)
    assert set(dict(carried.point.named_buffers())) == {"weight_mask"}
    image = torch.rand(1, 3, 12, 12)
    torch.testing.assert_close(carried(image), apply_masks(net, masks)(image), rtol=0, atol=0)
    plain, again = from_torch_masks(carried)
    assert equal(again, masks)
    assert not has_torch_masks(plain)
    assert {n for n, _ in plain.named_parameters()} == {n for n, _ in net.named_parameters()}
    prove_masks(net, plain, again)
    with pytest.raises(SurgeryError, match="carries masks of torch already"):
        to_torch_masks(carried, masks)


def test_masks_of_torch_stay_when_more_is_pruned():
    net = mixed()
    torch_prune.random_unstructured(net.grouped, "weight", amount=100)
    torch_prune.l1_unstructured(net.up, "bias", amount=1)
    state = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain, masks = from_torch_masks(net)
    assert {n: int((~m).sum()) for n, m in masks.kept.items()} == {
        "grouped.weight": 100,
        "up.bias": 1,
    }
    later = choose_masks(plain, half_of_all(), before=masks)
    assert_superset(later, masks)
    assert int((~later.kept["grouped.weight"]).sum()) == 144
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
