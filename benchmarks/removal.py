"""Whether a pruned network computes what the dense one computes without those channels."""

from __future__ import annotations

__all__ = [
    "Outcome",
    "Verdict",
    "check_removal",
    "judge",
    "kept_indices",
    "outputs",
    "reduces_channels",
    "without",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from prunekit.graph import own_randomness
from prunekit.graph.record import Recording

Verdict = Literal[
    "equal",  # right: computes what zeroing computes
    "runs",  # runs at both sizes with the right shape; equality does not apply
    "nothing removed",
    "differs",
    "wrong shape",
    "does not run",
]
Kept = dict[str, list[list[int]]]
"""Indices kept on every axis, by parameter."""

_ROUNDING = {torch.float64: 1e-11, torch.float32: 1e-4}
"""What rounding may make of a deep network, as a share of the largest output.

No more is allowed: a wrong coupling in an early layer can fade to a millionth on the way.
"""
_TELLING = 100
"""Zeroing has to change that many times more than rounding, or nothing is proven."""
_NORMALISES = frozenset(
    {"aten.native_layer_norm", "aten.native_group_norm", "aten._fused_rms_norm"}
)
_REDUCES = frozenset(
    {
        "aten._log_softmax",
        "aten._softmax",
        "aten.amax",
        "aten.amin",
        "aten.argmax",
        "aten.argmin",
        "aten.cumsum",
        "aten.linalg_vector_norm",
        "aten.logsumexp",
        "aten.max",
        "aten.mean",
        "aten.median",
        "aten.min",
        "aten.norm",
        "aten.prod",
        "aten.sort",
        "aten.std",
        "aten.std_mean",
        "aten.sum",
        "aten.topk",
        "aten.var",
        "aten.var_mean",
    }
)


@dataclass(frozen=True)
class Outcome:
    """What became of a network that was asked to lose half of its channels."""

    verdict: Verdict
    removed_share: float
    """Share of the parameters that left."""
    error: float | None = None
    """Largest difference to the zeroed dense network, as a share of what zeroing changed."""
    why: str = ""


def judge(
    dense: nn.Module,
    slim: nn.Module,
    inputs: Sequence[Any],
    larger: Sequence[Any] | None,
    *,
    equality: bool,
) -> Outcome:
    """Compare a slim network with the dense one it was made of, weaker where it has to be.

    Args:
        dense: the network before, with generic weights.
        slim: the network after.
        inputs: of the size it was analysed at.
        larger: of another size, if it takes one.
        equality: whether zeroing removed channels has the meaning of removing them.
    """
    before, after = count(dense), count(slim)
    share = 1 - after / before
    if after == before:
        return Outcome("nothing removed", 0.0)
    kept = kept_of_all(dense, slim) if equality else ""  # first: running may change a cached weight
    for given in (inputs, larger):
        if given is None:
            continue
        try:
            shapes = [tuple(x.shape) for x in outputs(slim, given)]
        except Exception as error:  # noqa: BLE001 - a broken network can fail in any way
            line = next(iter(str(error).strip().splitlines()), "")[:200]
            return Outcome("does not run", share, why=f"{type(error).__name__}: {line}")
        if shapes != (wanted := [tuple(x.shape) for x in outputs(dense, given)]):
            return Outcome("wrong shape", share, why=f"{shapes[0]}, not {wanted[0]}")
    if isinstance(kept, str):
        return Outcome("runs", share, why=kept)
    return check_removal(dense, slim, inputs, kept)


def kept_of_all(dense: nn.Module, slim: nn.Module) -> Kept | str:
    """What was kept of every parameter; a sentence where that cannot be told."""
    slim_parameters = dict(slim.named_parameters())
    kept: Kept = {}
    for name, parameter in dense.named_parameters():
        if name not in slim_parameters:
            return f"parameter {name} has another name"
        found = kept_indices(parameter, slim_parameters[name])
        if found is None:
            return f"{name} is no slice of the dense one"
        kept[name] = found
    return kept


def check_removal(dense: nn.Module, slim: nn.Module, inputs: Sequence[Any], kept: Kept) -> Outcome:
    """Whether the slim network equals the dense one with what it lost set to zero."""
    share = 1 - count(slim) / count(dense)
    before = outputs(dense, inputs)
    undo = without(dense, kept)
    try:
        expected, actual = outputs(dense, inputs), outputs(slim, inputs)
    finally:
        undo()
    if not all(x.isfinite().all() for x in expected):  # such as a direction of length zero
        return Outcome("runs", share, why="the dense network divides by what was set to zero")
    change = max(largest_difference(a, b) for a, b in zip(before, expected, strict=True))
    largest = max(x.abs().max().item() for x in expected if x.numel())
    limit = largest * _ROUNDING[expected[0].dtype]
    if change < _TELLING * limit:
        return Outcome("runs", share, why="zeroing changes hardly more than rounding may")
    error = max(largest_difference(a, b) for a, b in zip(expected, actual, strict=True))
    return Outcome("equal" if error <= limit else "differs", share, error / change)


def kept_indices(dense: Tensor, slim: Tensor) -> list[list[int]] | None:
    """Indices of the dense tensor that the slim one consists of, by axis; None if it does not.

    No value may occur twice in the dense tensor. The first element tells one index of each axis,
    and the lines through it the others.
    """
    if dense.ndim != slim.ndim or not slim.numel():
        return None
    if dense.shape == slim.shape and torch.equal(dense, slim):
        return [list(range(size)) for size in dense.shape]
    corner = (dense == slim[(0,) * slim.ndim]).nonzero()
    if len(corner) != 1:
        return None
    place: list[int] = corner[0].tolist()
    result = []
    for axis in range(dense.ndim):
        through: list[Any] = [*place]
        through[axis] = slice(None)
        line = dense[tuple(through)].tolist()
        where = {value: index for index, value in enumerate(line)}
        through = [0] * slim.ndim
        through[axis] = slice(None)
        wanted = slim[tuple(through)].tolist()
        if any(value not in where for value in wanted):
            return None
        result.append([where[value] for value in wanted])
    part = dense
    for axis, indices in enumerate(result):
        part = part.index_select(axis, torch.tensor(indices))
    return result if torch.equal(part, slim) else None


def without(model: nn.Module, kept: Kept) -> Callable[[], None]:
    """Set to zero, in place, what is not kept on some axis; returns how to undo it."""
    before: dict[str, Tensor] = {}
    parameters = dict(model.named_parameters())
    for name, axes in kept.items():
        parameter = parameters[name]
        gone = [
            (axis, sorted(set(range(parameter.shape[axis])) - set(indices)))
            for axis, indices in enumerate(axes)
            if len(indices) < parameter.shape[axis]
        ]
        if gone:
            before[name] = parameter.detach().clone()
        for axis, indices in gone:
            parameter.data.index_fill_(axis, torch.tensor(indices), 0)

    def undo() -> None:
        for name, value in before.items():
            parameters[name].data.copy_(value)

    return undo


def largest_difference(expected: Tensor, actual: Tensor) -> float:
    """Largest difference; infinite where shapes differ or a value is not finite."""
    if expected.shape != actual.shape or not actual.isfinite().all():
        return float("inf")
    return (expected - actual).abs().max().item() if expected.numel() else 0.0


def outputs(model: nn.Module, inputs: Sequence[Any]) -> list[Tensor]:
    """All tensors that it returns; what it draws at random is always the same."""
    private = [x.clone() if isinstance(x, Tensor) else x for x in inputs]
    with torch.no_grad(), own_randomness(model):
        result = model(*private)
    return [x for x in tree_flatten(result)[0] if isinstance(x, Tensor)]


def count(model: nn.Module) -> int:
    """Parameters, shared ones once."""
    return sum(parameter.numel() for parameter in model.parameters())


def reduces_channels(recording: Recording) -> str | None:
    """An operator that makes one number of several channels, as normalisation does, if any does.

    Removing channels changes such a number and zeroing them changes it otherwise. Sums over the
    last two axes of images, and what happens to weights alone, do no such thing.
    """
    made_of_weights = {value.index for value in recording.state.values()}
    for operator in recording.operators:
        if all(value.index in made_of_weights for value in operator.operands):
            made_of_weights |= {value.index for value in operator.outputs}
        elif operator.name in _NORMALISES or (
            operator.name in _REDUCES and not _over_space(operator, recording)
        ):
            return operator.name
    return None


def _over_space(operator: Any, recording: Recording) -> bool:
    """Whether only the last two axes of an image are reduced."""
    dimensions = len(recording.shapes[operator.operands[0].index])
    named = {a.name: x for a, x in zip(operator.function._schema.arguments, operator.arguments)}  # noqa: B905, SLF001
    dims: Any = named.get("dim")
    dims = [dims] if isinstance(dims, int) else dims
    return bool(dims) and dimensions >= 4 and all(d % dimensions >= dimensions - 2 for d in dims)
