"""Plans as data: JSON there and back, files that are none, composition, and how they read."""

from __future__ import annotations

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from prunekit.errors import FileFormatError, PlanError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Plan, Policy, Target, make_plan, plan_units
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import conv

FINE = Policy(round_to=1, min_width=1)


def planned(net: nn.Module, ratio: float = 0.5, policy: Policy = FINE) -> Plan:
    graph = trace(net, torch.rand(1, 3, 6, 6))
    scores = score_groups(net, graph.groups, "l2")
    return make_plan(graph, scores, Target("channel_ratio", ratio), policy)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return planned(EDSR(channels=6, blocks=1))


def test_json_is_plain_and_loses_nothing(plan):
    text = plan.to_json()
    assert Plan.from_json(text) == plan
    assert Plan.from_json(text).to_json() == text
    assert json.loads(text)["format"] == "prunekit-plan/1"


def test_a_newer_format_is_told(plan):
    newer = json.dumps({**json.loads(plan.to_json()), "format": "prunekit-plan/2"})
    with pytest.raises(FileFormatError, match=r"'prunekit-plan/2'; this version reads .*/1'"):
        Plan.from_json(newer)


FOREIGN = ("", "null", "7", "[]", '"text"', "{}", "{", "[" * 100_000, '{"format": 1}', "\0", "NaN")


@pytest.mark.parametrize("text", FOREIGN, ids=lambda t: t[:12])
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(FileFormatError):
        Plan.from_json(text)


DAMAGES = {
    "index out of range": lambda d: d["groups"][0]["kept"].append(6),
    "negative index": lambda d: d["groups"][0]["kept"].insert(0, -1),
    "index twice": lambda d: d["groups"][0]["kept"].append(d["groups"][0]["kept"][-1]),
    "indices descending": lambda d: d["groups"][0]["kept"].reverse(),
    "nothing kept": lambda d: d["groups"][0]["kept"].clear(),
    "fraction": lambda d: d["groups"][0].update(kept=[0, 1.5]),
    "truth value": lambda d: d["groups"][0].update(kept=[False, True]),
    "text for a number": lambda d: d["groups"][0].update(width="6"),
    "number for text": lambda d: d["groups"][0].update(name=6),
    "text for a list": lambda d: d["groups"][0].update(kept="012"),
    "tensor index out of range": lambda d: d["tensors"][0]["kept"].update({"0": [0, 99]}),
    "axis out of range": lambda d: d["tensors"][0]["kept"].update({"9": [0]}),
    "axis negative": lambda d: d["tensors"][0]["kept"].update({"-1": [0]}),
    "axis no number": lambda d: d["tensors"][0]["kept"].update({"x": [0]}),
    "shape of text": lambda d: d["tensors"][0].update(shape="663"),
    "attribute of any value": lambda d: d["attributes"][0].update(after={"a": 1}),
    "attribute unnamed": lambda d: d["attributes"][0].pop("attribute"),
    "infinite": lambda d: d.update(params=[float("inf"), 1]),
    "three of two": lambda d: d.update(macs=[1, 2, 3]),
    "fingerprint no text": lambda d: d.update(fingerprint=None),
    "groups missing": lambda d: d.pop("groups"),
    "groups null": lambda d: d.update(groups=None),
    "tensors no list": lambda d: d.update(tensors=5),
    "group no mapping": lambda d: d.update(groups=[[]]),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_plan_is_refused(plan, damage):
    data = json.loads(plan.to_json())
    damage(data)
    with pytest.raises(FileFormatError, match=r"^not a plan of prunekit"):
        Plan.from_json(json.dumps(data))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_plan_with_characters_changed_is_refused_or_another_plan(data):
    text = PLAN_TEXT
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 8))
    filling = data.draw(st.text('0123456789-[]{}",:.eE ntfa', max_size=4))
    try:
        changed = Plan.from_json(text[:start] + filling + text[start + length :])
    except FileFormatError:
        return
    assert Plan.from_json(changed.to_json()) == changed


PLAN_TEXT = planned(EDSR(channels=4, blocks=1)).to_json()


def test_a_plan_reads_as_a_line_a_group():
    text = repr(planned(EDSR(channels=6, blocks=1)))
    assert text.splitlines() == [
        "Plan: params 2,643 -> 756 (-71.4%), macs 112,428 -> 36,612 (-67.4%)",
        "  trunk: 6 -> 3",
        "  body.0 hidden: 6 -> 3",
        "  tail.0.0 / 4: 6 -> 3",
    ]


def test_then_is_one_plan_for_both():
    net = EDSR(channels=12, blocks=2)
    first = planned(net, 0.25)
    between = apply(first, net)
    second = planned(between, 1 / 3)
    both = first.then(second)
    assert both.fingerprint == first.fingerprint
    assert both.params == (first.params[0], second.params[1])
    for group, once, again in zip(both.groups, first.groups, second.groups, strict=True):
        assert group.name == once.name == again.name
        assert group.width == 12
        assert group.kept == tuple(once.kept[unit] for unit in again.kept)
        assert len(group.kept) == 6
    image = torch.rand(1, 3, 6, 6)
    assert torch.equal(apply(both, net)(image), apply(second, between)(image))
    assert {a.before for a in both.attributes if a.attribute == "in_channels"} == {12}
    assert Plan.from_json(both.to_json()) == both


def test_then_keeps_what_only_one_of_the_plans_touches():
    net = EDSR(channels=12, blocks=2)
    first = planned(net, 0.5, Policy(round_to=1, min_width=1, protect=("body.0 hidden",)))
    between = apply(first, net)
    second = planned(between, 0.5, Policy(round_to=1, min_width=1, protect=("trunk", "tail.*")))
    both = first.then(second)
    image = torch.rand(1, 3, 6, 6)
    assert verify(net, apply(both, net), both, image).passed
    assert {g.name: len(g.kept) for g in both.groups} == {
        "trunk": 6,
        "body.0 hidden": 6,
        "body.1 hidden": 3,
        "tail.0.0 / 4": 6,
    }


def test_then_tells_of_groups_that_the_first_plan_did_not_have():
    class Grouped(nn.Module):
        """After the first pruning there are more groups than channels in each."""

        def __init__(self) -> None:
            super().__init__()
            self.head, self.mid, self.tail = conv(3, 16), conv(16, 16, groups=4), conv(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.mid(self.head(x)))

    net, image = Grouped(), torch.rand(1, 3, 6, 6)
    first = planned(net, 0.5)
    between = apply(first, net)
    assert [g.name for g in first.groups] == ["head / 4", "mid / 4"]
    second = planned(between, 0.25)
    assert [g.name for g in second.groups] == ["trunk"]
    both = first.then(second)
    assert [g.name for g in both.groups] == ["head / 4", "mid / 4", "trunk"]
    assert torch.equal(apply(both, net)(image), apply(second, between)(image))
    assert verify(net, apply(both, net), both, image).passed


def test_a_plan_does_not_differ_from_itself(plan):
    same = plan.diff(Plan.from_json(plan.to_json()))
    assert not same
    assert repr(same) == "PlanDifference: 0 groups, 0 tensors"


def test_a_difference_names_groups_units_tensors_and_attributes():
    net = EDSR(channels=6, blocks=1)
    half, third = planned(net, 0.5), planned(net, 1 / 3)
    found = half.diff(third)
    assert found
    for group in found.groups:
        here = next(g.kept for g in half.groups if g.name == group.name)
        there = next(g.kept for g in third.groups if g.name == group.name)
        assert set(group.only_here) == set(here) - set(there)
        assert set(group.only_there) == set(there) - set(here)
    assert "head.0.weight" in found.tensors
    assert ("head.0.out_channels", 3, 4) in found.attributes
    assert "  head.0.out_channels: 3 here, 4 there" in repr(found).splitlines()


def test_what_one_plan_leaves_alone_is_told():
    net = EDSR(channels=6, blocks=1)
    graph = trace(net, torch.rand(1, 3, 6, 6))
    whole, half = plan_units(graph, {}), planned(net, 0.5)
    found = whole.diff(half)
    assert ("head.0.out_channels", None, 3) in found.attributes
    assert all(not group.only_there for group in found.groups)
    assert "  head.0.out_channels: as it was here, 3 there" in repr(found).splitlines()


def test_plans_of_two_networks_are_not_compared(plan):
    with pytest.raises(PlanError, match="different networks"):
        plan.diff(planned(EDSR(channels=8, blocks=1)))
