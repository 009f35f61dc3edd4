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


def check_reversal(model: nn.Module, groups: Sequence[ChannelGroup], inputs: Inputs) -> LawResult:
    """Reverse the order of the units and compare the outputs.

    A missed or wrong coupling moves channels on one side only and shows at once. The groups are
    numbered from 1, and pass `p` reverses those whose number has bit `p` set: so every group is
    reversed in some pass, and of any two that should be one, only one is in some pass. It is done
    in float64 with generic weights and inputs, behind which no mistake hides; with the model's own
    where it does not run so. The model is untouched.
    """
    if all(parameter.is_meta for parameter in model.parameters()):
        message = (
            f"{type(model).__name__} is on the meta device and computes nothing that could prove "
            "its groups; build it on a real one"
        )
        raise TraceError(message)
    model, inputs = _generic(model, inputs)
    worst = Difference(0.0, 0.0, "")
    for subset in _subsets(groups):
        difference = _reversal_difference(model, subset, inputs)
        if not difference.passed:
            return LawResult(difference, _violators(model, groups, inputs))
        worst = max(difference, worst, key=lambda d: d.severity)
    return LawResult(worst, ())


def _generic(model: nn.Module, inputs: Inputs) -> tuple[nn.Module, Inputs]:
    """The model with generic weights and inputs in float64, if what it computes is finite."""
    other = edited_copy(model, generic(model), torch.float64)
    noise: Inputs = tree_map(_to_double, generic_inputs(inputs))
    try:
        finite = all(x.isfinite().all() for x in run(other, noise))
    except Exception:  # noqa: BLE001 - the model's own code can fail in any way
        finite = False
    return (other, noise) if finite else (model, inputs)


def _to_double(value: object) -> object:
    floating = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if isinstance(value, Tensor) and floating else value


def _subsets(groups: Sequence[ChannelGroup]) -> Iterator[list[ChannelGroup]]:
    for bit in range(len(groups).bit_length()):
        yield [group for number, group in enumerate(groups, start=1) if number >> bit & 1]


def _violators(model: nn.Module, groups: Sequence[ChannelGroup], inputs: Inputs) -> tuple[str, ...]:
    alone = [
        group.name for group in groups if not _reversal_difference(model, [group], inputs).passed
    ]
    return tuple(alone or [group.name for group in groups])


def _reversal_difference(
    model: nn.Module, groups: Sequence[ChannelGroup], inputs: Inputs
) -> Difference:
    difference = _difference_in(model, groups, inputs, dtype=None)
    if difference.passed or not runs(model, inputs, torch.float64):
        return difference
    return _difference_in(model, groups, inputs, dtype=torch.float64)


def _difference_in(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    inputs: Inputs,
    *,
    dtype: torch.dtype | None,
) -> Difference:
    orders = _reversed_orders(groups)

    def permute(name: str, tensor: Tensor) -> Tensor:
        for axis, moves in orders.get(name, {}).items():
            order = torch.arange(tensor.shape[axis], device=tensor.device)
            for places, sources in moves:
                order[places.to(tensor.device)] = sources.to(tensor.device)
            tensor = tensor.index_select(axis, order)
        return tensor

    expected = run(edited_copy(model, lambda _, tensor: tensor, dtype), inputs, dtype)
    return compare(expected, run(edited_copy(model, permute, dtype), inputs, dtype))


def _reversed_orders(
    groups: Sequence[ChannelGroup],
) -> dict[str, dict[int, list[tuple[Tensor, Tensor]]]]:
    """By tensor and axis: places, and the places that their content comes from."""
    orders: dict[str, dict[int, list[tuple[Tensor, Tensor]]]] = {}
    for group in groups:
        for member in group.members:
            move = (
                torch.from_numpy(member.indices.ravel()),
                torch.from_numpy(member.indices[::-1].ravel().copy()),
            )
            orders.setdefault(member.tensor, {}).setdefault(member.axis, []).append(move)
    return orders
