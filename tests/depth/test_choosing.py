"""Which blocks leave: scores worked by hand, orders, targets and what is in reach."""

from __future__ import annotations

from itertools import chain

import pytest
import torch

from prunekit.depth import (
    Part,
    check_block_reach,
    choose_blocks,
    find_blocks,
    parts_of,
    score_blocks,
    subjects_of,
)
from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, clone_model, trace
from prunekit.plan import Target
from prunekit.progress import Silent
from prunekit.score import CRITERIA, Calibration, as_criterion, gather
from tests.depth.nets import BlockNet, Edsr, Mixed, Rcan, built, image

BATCHES = [(torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(n)),) for n in (3, 4)]
SAYS_NOTHING = {"lamp", "reconstruction", "reconstruction_varying"}


def looked_at(kind: type[BlockNet], **globs: list[str]) -> tuple[BlockNet, ChannelGraph, tuple]:
    net = built(kind)
    graph = trace(net, image())
    return net, graph, parts_of(graph, find_blocks(net, graph, image()), **globs)


def scores(net: BlockNet, graph: ChannelGraph, parts: tuple[Part, ...], name: str) -> dict:
    criterion = CRITERIA[name]
    calibration = None
    if criterion.needs or criterion.takes:
        calibration = Calibration.taken([(lr, None) for (lr,) in BATCHES], batches=2)
    groups = tuple(chain(*subjects_of(net, graph, parts, criterion).values()))
    evidence = gather(
        net, groups, criterion, calibration, outputs=graph.output_axes, progress=Silent()
    )
    return dict(score_blocks(net, graph, parts, criterion, evidence=evidence).scores)


@pytest.mark.parametrize("name", sorted(set(CRITERIA) - SAYS_NOTHING - {"bn_scale"}))
def test_every_criterion_that_says_something_scores_every_block(name):
    net, graph, parts = looked_at(Edsr)
    found = scores(net, graph, parts, name)
    assert list(found) == ["body.0", "body.1", "body.2"]
    assert len(set(found.values())) == 3
    assert min(found.values()) >= 0


def test_l1_is_the_sum_of_the_weights_of_a_block_each_counted_once():
    net, graph, parts = looked_at(Edsr)
    found = scores(net, graph, parts, "l1")
    for name in found:
        weights = net.get_submodule(name).parameters()
        expected = sum(float(parameter.detach().double().abs().sum()) for parameter in weights)
        assert found[name] == pytest.approx(expected)


def test_output_is_what_the_network_loses_without_the_block():
    net, graph, parts = looked_at(Edsr)
    found = scores(net, graph, parts, "output")
    for name in found:
        without = clone_model(net)
        for parameter in without.get_submodule(name).parameters():
            torch.nn.init.zeros_(parameter)
        with torch.no_grad():
            lost = [float((net(lr) - without(lr)).double().square().mean()) for (lr,) in BATCHES]
        assert found[name] == pytest.approx(sum(lost) / 2, rel=1e-5)


def test_the_scale_of_batch_norms_is_scored_where_there_are_some():
    net, graph, parts = looked_at(Mixed)
    criterion = CRITERIA["bn_scale"]
    found = score_blocks(net, graph, parts, criterion)
    assert found.scores == {"body.0": pytest.approx(8 + 6)}
    assert set(found.unscored) == {"body.1", "body.2", "body.3"}
    chosen = choose_blocks(graph, parts, found.scores, [Target("block_ratio", 0.25)])
    assert chosen.order == ("body.0",)
    with pytest.raises(PlanError, match=r"0.25 can be removed with all 1 .* \(3 others have not"):
        choose_blocks(graph, parts, found.scores, [Target("block_ratio", 0.5)])


@pytest.mark.parametrize("name", sorted(SAYS_NOTHING))
def test_shares_within_a_group_say_nothing_of_a_block(name):
    net, graph, parts = looked_at(Edsr)
    with pytest.raises(PlanError, match=f"criterion '{name}' tells shares"):
        score_blocks(net, graph, parts, CRITERIA[name])


def test_a_function_of_ones_own_sees_the_groups_in_a_block():
    net, graph, parts = looked_at(Edsr)
    seen = set()

    def largest(slices, _):
        seen.update(slice_.tensor for slice_ in slices)
        return [slice_.weights.amax(dim=1) for slice_ in slices if slice_.role == "makes"]

    found = score_blocks(net, graph, parts, as_criterion(largest))
    first = net.body[0]
    expected = sum(
        float(conv.weight.detach().amax((1, 2, 3)).sum()) for conv in (first.one, first.two)
    )
    assert found.scores["body.0"] == pytest.approx(expected)
    assert all(name.startswith("body.") for name in seen)


# order and targets


def test_the_least_important_leave_first_and_more_is_a_superset():
    _, graph, parts = looked_at(Edsr)
    found = {"body.0": 2.0, "body.1": 3.0, "body.2": 1.0}
    orders = [
        choose_blocks(graph, parts, found, [Target("params_ratio", ratio)]).order
        for ratio in (0.1, 0.3, 0.7)
    ]
    assert orders == [("body.2",), ("body.2", "body.0"), ("body.2", "body.0", "body.1")]


def test_blocks_around_others_leave_after_them():
    _, graph, parts = looked_at(Rcan)
    names = [part.name for part in parts]
    found = {name: 1.0 if name in ("body.0", "body.1") else 100.0 for name in names}
    order = choose_blocks(graph, parts, found, [Target("block_ratio", 0.99)]).order
    assert set(order) == set(names)
    for outer in ("body.0", "body.1"):
        inner = [order.index(name) for name in names if name.startswith(f"{outer}.")]
        assert order.index(outer) == max(inner) + 1  # at once, as it matters least
    part = next(part for part in parts if part.name == "body.0")
    assert part.params == 6 * 6 * 9 + 6  # the convolution beside the blocks in it


def test_a_row_of_blocks_is_no_part_of_its_own():
    *_, parts = looked_at(Mixed)
    assert [part.name for part in parts] == ["body.0", "body.1", "body.2", "body.3"]


@pytest.mark.parametrize(
    "target",
    [
        Target("block_ratio", 0.5),
        Target("params_ratio", 0.4),
        Target("macs_ratio", 0.4),
        Target("params", 1500),
        Target("macs", 100_000),
    ],
    ids=lambda target: target.kind,
)
def test_targets_are_met_with_no_block_too_many(target):
    net, graph, parts = looked_at(Edsr)
    found = scores(net, graph, parts, "l2")
    chosen = choose_blocks(graph, parts, found, [target])
    (came,) = chosen.reached
    assert came.reached >= target.amount if target.is_ratio else came.reached <= target.amount
    before = chosen.order[:-1]
    one_less = {p.name: p for p in parts if p.name in before}
    spared = sum(p.params if "params" in target.kind else p.macs for p in one_less.values())
    whole = graph.params() if "params" in target.kind else graph.macs()
    if target.kind == "block_ratio":
        assert len(chosen.order) == 2  # of three
    elif target.is_ratio:
        assert spared / whole < target.amount
    else:
        assert whole - spared > target.amount


def test_several_targets_are_met_together():
    net, graph, parts = looked_at(Rcan)
    asked = [Target("params_ratio", 0.3), Target("macs_ratio", 0.5), Target("block_ratio", 0.1)]
    chosen = choose_blocks(graph, parts, scores(net, graph, parts, "l2"), asked)
    assert all(one.reached >= one.target.amount for one in chosen.reached)


def test_what_is_in_reach_is_told_before_anything_is_scored():
    _, graph, parts = looked_at(Edsr)
    check_block_reach(graph, parts, [Target("params_ratio", 0.5)])
    with pytest.raises(PlanError, match=r"params_ratio 0.95 is out of reach: 0.\d+ can be removed"):
        check_block_reach(graph, parts, [Target("params_ratio", 0.95)])
    with pytest.raises(PlanError, match=r"params 10 is out of reach: [\d,]+ of [\d,]+ are left"):
        check_block_reach(graph, parts, [Target("params", 10)])


@pytest.mark.parametrize("kind", ["latency_ratio", "memory_ratio", "latency_ms", "channel_ratio"])
def test_what_blocks_are_not_counted_in_is_refused(kind):
    _, graph, parts = looked_at(Edsr)
    with pytest.raises(PlanError, match=f"{kind} cannot be aimed at by removing blocks"):
        check_block_reach(graph, parts, [Target(kind, 0.5)])


def test_a_target_that_is_met_already_is_refused():
    net, graph, parts = looked_at(Edsr)
    with pytest.raises(PlanError, match="the target removes nothing"):
        choose_blocks(graph, parts, scores(net, graph, parts, "l2"), [Target("params", 1e9)])


# globs


def test_protected_blocks_stay_with_what_is_in_them_and_around_them():
    def left(*globs: str) -> list[str]:
        *_, parts = looked_at(Rcan, protect=list(globs))
        return [part.name for part in parts]

    assert left("body.0") == ["body.1", "body.1.body.0", "body.1.body.1"]
    inner = ["body.0.body.1", "body.1", "body.1.body.0", "body.1.body.1"]
    assert left("body.0.body.0") == left("body.0.body.0.gate.1") == inner


def test_blocks_can_be_chosen_by_their_level():
    *_, parts = looked_at(Rcan, among=["body.?"])
    assert [part.name for part in parts] == ["body.0", "body.1"]
    assert all(not part.inner for part in parts)
    assert parts[0].params == sum(p.numel() for p in built(Rcan).body[0].parameters())


def test_globs_that_match_nothing_are_refused():
    with pytest.raises(PlanError, match=r"prune.protect: 'bdy.0' .*; did you mean 'body.0'"):
        looked_at(Edsr, protect=["bdy.0"])
    with pytest.raises(PlanError, match=r"prune.blocks: 'bod.0' matches no block"):
        looked_at(Edsr, among=["bod.0"])
    with pytest.raises(PlanError, match="no block can be removed: all of them are protected"):
        looked_at(Edsr, protect=["body.*"])
