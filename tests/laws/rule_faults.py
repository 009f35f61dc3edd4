"""Faults in the rules of operators: each is planted by a function of a monkeypatch."""

from __future__ import annotations

__all__ = [
    "unknown_is_elementwise",
    "skip_is_not_tied",
    "choice_is_not_tied",
    "imaginary_part_is_forgotten",
    "slope_is_forgotten",
    "write_in_place_is_forgotten",
    "zeros_are_of_fixed_size",
    "zeros_are_of_any_size",
    "concatenation_is_reversed",
    "shuffle_block_is_not_tied",
    "shuffle_is_interleaved_the_other_way",
    "unshuffle_is_interleaved_the_other_way",
    "channel_shuffle_is_forgotten",
    "patches_are_interleaved_the_other_way",
    "folded_patches_are_interleaved_the_other_way",
    "copies_are_beside_each_other",
    "mirror_is_forgotten",
    "roll_is_forgotten",
    "expansion_is_of_fixed_size",
    "transposition_is_forgotten",
    "matrix_is_read_the_other_way_round",
    "bias_is_forgotten",
    "conv_groups_are_ignored",
    "transposed_is_taken_for_plain",
    "bias_of_a_linear_layer_is_forgotten",
    "what_is_summed_over_is_not_tied",
    "heads_are_not_noticed",
    "scale_of_attention_is_not_noticed",
    "values_are_taken_for_keys",
    "statistics_are_forgotten",
    "mean_is_not_noticed",
    "maximum_is_not_noticed",
    "softmax_is_not_noticed",
    "layer_norm_is_taken_for_exact",
    "gain_of_layer_norm_is_forgotten",
    "sets_of_group_norm_are_ignored",
    "length_of_weight_norm_is_forgotten",
    "sorting_keeps_the_order",
    "running_sum_is_elementwise",
    "order_in_a_buffer_is_free",
    "picked_channel_is_free",
    "chosen_experts_are_free",
    "halves_of_a_gate_are_not_tied",
    "parts_need_not_be_even",
    "part_is_taken_from_the_front",
    "cut_by_number_is_free",
    "sliding_convolution_lets_channels_pass",
]

import importlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from prunekit.graph.rules import (
    RULES,
    Axes,
    Call,
    Rule,
    contraction,
    elementwise,
    movement,
    reduction,
    selection,
)

Patch = pytest.MonkeyPatch


def _with_rule(patch: Patch, names: str, rule: Rule) -> None:
    changed = {**RULES, **{f"aten.{name}": rule for name in names.split()}}
    patch.setattr(importlib.import_module("prunekit.graph.graph"), "RULES", changed)


def _changed(call: Call, **arguments: Any) -> Call:
    """The call with other arguments."""
    names = [a.name for a in call.operator.function._schema.arguments]
    given = dict(zip(names, call.operator.arguments, strict=True)) | arguments
    return replace(call, operator=replace(call.operator, arguments=tuple(given.values())))


def _first_operand(call: Call) -> Sequence[Axes]:
    return [call.axes(call.first)] * len(call.operator.outputs)


def _silently(rule: Rule) -> Rule:
    """The rule without what it notes of reductions."""

    def silent(call: Call) -> Sequence[Axes]:
        before = len(call.facts.reduced)
        result = rule(call)
        del call.facts.reduced[before:]
        return result

    return silent


def _carelessly(rule: Rule) -> Rule:
    """The rule without what it freezes."""

    def careless(call: Call) -> Sequence[Axes]:
        before = len(call.facts.frozen)
        result = rule(call)
        del call.facts.frozen[before:]
        return result

    return careless


def unknown_is_elementwise(patch: Patch) -> None:
    patch.setattr(elementwise, "unknown", elementwise.pointwise)


def skip_is_not_tied(patch: Patch) -> None:
    _with_rule(patch, "add", _first_operand)


def choice_is_not_tied(patch: Patch) -> None:
    _with_rule(patch, "where", lambda call: [call.axes(call.operator.arguments[1])])


def imaginary_part_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "complex", _first_operand)


def slope_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "_prelu_kernel", _first_operand)


def write_in_place_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "copy_", _first_operand)


def zeros_are_of_fixed_size(patch: Patch) -> None:
    _with_rule(patch, "new_zeros", elementwise.fixed)


def zeros_are_of_any_size(patch: Patch) -> None:
    def free(call: Call) -> Sequence[Axes]:
        return [call.facts.axes(call.result)]

    _with_rule(patch, "new_zeros", free)


def concatenation_is_reversed(patch: Patch) -> None:
    def backwards(call: Call) -> Sequence[Axes]:
        return movement.cat(_changed(call, tensors=call.first[::-1]))  # type: ignore[index]

    _with_rule(patch, "cat", backwards)


def shuffle_block_is_not_tied(patch: Patch) -> None:
    def every_fourth(call: Call) -> Sequence[Axes]:
        *batch, channels, _, _ = call.axes(call.first)
        return [(*batch, channels[:: call.operator.arguments[1] ** 2], None, None)]

    _with_rule(patch, "pixel_shuffle", every_fourth)


def shuffle_is_interleaved_the_other_way(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        value, factor = call.operator.arguments
        *batch, channels, _, _ = call.axes(value)
        width = call.shape(value)[-3] // factor**2
        (kept,) = call.facts.axes((width,))
        call.grid(channels, (None, kept), (factor**2, width))
        return [(*batch, kept, None, None)]

    _with_rule(patch, "pixel_shuffle", wrong)


def unshuffle_is_interleaved_the_other_way(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        value, factor = call.operator.arguments
        *batch, channels, _, _ = call.axes(value)
        sizes = (factor**2, call.shape(value)[-3])
        return [(*batch, call.merge((None, channels), sizes), None, None)]

    _with_rule(patch, "pixel_unshuffle", wrong)


def channel_shuffle_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "channel_shuffle native_channel_shuffle", _first_operand)


def patches_are_interleaved_the_other_way(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        *batch, channels, _, _ = call.axes(call.first)
        taps = int(np.prod(call.operator.arguments[1]))
        return [(*batch, call.merge((None, channels), (taps, len(channels))), None)]

    _with_rule(patch, "im2col", wrong)


def folded_patches_are_interleaved_the_other_way(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        *batch, slots, _ = call.axes(call.first)
        taps = int(np.prod(call.operator.arguments[2]))
        (kept,) = call.facts.axes((len(slots) // taps,))
        call.grid(slots, (None, kept), (taps, len(kept)))
        return [(*batch, kept, None, None)]

    _with_rule(patch, "col2im", wrong)


def copies_are_beside_each_other(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        times = call.operator.arguments[1]
        return [
            tuple(
                None if axis is None else np.repeat(axis, int(count))
                for axis, count in zip(call.axes(call.first), times, strict=True)
            )
        ]

    _with_rule(patch, "repeat", wrong)


def mirror_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "flip", _first_operand)


def roll_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "roll", _first_operand)


def expansion_is_of_fixed_size(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        axes = call.axes(call.first)
        return [(*(None for _ in call.result[len(axes) :]), *axes)]

    _with_rule(patch, "expand", wrong)


def transposition_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "permute", _first_operand)


def matrix_is_read_the_other_way_round(patch: Patch) -> None:
    _with_rule(patch, "t", _first_operand)


def bias_is_forgotten(patch: Patch) -> None:
    _with_rule(
        patch, "convolution", lambda call: contraction.convolution(_changed(call, bias=None))
    )


def conv_groups_are_ignored(patch: Patch) -> None:
    _with_rule(patch, "convolution", lambda call: contraction.convolution(_changed(call, groups=1)))


def transposed_is_taken_for_plain(patch: Patch) -> None:
    def as_plain(call: Call) -> Sequence[Axes]:
        return contraction.convolution(_changed(call, transposed=False))

    _with_rule(patch, "convolution", as_plain)


def bias_of_a_linear_layer_is_forgotten(patch: Patch) -> None:
    def without(call: Call) -> Sequence[Axes]:
        return [contraction._matrix_product(call, *call.operator.arguments[1:3])]

    _with_rule(patch, "addmm", without)


def what_is_summed_over_is_not_tied(patch: Patch) -> None:
    def untied(call: Call) -> Sequence[Axes]:
        (*batch, rows, _), (*_, columns) = map(call.axes, call.operator.arguments[:2])
        return [(*batch, rows, columns)]

    _with_rule(patch, "bmm", untied)


def heads_are_not_noticed(patch: Patch) -> None:
    patch.setattr(Call, "heads", lambda *_: None)


def scale_of_attention_is_not_noticed(patch: Patch) -> None:
    name = "_scaled_dot_product_flash_attention_for_cpu"
    _with_rule(patch, name, _silently(contraction.attention))


def values_are_taken_for_keys(patch: Patch) -> None:
    def wrong(call: Call) -> Sequence[Axes]:
        q, k, *_ = call.operator.arguments
        return call.outputs((*call.axes(q)[:-1], call.axes(k)[-1]))

    _with_rule(patch, "_scaled_dot_product_flash_attention_for_cpu", wrong)


def statistics_are_forgotten(patch: Patch) -> None:
    def only_affine(call: Call) -> Sequence[Axes]:
        return reduction.batch_norm(_changed(call, running_mean=None, running_var=None))

    _with_rule(patch, "native_batch_norm _native_batch_norm_legit_no_training", only_affine)


def mean_is_not_noticed(patch: Patch) -> None:
    _with_rule(patch, "mean", _silently(reduction.reduction))


def maximum_is_not_noticed(patch: Patch) -> None:
    _with_rule(patch, "max mean", _silently(selection.best_along))


def softmax_is_not_noticed(patch: Patch) -> None:
    _with_rule(patch, "_softmax", _first_operand)


def layer_norm_is_taken_for_exact(patch: Patch) -> None:
    _with_rule(patch, "native_layer_norm", _silently(reduction.layer_norm))


def gain_of_layer_norm_is_forgotten(patch: Patch) -> None:
    def plain(call: Call) -> Sequence[Axes]:
        return reduction.layer_norm(_changed(call, weight=None))

    _with_rule(patch, "native_layer_norm", plain)


def sets_of_group_norm_are_ignored(patch: Patch) -> None:
    _with_rule(
        patch, "native_group_norm", lambda call: reduction.group_norm(_changed(call, group=1))
    )


def length_of_weight_norm_is_forgotten(patch: Patch) -> None:
    _with_rule(patch, "_weight_norm_interface", lambda call: call.outputs(call.axes(call.first)))


def sorting_keeps_the_order(patch: Patch) -> None:
    _with_rule(patch, "sort", _first_operand)


def running_sum_is_elementwise(patch: Patch) -> None:
    _with_rule(patch, "cumsum", _first_operand)


def order_in_a_buffer_is_free(patch: Patch) -> None:
    def passes(call: Call) -> Sequence[Axes]:
        return [call.axes(call.first)]

    _with_rule(patch, "index", passes)


def picked_channel_is_free(patch: Patch) -> None:
    _with_rule(patch, "select", _carelessly(selection.select))


def chosen_experts_are_free(patch: Patch) -> None:
    _with_rule(patch, "topk", _carelessly(selection.along))
    changed = {f"aten.{name}": _carelessly(RULES[f"aten.{name}"]) for name in ("gather", "index")}
    module = importlib.import_module("prunekit.graph.graph")
    patch.setattr(module, "RULES", {**module.RULES, **changed})


def halves_of_a_gate_are_not_tied(patch: Patch) -> None:
    def first_half(call: Call) -> Sequence[Axes]:
        axes = list(call.axes(call.first))
        axes[1] = axes[1][: call.result[1]]
        return [tuple(axes)]

    _with_rule(patch, "glu", first_half)


def parts_need_not_be_even(patch: Patch) -> None:
    patch.setattr(selection, "_part", lambda *_: None)


def part_is_taken_from_the_front(patch: Patch) -> None:
    def first_part(call: Call) -> Sequence[Axes]:
        axes = list(call.axes(call.first))
        dim = call.argument("dim")
        axes[dim] = None if axes[dim] is None else axes[dim][: call.result[dim]]
        return [tuple(axes)] * len(call.operator.outputs)

    _with_rule(patch, "split slice", first_part)


def cut_by_number_is_free(patch: Patch) -> None:
    _with_rule(patch, "slice", _carelessly(selection.slice_))


def sliding_convolution_lets_channels_pass(patch: Patch) -> None:
    def passes(call: Call) -> Sequence[Axes]:
        ((batch, makes, *_),) = _carelessly(contraction.convolution)(call)
        return [(batch, makes, *call.axes(call.first)[2:])]

    _with_rule(patch, "convolution", passes)
