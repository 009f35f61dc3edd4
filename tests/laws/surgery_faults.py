"""Faults of following sizes and of running norms over the channels that stay."""

from __future__ import annotations

__all__ = [
    "a_computed_width_is_not_noticed",
    "a_computed_width_stays_that_of_all",
    "a_kernel_is_taken_for_zero",
    "a_plain_integer_is_not_noticed",
    "a_setting_is_not_looked_for",
    "attributes_of_classes_are_not_followed",
    "beside_what_stays_is_nothing",
    "norms_are_told_the_width_of_all",
    "norms_run_over_all_channels",
    "scale_of_attention_stays_that_of_all",
    "shape_of_a_norm_is_forgotten",
    "torch_attention_is_not_told",
    "tuples_are_left_as_they_are",
    "what_stays_is_put_in_front",
]

import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from prunekit.graph.integers import AxisSize
from prunekit.graph.labels import Axis
from prunekit.graph.rules import Call

Patch = pytest.MonkeyPatch


def _module(name: str) -> Any:
    return importlib.import_module(f"prunekit.{name}")


def norms_run_over_all_channels(patch: Patch) -> None:
    patch.setattr(_module("graph.reference")._Follower, "_reduces", lambda *_: False)


def norms_are_told_the_width_of_all(patch: Patch) -> None:
    patch.setattr(_module("graph.reference"), "_SIZED", {})


def what_stays_is_put_in_front(patch: Patch) -> None:
    original = _module("graph.reference")._Follower._spread

    def in_front(self: Any, number: int, whole: Any, result: Any, outputs: Iterator[Any]) -> Any:
        spread = original(self, number, whole, result, outputs)
        if not isinstance(whole, Tensor) or whole.shape == result.shape:
            return spread
        spread.zero_()
        spread[tuple(slice(size) for size in result.shape)] = result
        return spread

    patch.setattr(_module("graph.reference")._Follower, "_spread", in_front)


def beside_what_stays_is_nothing(patch: Patch) -> None:
    original = _module("graph.reference")._Follower._spread

    def on_zeros(self: Any, number: int, whole: Any, result: Any, outputs: Iterator[Any]) -> Any:
        blank = torch.zeros_like(whole) if isinstance(whole, Tensor) else whole
        return original(self, number, blank, result, outputs)

    patch.setattr(_module("graph.reference")._Follower, "_spread", on_zeros)


def scale_of_attention_stays_that_of_all(patch: Patch) -> None:
    def unchanged(_: Any, __: Any, ___: Any, arguments: Sequence[Any]) -> list[Any]:
        return list(arguments)

    patch.setattr(_module("graph.reference")._Follower, "_rescaled", unchanged)


def a_computed_width_is_not_noticed(patch: Patch) -> None:
    patch.setattr(_module("graph.walk"), "_mark_computed", lambda *_: None)


def a_computed_width_stays_that_of_all(patch: Patch) -> None:
    def dense(self: Any, axis: AxisSize) -> int:
        return int(self._walked.shapes[axis.value][axis.dim])

    patch.setattr(_module("graph.reference")._Leaving, "left", dense)


def a_kernel_is_taken_for_zero(patch: Patch) -> None:
    patch.setattr(_module("graph.zeros").Zeros, "summed", lambda *_: [])


def a_setting_is_not_looked_for(patch: Patch) -> None:
    patch.setattr(_module("graph.graph"), "settle", lambda *_: {})


def a_plain_integer_is_not_noticed(patch: Patch) -> None:
    patch.setattr(_module("graph.integers").Quotient, "_tell", lambda *_: None)


def attributes_of_classes_are_not_followed(patch: Patch) -> None:
    patch.setattr(_module("graph.attributes"), "_class_sizes", lambda _: {})


def tuples_are_left_as_they_are(patch: Patch) -> None:
    original = _module("graph.paths")._replaced

    def left(holder: Any, steps: Sequence[Any], value: object, path: str) -> Any:
        return holder if isinstance(holder, tuple) else original(holder, steps, value, path)

    patch.setattr(_module("graph.paths"), "_replaced", left)


def shape_of_a_norm_is_forgotten(patch: Patch) -> None:
    original = Call.sized

    def sized(self: Call, **attributes: Axis) -> None:
        kept = {name: axis for name, axis in attributes.items() if "normalized" not in name}
        original(self, **kept)

    patch.setattr(Call, "sized", sized)
    patch.setattr(_module("graph.structure"), "_normalised", lambda *_: iter(()))


def torch_attention_is_not_told(patch: Patch) -> None:
    patch.setattr(_module("graph.structure"), "_attending", lambda *_: iter(()))
