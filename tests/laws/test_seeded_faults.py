"""Break one thing at a time: the laws, or the hand-worked widths, have to notice.

Laws alone stay green when everything is frozen, and widths alone when channels are mixed up; each
fault here names a wiring on which it must be caught.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from prunekit.errors import PrunekitError
from prunekit.graph import rules, trace
from prunekit.graph import solve as solving
from prunekit.graph.labels import Facts
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests import nets
from tests.nets import Net, make


def is_caught(kind: type[Net]) -> bool:
    """Whether widths, the reversal law or the removal law fail on this network."""
    net, image = make(kind)
    try:
        graph = trace(net, image)
        widths = tuple(sorted((group.width for group in graph.groups), reverse=True))
        if widths != kind.widths or not graph.verify(net, image).holds:
            return True
        if not any(group.exact for group in graph.groups):
            return False
        scores = score_groups(net, graph.groups, "random")
        plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
        return not verify(net, apply(plan, net), plan, image).passed
    except (PrunekitError, RuntimeError, IndexError, ValueError):
        return True


def with_rule(monkeypatch, names: str, rule: rules.Rule) -> None:
    changed = {**rules.RULES, **{f"aten.{name}": rule for name in names.split()}}
    monkeypatch.setattr(rules, "RULES", changed)


def unknown_is_elementwise(monkeypatch):
    monkeypatch.setattr(rules, "_unknown", rules._pointwise)


def skip_is_not_tied(monkeypatch):
    def first_operand(call):
        return [call.axes(call.operator.arguments[0])]

    with_rule(monkeypatch, "add", first_operand)


def concatenation_is_reversed(monkeypatch):
    def reversed_cat(call):
        values, dim = call.operator.arguments
        operator = replace(call.operator, arguments=(values[::-1], dim))
        return rules._cat(replace(call, operator=operator))

    with_rule(monkeypatch, "cat", reversed_cat)


def shuffle_block_is_not_tied(monkeypatch):
    def every_fourth(call):
        *batch, channels, _, _ = call.axes(call.operator.arguments[0])
        return [(*batch, channels[:: call.operator.arguments[1] ** 2], None, None)]

    with_rule(monkeypatch, "pixel_shuffle", every_fourth)


def shuffle_is_interleaved_the_other_way(monkeypatch):
    def wrong(call):
        value, factor = call.operator.arguments
        *batch, channels, _, _ = call.axes(value)
        width = call.shape(value)[-3] // factor**2
        (kept,) = call.facts.axes((width,))
        call.grid(channels, (None, kept), (factor**2, width))
        return [(*batch, kept, None, None)]

    with_rule(monkeypatch, "pixel_shuffle", wrong)


def unshuffle_is_interleaved_the_other_way(monkeypatch):
    def wrong(call):
        value, factor = call.operator.arguments
        *batch, channels, _, _ = call.axes(value)
        sizes = (factor**2, call.shape(value)[-3])
        return [(*batch, call.merge((None, channels), sizes), None, None)]

    with_rule(monkeypatch, "pixel_unshuffle", wrong)


def bias_is_forgotten(monkeypatch):
    def without_bias(call):
        x, weight, _, *rest = call.operator.arguments
        operator = replace(call.operator, arguments=(x, weight, None, *rest))
        return rules._convolution(replace(call, operator=operator))

    with_rule(monkeypatch, "convolution", without_bias)


def conv_groups_are_ignored(monkeypatch):
    def as_plain(call):
        *most, _ = call.operator.arguments
        operator = replace(call.operator, arguments=(*most, 1))
        return rules._convolution(replace(call, operator=operator))

    with_rule(monkeypatch, "convolution", as_plain)


def transposed_is_taken_for_plain(monkeypatch):
    def as_plain(call):
        first, second = call.axes(call.operator.arguments[1])[:2]
        call.unite(call.axes(call.operator.arguments[0])[1], second)
        return [(None, first, None, None)]

    with_rule(monkeypatch, "convolution", as_plain)


def statistics_are_forgotten(monkeypatch):
    def only_affine(call):
        arguments = call.operator.arguments
        operator = replace(call.operator, arguments=(*arguments[:3], None, None, *arguments[5:]))
        return rules._batch_norm(replace(call, operator=operator))

    with_rule(monkeypatch, "native_batch_norm _native_batch_norm_legit_no_training", only_affine)


def transposition_is_forgotten(monkeypatch):
    with_rule(monkeypatch, "permute", rules._same)


def matrix_is_read_the_other_way_round(monkeypatch):
    with_rule(monkeypatch, "t", rules._same)


def cut_is_taken_for_whole(monkeypatch):
    def first_part(call):
        axes = list(call.axes(call.operator.arguments[0]))
        dim = call.argument("dim")
        length = call.result[dim]
        axes[dim] = axes[dim][:length] if axes[dim] is not None else None
        return [tuple(axes)] * len(call.operator.outputs)

    with_rule(monkeypatch, "split slice", first_part)


def mean_is_not_noticed(monkeypatch):
    def silent(call):
        call.facts.reduced.clear()
        result = rules._reduction(call)
        call.facts.reduced.clear()
        return result

    with_rule(monkeypatch, "mean", silent)


def output_may_leave(monkeypatch):
    module = importlib.import_module("prunekit.graph.graph")
    original = module.record
    monkeypatch.setattr(module, "record", lambda *a: replace(original(*a), outputs=()))


def frozen_does_not_spread(monkeypatch):
    monkeypatch.setattr(solving, "_spread", lambda *_: None)


def equality_is_half_forgotten(monkeypatch):
    original = solving._connected_components

    def forgetful(count, equal):
        return original(count, equal[: len(equal) // 2])

    monkeypatch.setattr(solving, "_connected_components", forgetful)


def merged_axis_is_rolled(monkeypatch):
    original = Facts.merge

    def rolled(self, axes, sizes, reason):
        merged = original(self, axes, sizes, reason)
        several = merged is not None and len(sizes) > 1 and len(merged) > 4
        return np.roll(merged, 1) if several else merged

    monkeypatch.setattr(Facts, "merge", rolled)


def surgery_takes_the_neighbour(monkeypatch):
    module = importlib.import_module("prunekit.surgery.apply")
    original = module._slim

    def off_by_one(tensor, plan):
        if plan is not None and plan.name.endswith("bias"):
            size = tensor.shape[0]
            plan = replace(plan, kept={0: tuple((i + 1) % size for i in plan.kept[0])})
        return original(tensor, plan)

    monkeypatch.setattr(module, "_slim", off_by_one)


def surgery_forgets_an_attribute(monkeypatch):
    module = importlib.import_module("prunekit.surgery.apply")
    monkeypatch.setattr(module, "_set_attributes", lambda *_: None)


def removed_units_are_not_switched_off(monkeypatch):
    module = importlib.import_module("prunekit.surgery.verify")
    monkeypatch.setattr(module, "_switch_off", lambda _: lambda _, tensor: tensor)


@dataclass(frozen=True)
class Fault:
    plant: Callable[[pytest.MonkeyPatch], None]
    shows_on: type[Net]


FAULTS = tuple(
    Fault(plant, kind)
    for plant, kind in (
        (unknown_is_elementwise, nets.Unknown),
        (skip_is_not_tied, nets.Residual),
        (concatenation_is_reversed, nets.Dense),
        (shuffle_block_is_not_tied, nets.Shuffled),
        (shuffle_is_interleaved_the_other_way, nets.Shuffled),
        (unshuffle_is_interleaved_the_other_way, nets.Unshuffled),
        (bias_is_forgotten, nets.Chain),
        (conv_groups_are_ignored, nets.Depthwise),
        (transposed_is_taken_for_plain, nets.Transposed),
        (statistics_are_forgotten, nets.Normed),
        (transposition_is_forgotten, nets.ChannelsLast),
        (matrix_is_read_the_other_way_round, nets.Tokens),
        (cut_is_taken_for_whole, nets.Cut),
        (cut_is_taken_for_whole, nets.Chunked),
        (mean_is_not_noticed, nets.Averaged),
        (output_may_leave, nets.Features),
        (frozen_does_not_spread, nets.ShuffledToImageByView),
        (equality_is_half_forgotten, nets.Residual),
        (merged_axis_is_rolled, nets.Unshuffled),
        (surgery_takes_the_neighbour, nets.Chain),
        (surgery_forgets_an_attribute, nets.Depthwise),
        (removed_units_are_not_switched_off, nets.Chain),
    )
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.plant.__name__}-{f.shows_on.__name__}")
def test_a_planted_fault_is_caught(fault, monkeypatch):
    fault.plant(monkeypatch)
    assert is_caught(fault.shows_on)


@pytest.mark.parametrize("kind", nets.NETS, ids=lambda kind: kind.__name__)
def test_nothing_is_caught_without_a_fault(kind):
    assert not is_caught(kind)
