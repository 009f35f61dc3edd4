"""Proof that a slim network is the dense one with the removed channels switched off."""

from __future__ import annotations

__all__ = ["Verification", "prove", "second_size", "verify"]

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeGuard

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from prunekit.errors import VerificationError, brief
from prunekit.graph import Inputs, TraceOptions, clone_model, run_without, unwrap
from prunekit.graph.compare import (
    GAINS,
    Difference,
    Edit,
    compare,
    converted_copy,
    edited_copy,
    generic,
    generic_inputs,
    rounded_once,
    run,
    runs,
)
from prunekit.graph.record import plain
from prunekit.plan import GroupPlan, Plan, inside
from prunekit.surgery.apply import rebuild
from prunekit.surgery.weightnorm import directions_of

_GENERIC_LIMIT = 1e-6
"""Largest error in float64, as a share of what the removal changes."""

_ROUNDING = 1e-3
"""What rounding is of the largest value of an output, as a share of these limits."""

_ROUNDED_LIMIT = 1e-2
"""The same in a type of less precision, for networks that take no other."""

_TRIALS = (*((torch.float64, _GENERIC_LIMIT, gain) for gain in GAINS), (None, _ROUNDED_LIMIT, 1.0))
"""Type, limit and gain of generic weights, in the order that they are tried in."""

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

    Both run at the size of `inputs` and, where the dense network takes it, at a second one. The
    same plan is then tried with generic weights and inputs in float64, behind which no mistake
    hides; since that takes long, the second size is a smaller one where the dense network takes
    that. The slim network must run in training mode if the dense one does. A network that
    amplifies rounding beyond the limits is judged by what rounding its weights makes of it, and
    with weaker generic weights.

    Raises:
        VerificationError: they differ by more than rounding, or the proof would be empty.
    """
    dense, slim = unwrap(dense), unwrap(slim)
    edits = (_switch_off(plan, dense), _switch_matrices_off(plan, dense))
    off = _Off(plan, edits, options)
    worst: Difference | None = None
    shapes, amplifies = [], False
    for call in (inputs, second_size(inputs)):
        if call is not inputs and not runs(dense, call):
            continue
        difference = _difference(dense, slim, off, call)
        if not difference.passed:
            amplifies, difference = True, _beside_rounding(difference, dense, off, call)
        if not difference.passed:
            raise VerificationError(_blame(plan, difference, call, "with its weights"))
        shapes.append(_shape(call))
        if worst is None or difference.severity > worst.severity:
            worst = difference
    assert worst is not None
    errors = [_generic_error(dense, off, call) for call in _generic_sizes(dense, inputs)]
    generic_error = None if None in errors else max(e for e in errors if e is not None)
    if amplifies:
        _check_amplified(dense, slim, plan, generic_error)
    _check_training(dense, slim, inputs)
    return Verification(
        True, worst.max_error, worst.limit, worst.dtype, tuple(shapes), generic_error, amplifies
    )


def _generic_sizes(dense: nn.Module, inputs: Inputs) -> Iterator[Inputs]:
    """The example's, and one other that the network takes, small if it can be."""
    yield inputs
    for call in (_smaller_size(inputs), second_size(inputs)):
        if _shape(call) != _shape(inputs) and runs(dense, call):
            yield call
            return


def prove(
    dense: nn.Module,
    slim: nn.Module,
    plan: Plan,
    inputs: Inputs,
    *,
    options: TraceOptions = _PLAIN,
) -> tuple[Plan, Verification]:
    """Verify, and return the plan as it was proven.

    Where the code computes with a width in a way that the graph does not see, as in `1.0 / c`, a
    plan that was taken for exact is not: the network without these channels computes with what is
    left of the width, and that is what is proven then.

    Raises:
        VerificationError: neither holds.
    """
    try:
        return plan, verify(dense, slim, plan, inputs, options=options)
    except VerificationError as error:
        if not plan.exact:
            raise
        inexact = replace(plan, exact=False)
        try:
            return inexact, verify(dense, slim, inexact, inputs, options=options)
        except VerificationError:
            raise error from None


@dataclass(frozen=True)
class _Off:
    """How the removed channels are switched off."""

    plan: Plan
    edits: tuple[Edit, ...]
    """To be tried in turn, until the network computes finite numbers."""
    options: TraceOptions

    def run(self, dense: nn.Module, inputs: Inputs, dtype: torch.dtype | None) -> list[Tensor]:
        """What the dense network computes without them."""
        results: list[Tensor] = []
        for edit in self.edits:
            results = self._run(dense, inputs, dtype, edit)
            if all(tensor.isfinite().all() for tensor in results):
                break
        return results

    def _run(
        self, dense: nn.Module, inputs: Inputs, dtype: torch.dtype | None, edit: Edit
    ) -> list[Tensor]:
        try:
            if self.plan.exact:
                return run(edited_copy(dense, edit, dtype), inputs, dtype)
            removed = {
                tensor.name: {
                    axis: sorted(set(range(tensor.shape[axis])) - set(kept))
                    for axis, kept in tensor.kept.items()
                }
                for tensor in self.plan.tensors
            }
            return run_without(dense, inputs, removed, edit=edit, dtype=dtype, options=self.options)
        except VerificationError:
            raise
        except Exception as error:  # the model's own code can fail in any way
            message = (
                "the dense network does not run with the removed channels switched off "
                f"({brief(error)}), so nothing can be proven"
            )
            raise VerificationError(message) from error


@dataclass(frozen=True)
class _Generic:
    """A network with generic weights, which computes something finite."""

    model: nn.Module
    inputs: Inputs
    dtype: torch.dtype | None
    limit: float
    whole: Sequence[Tensor]


def _generic_networks(dense: nn.Module, inputs: Inputs) -> Iterator[_Generic]:
    """In float64, from strong weights to weak; in its own type where it does not run in that."""
    noise, found = generic_inputs(inputs), False
    for dtype, limit, gain in _TRIALS:
        if found and dtype is None:
            return
        other = converted_copy(dense, generic(dense, gain), dtype)
        try:
            whole = run(edited_copy(other, _unchanged), noise, dtype)
        except Exception:  # noqa: BLE001, S112 - the model's own code can fail in any way
            continue
        if all(tensor.isfinite().all() for tensor in whole):
            found = True
            yield _Generic(other, noise, dtype, limit, whole)


def _generic_error(dense: nn.Module, off: _Off, inputs: Inputs) -> float | None:
    """Error with generic weights, as a share of what switching channels off changes.

    Weights get weaker while rounding them breaks the limit as well. None where the network computes
    nothing finite; then its own weights must show an effect.
    """
    if not off.plan.tensors and not off.plan.blocks:
        return 0.0
    failed: Difference | None = None
    for net in _generic_networks(dense, inputs):
        expected = off.run(net.model, net.inputs, net.dtype)
        actual = _run_slim(off.plan, net.model, net.inputs, net.dtype)
        share, failed = _share((net.whole, expected, actual), net.limit)
        if failed is None:
            return share
        rounded = off.run(edited_copy(net.model, rounded_once), net.inputs, net.dtype)
        if _share((net.whole, expected, rounded), net.limit)[1] is None:
            break  # rounding does not, so it is a mistake
    if failed is not None:
        raise VerificationError(_blame(off.plan, failed, inputs, "with generic weights"))
    whole = run(edited_copy(dense, _unchanged), inputs)
    if _effect(whole, off.run(dense, inputs, None)) == 0:
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
        raise VerificationError(_does_not_run(error)) from error


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


def _check_training(dense: nn.Module, slim: nn.Module, inputs: Inputs) -> None:
    """A branch taken only in training must not break."""
    if not _trains(dense, inputs):
        return
    try:
        run(clone_model(slim).train(), inputs)
    except Exception as error:
        message = (
            f"{_does_not_run(error)} in training mode, where it takes another branch; "
            "protect the groups that this branch reads"
        )
        raise VerificationError(message) from error


def _trains(model: nn.Module, inputs: Inputs) -> bool:
    try:
        run(clone_model(model).train(), inputs)
    except Exception:  # noqa: BLE001 - the model's own code can fail in any way
        return False
    return True


def _does_not_run(error: Exception) -> str:
    return f"the slim network does not run ({type(error).__name__}: {error})"


def _difference(dense: nn.Module, slim: nn.Module, off: _Off, inputs: Inputs) -> Difference:
    """In the model's own type, and on doubt again in float64 if the model runs in that."""
    difference = _difference_in(dense, slim, off, inputs, dtype=None)
    if difference.passed or not runs(dense, inputs, torch.float64):
        return difference
    return _difference_in(dense, slim, off, inputs, dtype=torch.float64)


def _beside_rounding(
    difference: Difference, dense: nn.Module, off: _Off, inputs: Inputs
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


def _unchanged(_: str, tensor: Tensor) -> Tensor:
    return tensor


def _difference_in(
    dense: nn.Module, slim: nn.Module, off: _Off, inputs: Inputs, *, dtype: torch.dtype | None
) -> Difference:
    expected = off.run(dense, inputs, dtype)
    try:
        actual = run(edited_copy(slim, _unchanged, dtype), inputs, dtype)
    except Exception as error:  # the model's own code can fail in any way
        raise VerificationError(_does_not_run(error)) from error
    return compare(expected, actual)


def _switch_off(plan: Plan, dense: nn.Module) -> Edit:
    """An edit that zeroes everything that the plan removes, of blocks the parameters.

    A direction of weight norm has no length to divide by if it is zero; its gain is zero already.
    """
    plans = {tensor.name: tensor for tensor in plan.tensors}
    directions: Mapping[str, int] = directions_of(dense)
    parameters = {name for name, _ in dense.named_parameters()}

    def zero(name: str, tensor: Tensor) -> Tensor:
        if inside(name, plan.blocks):
            whole = name in parameters and name not in directions
            return torch.zeros_like(tensor) if whole else tensor
        if name not in plans:
            return tensor
        tensor = tensor.clone()
        for axis, kept in plans[name].kept.items():
            if axis != directions.get(name):
                gone = torch.ones(tensor.shape[axis], dtype=torch.bool, device=tensor.device)
                gone[torch.tensor(kept, device=tensor.device)] = False
                tensor.index_fill_(axis, gone.nonzero().squeeze(1), 0)
        return tensor

    return zero


def _switch_matrices_off(plan: Plan, dense: nn.Module) -> Edit:
    """An edit that zeroes what the plan removes of matrices and kernels alone.

    A removed channel that no layer reads is off, whatever its scale: where the code divides by
    one (a step of quantisation, the knots of a spline), it must not be zero.
    """
    zero = _switch_off(plan, dense)
    parameters = {name for name, _ in dense.named_parameters()}

    def spare(name: str, tensor: Tensor) -> Tensor:
        if inside(name, plan.blocks):
            return zero(name, tensor)
        is_vector = tensor.numel() == max(tensor.shape, default=1)
        return zero(name, tensor) if name in parameters and not is_vector else tensor

    return spare


def second_size(inputs: Inputs) -> Inputs:
    """Images half as high again and twice as wide; other tensors as they are."""
    resized: Inputs = tree_map(_resized, plain(inputs))
    return resized


def _smaller_size(inputs: Inputs) -> Inputs:
    """Images half as high again and half as wide; other tensors as they are."""
    resized: Inputs = tree_map(_narrowed, plain(inputs))
    return resized


def _resized(value: object) -> object:
    if not _is_image(value):
        return value
    taller = _taller(value)
    return torch.cat([taller, taller.flip(-1)], dim=-1)


def _narrowed(value: object) -> object:
    return _taller(value)[..., : -(-value.shape[-1] // 2)] if _is_image(value) else value


def _is_image(value: object) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.ndim >= 4 and value.is_floating_point()  # noqa: PLR2004


def _taller(image: Tensor) -> Tensor:
    return torch.cat([image, image[..., : image.shape[-2] // 2, :]], dim=-2)


def _shape(inputs: Inputs) -> tuple[int, ...]:
    """Shape of the first input that is a tensor."""
    tensors = (x for x in tree_flatten(plain(inputs))[0] if isinstance(x, Tensor))
    return next((tuple(tensor.shape) for tensor in tensors), ())


def _blame(plan: Plan, difference: Difference, inputs: Inputs, how: str) -> str:
    if plan.blocks:
        return _blame_blocks(plan, difference, inputs, how)
    shrunk: list[GroupPlan] = [g for g in plan.groups if len(g.kept) < g.width]
    groups = ", ".join(f"'{g.name}'" for g in shrunk[:5])
    more = f" and {len(shrunk) - 5} more" if len(shrunk) > 5 else ""  # noqa: PLR2004
    return (
        f"the slim network {how} differs from the dense one by {difference.max_error:.3g} where "
        f"rounding allows {difference.limit:.3g}, at input {_shape(inputs)}, after pruning "
        f"{groups}{more}; its code may compute with a width, as in `c ** -0.5`, or reshape to "
        "sizes written in it: protect groups to find the one at fault"
    )


def _blame_blocks(plan: Plan, difference: Difference, inputs: Inputs, how: str) -> str:
    blocks = ", ".join(f"'{name}'" for name in plan.blocks[:5])
    more = f" and {len(plan.blocks) - 5} more" if len(plan.blocks) > 5 else ""  # noqa: PLR2004
    return (
        f"the slim network {how} differs from the dense one by {difference.max_error:.3g} where "
        f"rounding allows {difference.limit:.3g}, at input {_shape(inputs)}, without the blocks "
        f"{blocks}{more}; such a block may do more than add to its input, or its output may be "
        "written to in place: protect blocks to find the one at fault"
    )
