"""The law that proves a graph: reversing the units of a group changes nothing."""

from __future__ import annotations

__all__ = ["LawResult", "check_reversal"]

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.errors import TraceError
from prunekit.graph.compare import (
    GAINS,
    Difference,
    Edit,
    compare,
    edited_copy,
    generic,
    generic_inputs,
    rounded_once,
    run,
    runs,
    unchanged,
)
from prunekit.graph.draws import Draw, Reordered
from prunekit.graph.groups import ChannelGroup, Indices
from prunekit.graph.precision import is_double
from prunekit.graph.record import Inputs
from prunekit.graph.reverse import reverse_units


@dataclass(frozen=True)
class LawResult:
    """Whether the reversal law holds."""

    difference: Difference
    """The largest that reversing made."""
    violators: tuple[str, ...]
    """Names of the groups that break it by themselves, or together when none does."""

    @property
    def holds(self) -> bool:
        """Whether no group breaks the law."""
        return not self.violators


def check_reversal(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    inputs: Inputs,
    *,
    draws: Sequence[Draw] = (),
    own_weights: bool = False,
) -> LawResult:
    """Reverse the order of the units and compare the outputs.

    A missed or wrong coupling moves channels on one side only and shows at once. The groups are
    numbered from 1, and pass `p` reverses those whose number has bit `p` set: so every group is
    reversed in some pass, and of any two that should be one, only one is in some pass. It is done
    in float64 with generic weights and inputs, behind which no mistake hides; with the model's own
    where it does not run so, or where branches depend on values (`own_weights`). Where weights
    that differ in their last bits alone break the law as well, nothing can be told from rounding,
    and weaker generic weights are taken; the bound is always that of `compare`. Random numbers
    that the model draws for channels (`draws`) go where those go. The model is untouched.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        message = (
            f"{type(model).__name__} is on the meta device and computes nothing that could prove "
            "its groups; build it on a real one"
        )
        raise TraceError(message)
    for trial in _trials(model, inputs, draws, own_weights=own_weights):
        difference = trial.worst(groups)
        if difference.passed:
            return LawResult(difference, ())
        if not trial.amplifies_rounding():
            break
    return LawResult(difference, _violators(trial, groups))


def _trials(
    model: nn.Module, inputs: Inputs, draws: Sequence[Draw], *, own_weights: bool
) -> Iterator[_Trial]:
    """Trials with generic weights, from strong ones to weak; one with its own if it must be."""
    proven = False
    for gain in () if own_weights else GAINS:
        other = edited_copy(model, generic(model, gain), torch.float64)
        noise: Inputs = tree_map(_to_double, generic_inputs(inputs))
        try:
            trial = _Trial(other, noise, draws)
        except Exception:  # noqa: BLE001 - the model's own code can fail in any way
            break
        if trial.is_finite():
            yield trial
            proven = True
    if not proven:
        yield _Trial(model, inputs, draws)


def _to_double(value: object) -> object:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if isinstance(value, Tensor) and floating else value


def _violators(trial: _Trial, groups: Sequence[ChannelGroup]) -> tuple[str, ...]:
    alone = [group.name for group in groups if not trial.difference([group]).passed]
    return tuple(alone or [group.name for group in groups])


class _Trial:
    """Runs the model with reversed groups against what it computes untouched."""

    def __init__(self, model: nn.Module, inputs: Inputs, draws: Sequence[Draw]) -> None:
        self._model = model
        self._inputs = inputs
        self._draws = draws
        self._expected = run(edited_copy(model, unchanged), inputs)

    def is_finite(self) -> bool:
        """Whether the untouched model computes nothing infinite."""
        return all(tensor.isfinite().all() for tensor in self._expected)

    def amplifies_rounding(self) -> bool:
        """Whether the model in float64 makes of rounding alone what the law would blame."""
        rounded = run(edited_copy(self._model, rounded_once), self._inputs)
        return not compare(self._expected, rounded).passed

    def worst(self, groups: Sequence[ChannelGroup]) -> Difference:
        """The largest of what reversing makes, or the first that is no rounding."""
        worst = Difference(0.0, 0.0, "")
        for subset in _subsets(groups):
            difference = self.difference(subset)
            if not difference.passed:
                return difference
            worst = max(difference, worst, key=lambda d: d.severity)
        return worst

    def difference(self, groups: Sequence[ChannelGroup]) -> Difference:
        """What reversing these makes; on doubt again in float64 if the model runs in that."""
        difference = self._compared(groups, self._expected, None)
        double = torch.float64
        if difference.passed or is_double(self._model):
            return difference
        if not runs(self._model, self._inputs, double):
            return difference
        plain = edited_copy(self._model, unchanged, double)
        return self._compared(groups, run(plain, self._inputs, double), double)

    def _compared(
        self, groups: Sequence[ChannelGroup], expected: Sequence[Tensor], dtype: torch.dtype | None
    ) -> Difference:
        reversed_model = edited_copy(self._model, _reversing(groups), dtype)
        moved = partial(Reordered, self._draws, {group.name for group in groups})
        within = moved if self._draws else nullcontext
        return compare(expected, run(reversed_model, self._inputs, dtype, within=within))


def _subsets(groups: Sequence[ChannelGroup]) -> Iterator[list[ChannelGroup]]:
    for bit in range(len(groups).bit_length()):
        yield [group for number, group in enumerate(groups, start=1) if number >> bit & 1]


def _reversing(groups: Sequence[ChannelGroup]) -> Edit:
    """An edit that moves every unit of the groups."""
    members: dict[str, dict[int, list[Indices]]] = {}
    for group in groups:
        for member in group.members:
            axes = members.setdefault(member.tensor, {})
            axes.setdefault(member.axis, []).append(member.indices)

    def reverse(name: str, tensor: Tensor) -> Tensor:
        for axis, units in members.get(name, {}).items():
            tensor = reverse_units(tensor, axis, units)
        return tensor

    return reverse
