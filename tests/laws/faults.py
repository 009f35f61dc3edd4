"""Faults to plant, one at a time: each must show on the wiring that is named beside it."""

from __future__ import annotations

__all__ = ["FAULTS", "Fault"]

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from prunekit.graph.labels import Axis, Facts, Labels
from prunekit.graph.rules import Call
from tests.laws import rule_faults, surgery_faults

Patch = pytest.MonkeyPatch


@dataclass(frozen=True)
class Fault:
    """One thing broken, and a wiring on which it must show."""

    plant: Callable[[Patch], None]
    shows_on: str
    """Name of the wiring."""

    @property
    def name(self) -> str:
        """What is broken."""
        return self.plant.__name__.replace("_", " ")


def _module(name: str) -> Any:
    return importlib.import_module(f"prunekit.{name}")


# Labels --------------------------------------------------------------------------------------


def merged_axis_is_rolled(patch: Patch) -> None:
    original = Facts.merge

    def rolled(self: Facts, axes: Sequence[Axis], sizes: Sequence[int], reason: Any) -> Axis:
        merged = original(self, axes, sizes, reason)
        several = merged is not None and len(sizes) > 1 and len(merged) > 4
        return np.roll(merged, 1) if several and merged is not None else merged

    patch.setattr(Facts, "merge", rolled)


def grid_is_read_by_columns(patch: Patch) -> None:
    original = Facts.grid

    def by_columns(
        self: Facts, axis: Axis, factors: Sequence[Axis], sizes: Sequence[int], reason: Any
    ) -> None:
        original(self, axis, factors[::-1], sizes[::-1], reason)

    patch.setattr(Facts, "grid", by_columns)


def copies_of_a_label_are_tiled(patch: Patch) -> None:
    def tiled(axis: Labels, _: int, sizes: Sequence[int]) -> Labels:
        return np.resize(axis, int(np.prod(sizes)))

    patch.setattr(_module("graph.labels"), "_along", tiled)


def fixed_axis_does_not_freeze(patch: Patch) -> None:
    original = Facts.unite

    def lenient(self: Facts, first: Axis, second: Axis, reason: Any) -> Axis:
        if first is None or second is None:
            return first if second is None else second
        return original(self, first, second, reason)

    patch.setattr(Facts, "unite", lenient)


def labels_are_given_twice(patch: Patch) -> None:
    original = Facts.fresh

    def overlapping(self: Facts, size: int) -> Labels:
        labels = original(self, size)
        labels[0] = max(0, labels[0] - 1)  # the last one before is the first as well
        return labels

    patch.setattr(Facts, "fresh", overlapping)


def size_by_number_is_free(patch: Patch) -> None:
    patch.setattr(Call, "made", lambda call, size: call.facts.fresh(size) if size > 1 else None)


# Solving -------------------------------------------------------------------------------------


def equality_is_half_forgotten(patch: Patch) -> None:
    solving = _module("graph.solve")
    original = solving._connected

    def forgetful(root: Labels, equal: Sequence[tuple[Labels, Labels]]) -> Any:
        return original(root, equal[: len(equal) // 2])

    patch.setattr(solving, "_connected", forgetful)


def frozen_does_not_spread(patch: Patch) -> None:
    patch.setattr(_module("graph.solve")._Clauses, "spread", lambda *_: None)


def products_do_not_collapse(patch: Patch) -> None:
    solving = _module("graph.solve")
    original = solving._collapse
    patch.setattr(solving, "_collapse", lambda *given: (original(*given)[0], []))


def narrowest_factor_shrinks(patch: Patch) -> None:
    def widest_stays(self: Any, free: Any) -> None:
        product = self._undecided[0]
        factors = [f for f in product.factors if free[self._classes[f]].any()]
        self.freeze(max(factors, key=len), product.reason)

    patch.setattr(_module("graph.solve").Solver, "_decide", widest_stays)


def wish_for_heads_is_ignored(patch: Patch) -> None:
    solver = _module("graph.solve").Solver
    original = solver.__init__

    def stubborn(self: Any, facts: Facts, *_: Any) -> None:
        original(self, facts)

    patch.setattr(solver, "__init__", stubborn)


def image_may_leave(patch: Patch) -> None:
    patch.setattr(_module("graph.structure"), "_image_channels", lambda _: 0)


def output_may_leave(patch: Patch) -> None:
    module = _module("graph.graph")
    original = module.record
    patch.setattr(module, "record", lambda *a: replace(original(*a), outputs=()))


def balance_is_forgotten(patch: Patch) -> None:
    patch.setattr(_module("graph.counts"), "_joined", lambda _: [])


def attributes_are_not_followed(patch: Patch) -> None:
    patch.setattr(_module("graph.counts"), "read_attribute", lambda *_: None)


def units_of_an_axis_are_misaligned(patch: Patch) -> None:
    module = _module("graph.groups")
    original = module._members

    def misaligned(axes: Any, numbers: Any, places: Any, rank: Any, width: int) -> Any:
        first, *rest = original(axes, numbers, places, rank, width)
        return (replace(first, indices=np.roll(first.indices, 1, axis=0)), *rest)

    patch.setattr(module, "_members", misaligned)


def costs_leave_an_axis_out(patch: Patch) -> None:
    original = Call.count

    def short(self: Call, constant: int, axes: Any, *rest: Any, **more: Any) -> None:
        original(self, constant, axes[:-1], *rest, **more)

    patch.setattr(Call, "count", short)


# Surgery -------------------------------------------------------------------------------------


def surgery_takes_the_neighbour(patch: Patch) -> None:
    module = _module("surgery.apply")
    original = module._slim

    def off_by_one(tensor: torch.Tensor, plan: Any) -> torch.Tensor:
        if plan is not None and plan.name.endswith("bias"):
            size = tensor.shape[0]
            plan = replace(plan, kept={0: tuple((i + 1) % size for i in plan.kept[0])})
        slim: torch.Tensor = original(tensor, plan)
        return slim

    patch.setattr(module, "_slim", off_by_one)


def surgery_forgets_an_attribute(patch: Patch) -> None:
    patch.setattr(_module("surgery.apply"), "_set_attributes", lambda *_: None)


def removed_units_are_not_switched_off(patch: Patch) -> None:
    patch.setattr(_module("surgery.switch"), "_switch_off", lambda *_: lambda _, tensor: tensor)


FAULTS: tuple[Fault, ...] = tuple(
    Fault(plant, shows_on)
    for plant, shows_on in (
        (rule_faults.unknown_is_elementwise, "Mysterious"),
        (rule_faults.skip_is_not_tied, "Residual"),
        (rule_faults.choice_is_not_tied, "Chosen"),
        (rule_faults.imaginary_part_is_forgotten, "Fourier"),
        (rule_faults.slope_is_forgotten, "SlopePerChannel"),
        (rule_faults.write_in_place_is_forgotten, "Interlaced"),
        (rule_faults.zeros_are_of_fixed_size, "RecurrentWarped"),
        (rule_faults.zeros_are_of_any_size, "RecurrentLiteral"),
        (rule_faults.concatenation_is_reversed, "Dense"),
        (rule_faults.shuffle_block_is_not_tied, "Shuffled"),
        (rule_faults.shuffle_is_interleaved_the_other_way, "Shuffled"),
        (rule_faults.unshuffle_is_interleaved_the_other_way, "Unshuffled"),
        (rule_faults.channel_shuffle_is_forgotten, "ShuffledChannels"),
        (rule_faults.patches_are_interleaved_the_other_way, "Unfolded"),
        (rule_faults.folded_patches_are_interleaved_the_other_way, "Folded"),
        (rule_faults.copies_are_beside_each_other, "Repeated"),
        (rule_faults.mirror_is_forgotten, "FlippedChannels"),
        (rule_faults.roll_is_forgotten, "RolledChannels"),
        (rule_faults.expansion_is_of_fixed_size, "BlurredByExpand"),
        (rule_faults.transposition_is_forgotten, "ChannelsLast"),
        (rule_faults.matrix_is_read_the_other_way_round, "Tokens"),
        (rule_faults.bias_is_forgotten, "Chain"),
        (rule_faults.conv_groups_are_ignored, "Depthwise"),
        (rule_faults.transposed_is_taken_for_plain, "Transposed"),
        (rule_faults.bias_of_a_linear_layer_is_forgotten, "SqueezeExcite"),
        (rule_faults.what_is_summed_over_is_not_tied, "GlobalAttention"),
        (rule_faults.heads_are_not_noticed, "HeadsLeave"),
        (rule_faults.scale_of_attention_is_not_noticed, "DotProductEqual"),
        (rule_faults.values_are_taken_for_keys, "DotProductEqual"),
        (rule_faults.statistics_are_forgotten, "Normed"),
        (rule_faults.mean_is_not_noticed, "Averaged"),
        (rule_faults.maximum_is_not_noticed, "SpatialAttention"),
        (rule_faults.softmax_is_not_noticed, "LinearAttention"),
        (rule_faults.layer_norm_is_taken_for_exact, "LayerNormed"),
        (rule_faults.gain_of_layer_norm_is_forgotten, "NextBlock"),
        (rule_faults.sets_of_group_norm_are_ignored, "GroupNormed"),
        (rule_faults.length_of_weight_norm_is_forgotten, "WeightNormParametrized"),
        (rule_faults.sorting_keeps_the_order, "Ranked"),
        (rule_faults.running_sum_is_elementwise, "Summed"),
        (rule_faults.order_in_a_buffer_is_free, "Reordered"),
        (rule_faults.picked_channel_is_free, "PickedOut"),
        (rule_faults.chosen_experts_are_free, "RoutedToExperts"),
        (rule_faults.halves_of_a_gate_are_not_tied, "GatedLinear"),
        (rule_faults.parts_need_not_be_even, "PartsApart"),
        (rule_faults.part_is_taken_from_the_front, "CutBehind"),
        (rule_faults.part_is_taken_from_the_front, "SimpleGate"),
        (rule_faults.cut_by_number_is_free, "CutBehind"),
        (rule_faults.sliding_convolution_lets_channels_pass, "AcrossChannels"),
        (merged_axis_is_rolled, "Unshuffled"),
        (grid_is_read_by_columns, "Shuffled"),
        (copies_of_a_label_are_tiled, "Conditioned"),
        (fixed_axis_does_not_freeze, "ConstantAdded"),
        (labels_are_given_twice, "Residual"),
        (size_by_number_is_free, "RecurrentLiteral"),
        (equality_is_half_forgotten, "Residual"),
        (frozen_does_not_spread, "ShuffledToImageByView"),
        (products_do_not_collapse, "WindowAttention"),
        (narrowest_factor_shrinks, "Grouped"),
        (wish_for_heads_is_ignored, "HeadsLeave"),
        (image_may_leave, "MeanShift"),
        (output_may_leave, "Features"),
        (balance_is_forgotten, "PartsApart"),
        (attributes_are_not_followed, "PartialByAttribute"),
        (units_of_an_axis_are_misaligned, "Residual"),
        (costs_leave_an_axis_out, "Chain"),
        (surgery_takes_the_neighbour, "Chain"),
        (surgery_forgets_an_attribute, "Depthwise"),
        (removed_units_are_not_switched_off, "Chain"),
        (surgery_faults.norms_run_over_all_channels, "Averaged"),
        (surgery_faults.norms_run_over_all_channels, "LayerNormed2d"),
        (surgery_faults.norms_are_told_the_width_of_all, "LayerNormed"),
        (surgery_faults.what_stays_is_put_in_front, "LayerNormed"),
        (surgery_faults.beside_what_stays_is_nothing, "WeightNormColumns"),
        (surgery_faults.scale_of_attention_stays_that_of_all, "DotProductEqual"),
        (surgery_faults.a_computed_width_is_not_noticed, "ScaledByWidth"),
        (surgery_faults.a_computed_width_stays_that_of_all, "ScaledByWidth"),
        (surgery_faults.a_kernel_is_taken_for_zero, "KernelAttention"),
        (surgery_faults.norms_run_over_all_channels, "KernelAttention"),
        (surgery_faults.a_setting_is_not_looked_for, "HalvedTotal"),
        (surgery_faults.a_plain_integer_is_not_noticed, "DividedWidth"),
        (surgery_faults.a_plain_integer_is_not_noticed, "RoundedWidth"),
        (surgery_faults.attributes_of_classes_are_not_followed, "ClassWidth"),
        (surgery_faults.tuples_are_left_as_they_are, "PairOfSizes"),
        (surgery_faults.shape_of_a_norm_is_forgotten, "LayerNormed"),
        (surgery_faults.torch_attention_is_not_told, "TorchAttention"),
    )
)
