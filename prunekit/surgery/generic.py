"""The proof with generic weights, behind which no mistake hides."""

from __future__ import annotations

__all__ = ["GenericTrials", "finite", "generic_error_of"]

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunekit.errors import VerificationError
from prunekit.graph import Inputs
from prunekit.graph.compare import (
    GAINS,
    Difference,
    converted_copy,
    edited_copy,
    generic,
    generic_inputs,
    rounded_once,
    run,
    unchanged,
)
from prunekit.graph.record import shapes_of
from prunekit.plan import Plan
from prunekit.surgery.apply import rebuild
from prunekit.surgery.blame import blame, does_not_run
from prunekit.surgery.switch import SwitchedOff

_GENERIC_LIMIT = 1e-6
"""Largest error in float64, as a share of what the removal changes."""

_ROUNDING = 1e-3
"""What rounding is of the largest value of an output, as a share of these limits."""

_ROUNDED_LIMIT = 1e-2
"""The same in a type of less precision, for networks that take no other."""

_TRIALS = (*((torch.float64, _GENERIC_LIMIT, gain) for gain in GAINS), (None, _ROUNDED_LIMIT, 1.0))
"""Type, limit and gain of generic weights, in the order that they are tried in."""


@dataclass(frozen=True)
class _Generic:
    """A network with generic weights, which computes something finite."""

    model: nn.Module
    inputs: Inputs
    dtype: torch.dtype | None
    limit: float
    whole: Sequence[Tensor]


class GenericTrials:
    """A network with generic weights of several kinds; what it computes is kept."""

    def __init__(self, dense: nn.Module) -> None:
        self.dense = dense
        self._computed: dict[tuple[object, int], list[Tensor] | None] = {}

    def at(self, inputs: Inputs) -> Iterator[_Generic]:
        """In float64, from strong weights to weak; in its own type where it does not run in that.

        Those with which it computes something finite.
        """
        noise, found = generic_inputs(inputs), False
        for place, (dtype, limit, gain) in enumerate(_TRIALS):
            key = (shapes_of(inputs), place)
            if (found and dtype is None) or (key in self._computed and not self._computed[key]):
                continue
            model = converted_copy(self.dense, generic(self.dense, gain), dtype)
            if key not in self._computed:
                self._computed[key] = finite(model, noise, dtype)
            if whole := self._computed[key]:
                found = True
                yield _Generic(model, noise, dtype, limit, whole)


def finite(
    model: nn.Module, inputs: Inputs, dtype: torch.dtype | None = None
) -> list[Tensor] | None:
    """What a model computes; None if it fails, or not all of it is finite."""
    try:
        results = run(edited_copy(model, unchanged), inputs, dtype)
    except Exception:  # noqa: BLE001 - the model's own code can fail in any way
        return None
    return results if all(bool(tensor.isfinite().all()) for tensor in results) else None


def generic_error_of(trials: GenericTrials, off: SwitchedOff, inputs: Inputs) -> float | None:
    """Error with generic weights, as a share of what switching channels off changes.

    Weights get weaker while rounding them breaks the limit as well. None where the network computes
    nothing finite; then its own weights must show an effect.
    """
    if not off.plan.tensors and not off.plan.blocks:
        return 0.0
    failed: Difference | None = None
    for net in trials.at(inputs):
        expected = off.run(net.model, net.inputs, net.dtype)
        actual = _run_slim(off.plan, net.model, net.inputs, net.dtype)
        share, failed = _share((net.whole, expected, actual), net.limit)
        if failed is None:
            return share
        rounded = off.run(edited_copy(net.model, rounded_once), net.inputs, net.dtype)
        if _share((net.whole, expected, rounded), net.limit)[1] is None:
            break  # rounding does not, so it is a mistake
    if failed is not None:
        raise VerificationError(blame(off.plan, failed, inputs, "with generic weights"))
    whole = run(edited_copy(trials.dense, unchanged), inputs)
    if _effect(whole, off.run(trials.dense, inputs, None)) == 0:
        raise VerificationError(_EMPTY)
    return None


_EMPTY = (
    "nothing is proven, since switching the removed channels off does not change what the network "
    "computes, even with generic weights; protect groups to find the idle one"
)


def _run_slim(
    plan: Plan, dense: nn.Module, inputs: Inputs, dtype: torch.dtype | None
) -> list[Tensor]:
    try:
        return run(rebuild(plan, dense).eval(), inputs, dtype)
    except Exception as error:  # the model's own code can fail in any way
        raise VerificationError(does_not_run(error)) from error


def _share(
    results: tuple[Sequence[Tensor], Sequence[Tensor], Sequence[Tensor]], limit: float
) -> tuple[float, Difference | None]:
    """Compare what the whole, the switched-off and the slim network compute, output by output.

    Returns the error as a share of what switching off changes, and what is beyond the limit.
    """
    if _effect(results[0], results[1]) == 0:
        raise VerificationError(_EMPTY)
    share = 0.0
    for whole, expected, actual in zip(*results, strict=True):
        own, gap = _largest(whole, expected), _largest(expected, actual)
        size = float(_exact(expected).abs().max()) if expected.numel() else 0.0
        allowed = limit * own + _ROUNDING * limit * size  # of what it leaves alone, rounding
        if not gap <= allowed:  # nor if it is not a number
            dtype = str(expected.dtype).removeprefix("torch.")
            return float("inf"), Difference(gap, allowed, dtype)
        share = max(share, gap / own if own else 0.0)
    return share, None


def _effect(whole: Sequence[Tensor], off: Sequence[Tensor]) -> float:
    """Largest change of any output; raises `VerificationError` if they are of other sizes."""
    if [x.shape for x in whole] != [x.shape for x in off]:
        message = (
            "the size of what the network returns follows from how many channels there are; "
            "protect the groups that its code asks for it"
        )
        raise VerificationError(message)
    return max(map(_largest, whole, off), default=0.0)


def _largest(first: Tensor, second: Tensor) -> float:
    """Largest absolute difference; infinite where shapes differ or something is not finite."""
    if first.shape != second.shape:
        return float("inf")
    if not first.numel():
        return 0.0
    largest = float((_exact(first) - _exact(second)).abs().max())
    return largest if math.isfinite(largest) else float("inf")


def _exact(tensor: Tensor) -> Tensor:
    return tensor.to(torch.complex128 if tensor.is_complex() else torch.float64)
