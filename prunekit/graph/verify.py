"""The law that proves a graph: reversing the units of a group changes nothing."""

from __future__ import annotations

__all__ = ["LawResult", "check_reversal"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.errors import TraceError
from prunekit.graph.compare import (
    Difference,
    Edit,
    compare,
    edited_copy,
    generic,
    generic_inputs,
    run,
    runs,
)
from prunekit.graph.groups import ChannelGroup
from prunekit.graph.record import Inputs


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
    model: nn.Module, groups: Sequence[ChannelGroup], inputs: Inputs, *, own_weights: bool = False
) -> LawResult:
    """Reverse the order of the units and compare the outputs.

    A missed or wrong coupling moves channels on one side only and shows at once. The groups are
    numbered from 1, and pass `p` reverses those whose number has bit `p` set: so every group is
    reversed in some pass, and of any two that should be one, only one is in some pass. It is done
    in float64 with generic weights and inputs, behind which no mistake hides; with the model's own
    where it does not run so, or where branches depend on values (`own_weights`). The model is
    untouched.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        message = (
            f"{type(model).__name__} is on the meta device and computes nothing that could prove "
            "its groups; build it on a real one"
        )
        raise TraceError(message)
    if not own_weights:
        model, inputs = _generic(model, inputs)
    trial = _Trial(model, inputs)
    worst = Difference(0.0, 0.0, "")
    for subset in _subsets(groups):
        difference = trial.difference(subset)
        if not difference.passed:
            return LawResult(difference, _violators(trial, groups))
        worst = max(difference, worst, key=lambda d: d.severity)
    return LawResult(worst, ())


def _generic(model: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
    """The model with generic weights and inputs in float64, if what it computes is finite."""
    other = edited_copy(model, generic(model), torch.float64)
    noise: Inputs = tree_map(_to_double, generic_inputs(inputs))
    try:
        trial = edited_copy(other, lambda _, tensor: tensor)  # it may keep what it computes
        finite = all(x.isfinite().all() for x in run(trial, noise))
    except Exception:  # noqa: BLE001 - the model's own code can fail in any way
        finite = False
    return (other, noise) if finite else (model, inputs)


def _to_double(value: object) -> object:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if isinstance(value, Tensor) and floating else value


def _subsets(groups: Sequence[ChannelGroup]) -> Iterator[list[ChannelGroup]]:
    for bit in range(len(groups).bit_length()):
        yield [group for number, group in enumerate(groups, start=1) if number >> bit & 1]


def _violators(trial: _Trial, groups: Sequence[ChannelGroup]) -> tuple[str, ...]:
    alone = [group.name for group in groups if not trial.difference([group]).passed]
    return tuple(alone or [group.name for group in groups])


class _Trial:
    """Runs the model with reversed groups against what it computes untouched."""

    def __init__(self, model: nn.Module, inputs: Inputs) -> None:
        self._model = model
        self._inputs = inputs
        self._expected = run(edited_copy(model, lambda _, tensor: tensor), inputs)

    def difference(self, groups: Sequence[ChannelGroup]) -> Difference:
        """What reversing these makes; on doubt again in float64 if the model runs in that."""
        orders = _reversed_orders(groups)
        difference = self._compared(orders, self._expected, None)
        double = torch.float64
        if difference.passed or self._is_double() or not runs(self._model, self._inputs, double):
            return difference
        plain = edited_copy(self._model, lambda _, tensor: tensor, double)
        return self._compared(orders, run(plain, self._inputs, double), double)

    def _compared(
        self, orders: _Orders, expected: Sequence[Tensor], dtype: torch.dtype | None
    ) -> Difference:
        reversed_model = edited_copy(self._model, _permutation(orders), dtype)
        return compare(expected, run(reversed_model, self._inputs, dtype))

    def _is_double(self) -> bool:
        parameters = self._model.parameters()
        return all(p.dtype == torch.float64 for p in parameters if p.is_floating_point())


def _permutation(orders: _Orders) -> Edit:
    """An edit that moves every unit of the reversed groups."""

    def permute(name: str, tensor: Tensor) -> Tensor:
        for axis, moves in orders.get(name, {}).items():
            order = torch.arange(tensor.shape[axis], device=tensor.device)
            for places, sources in moves:
                order[places.to(tensor.device)] = sources.to(tensor.device)
            tensor = tensor.index_select(axis, order)
        return tensor

    return permute


_Orders = dict[str, dict[int, list[tuple[Tensor, Tensor]]]]
"""By tensor and axis: places, and the places that their content comes from."""


def _reversed_orders(
    groups: Sequence[ChannelGroup],
) -> _Orders:
    orders: _Orders = {}
    for group in groups:
        for member in group.members:
            move = (
                torch.from_numpy(member.indices.ravel()),
                torch.from_numpy(member.indices[::-1].ravel().copy()),
            )
            orders.setdefault(member.tensor, {}).setdefault(member.axis, []).append(move)
    return orders
