"""Proof that a slim network is the dense one with the removed channels switched off."""

from __future__ import annotations

__all__ = ["Verification", "prove", "verify"]

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from prunekit.errors import VerificationError
from prunekit.graph import Inputs, References, TraceOptions, clone_model, unwrap
from prunekit.graph.compare import (
    Difference,
    compare,
    edited_copy,
    rounded_once,
    run,
    runs,
    unchanged,
)
from prunekit.plan import Plan
from prunekit.surgery.apply import rebuild
from prunekit.surgery.blame import blame, does_not_run
from prunekit.surgery.generic import generic_error_of
from prunekit.surgery.original import Original
from prunekit.surgery.sizes import shape_of
from prunekit.surgery.switch import SwitchedOff

_AMPLIFIED = 10.0
"""How many times what rounding its weights makes of a network is put down to rounding."""

_PLAIN = TraceOptions()


@dataclass(frozen=True)
class Verification:
    """What was compared, and how far apart it was."""

    passed: bool
    max_error: float
    """Largest absolute difference of an output value, at its worst place for rounding."""
    limit: float
    """What rounding may make of it at that place (`torch.testing` tolerances, see `amplified`)."""
    dtype: str
    """Type in which it was computed; float64 where the model's own type left a doubt."""
    input_shapes: tuple[tuple[int, ...], ...]
    """Shapes of the first input at every size that was tried."""
    generic_error: float | None = None
    """Largest error with generic weights in float64, as a share of what switching the removed
    channels off changes; None where the network does not run so."""
    amplified: bool = False
    """The network makes more of rounding its weights than `torch.testing` allows; `limit` is then
    some times that, and the proof is that of the generic weights."""

    @property
    def severity(self) -> float:
        """The error as a multiple of its limit."""
        return Difference(self.max_error, self.limit, self.dtype).severity


def verify(
    dense: nn.Module,
    slim: nn.Module,
    plan: Plan,
    inputs: Inputs,
    *,
    options: TraceOptions = _PLAIN,
) -> Verification:
    """Compare the slim network with the dense one whose removed slices and blocks are zero.

    Where a norm, a mean or a softmax runs over channels of which some are removed, it runs over
    those that stay in both.

    Both run at the size of `inputs` and, where the dense network takes it, at a larger one. The
    same plan is then tried with generic weights and inputs in float64, behind which no mistake
    hides; since that takes long, the second size is a smaller one where the dense network takes
    that. The slim network must run in training mode if the dense one does. A network that
    amplifies rounding beyond the limits is judged by what rounding its weights makes of it, and
    with weaker generic weights.

    Raises:
        VerificationError: they differ by more than rounding, or the proof would be empty.
    """
    return _verify(Original(dense, inputs, options), unwrap(slim), plan)


def _verify(original: Original, slim: nn.Module, plan: Plan) -> Verification:
    references = original.references
    references.reused = False
    off = SwitchedOff.of(plan, original.dense, original.options, references)
    ways = _ways(off, references)
    try:
        return _compared(original, slim, next(ways))
    except VerificationError as error:
        for way in ways:
            with suppress(VerificationError):
                return _compared(original, slim, way)
        raise error from None


def _ways(off: SwitchedOff, references: References) -> Iterator[SwitchedOff]:
    """How the removed channels are switched off, one after the other until the proof holds."""
    yield off
    if references.reused:
        yield replace(off, references=None)  # the network may run other operators each time
    if off.plan.attributes and not off.plan.exact:
        yield replace(off, references=None, scaled=True)


def _compared(original: Original, slim: nn.Module, off: SwitchedOff) -> Verification:
    dense = original.dense
    found = [_own_difference(dense, slim, off, call) for call in original.sizes]
    amplified = any(amplified for _, amplified in found)
    worst = max((difference for difference, _ in found), key=lambda each: each.severity)
    errors = [generic_error_of(original.trials, off, call) for call in original.generic_sizes]
    generic_error = None if None in errors else max(e for e in errors if e is not None)
    if amplified:
        _check_amplified(dense, slim, off.plan, generic_error)
    if original.trains:
        _check_training(slim, original.inputs)
    shapes = tuple(map(shape_of, original.sizes))
    return Verification(
        True, worst.max_error, worst.limit, worst.dtype, shapes, generic_error, amplified
    )


def _own_difference(
    dense: nn.Module, slim: nn.Module, off: SwitchedOff, call: Inputs
) -> tuple[Difference, bool]:
    """With their own weights, and whether these amplify rounding; raises if it is no rounding."""
    difference = _difference(dense, slim, off, call)
    amplified = not difference.passed
    if amplified:
        difference = _beside_rounding(difference, dense, off, call)
    if not difference.passed:
        raise VerificationError(blame(off.plan, difference, call, "with its weights"))
    return difference, amplified


def prove(original: Original, slim: nn.Module, plan: Plan) -> tuple[Plan, Verification]:
    """Verify, and return the plan as it was proven.

    Where the code computes with a width in a way that the graph does not see, as in `1.0 / c`, a
    plan that was taken for exact is not: the network without these channels computes with what is
    left of the width, and that is what is proven then.

    Raises:
        VerificationError: neither holds.
    """
    try:
        return plan, _verify(original, unwrap(slim), plan)
    except VerificationError as error:
        if not plan.exact:
            raise
        inexact = replace(plan, exact=False)
        try:
            return inexact, _verify(original, unwrap(slim), inexact)
        except VerificationError:
            raise error from None


def _check_training(slim: nn.Module, inputs: Inputs) -> None:
    """A branch taken only in training must not break."""
    try:
        run(clone_model(slim).train(), inputs)
    except Exception as error:
        message = (
            f"{does_not_run(error)} in training mode, where it takes another branch; "
            "protect the groups that this branch reads"
        )
        raise VerificationError(message) from error


def _difference(dense: nn.Module, slim: nn.Module, off: SwitchedOff, inputs: Inputs) -> Difference:
    """In the model's own type, and on doubt again in float64 if the model runs in that."""
    difference = _difference_in(dense, slim, off, inputs, dtype=None)
    if difference.passed or not runs(dense, inputs, torch.float64):
        return difference
    return _difference_in(dense, slim, off, inputs, dtype=torch.float64)


def _beside_rounding(
    difference: Difference, dense: nn.Module, off: SwitchedOff, inputs: Inputs
) -> Difference:
    """The same with a limit of some times what rounding the weights makes, if that is more."""
    double = torch.float64
    if difference.dtype != "float64":
        return difference
    rounded = off.run(edited_copy(dense, rounded_once, double), inputs, double)
    drift = compare(off.run(dense, inputs, double), rounded)
    limit = _AMPLIFIED * drift.severity * difference.limit
    return replace(difference, limit=max(difference.limit, limit))


def _check_amplified(
    dense: nn.Module, slim: nn.Module, plan: Plan, generic_error: float | None
) -> None:
    """Where its own weights cannot tell, they must be those of the plan, to the bit."""
    if generic_error is None:
        message = (
            "nothing is proven, since the network makes as much of rounding as of a mistake, and "
            "does not run with generic weights; scale its weights down"
        )
        raise VerificationError(message)
    weights, planned = slim.state_dict(), rebuild(plan, dense).state_dict()
    other = [name for name in planned if not _equal(planned[name], weights.get(name))]
    if other or planned.keys() != weights.keys():
        message = (
            "the slim network has other weights than the plan gives it "
            f"({', '.join(map(repr, other[:3]))}), and amplifies rounding too much to be compared"
        )
        raise VerificationError(message)


def _equal(first: object, second: object) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second.to(first.device))
    return type(first) is type(second)


def _difference_in(
    dense: nn.Module,
    slim: nn.Module,
    off: SwitchedOff,
    inputs: Inputs,
    *,
    dtype: torch.dtype | None,
) -> Difference:
    expected = off.run(dense, inputs, dtype)
    try:
        actual = run(edited_copy(slim, unchanged, dtype), inputs, dtype)
    except Exception as error:  # the model's own code can fail in any way
        raise VerificationError(does_not_run(error)) from error
    return compare(expected, actual)
