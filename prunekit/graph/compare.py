"""Run edited private copies of a model and compare what they compute."""

from __future__ import annotations

__all__ = [
    "GAINS",
    "Difference",
    "Edit",
    "compare",
    "converted",
    "converted_copy",
    "edited_copy",
    "generic",
    "generic_inputs",
    "rounded_once",
    "run",
    "runs",
    "unchanged",
]

import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.graph.caches import uncached
from prunekit.graph.copying import copy_with, like, tensors_of
from prunekit.graph.precision import doubled, is_double
from prunekit.graph.randomness import own_randomness
from prunekit.graph.record import Inputs, call, plain, tensors_in

_TOLERANCES = {
    torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float32: (1.3e-6, 1e-5),
    torch.float64: (1e-7, 1e-7),
    torch.complex64: (1.3e-6, 1e-5),
    torch.complex128: (1e-7, 1e-7),
}
"""Relative and absolute tolerance, those of `torch.testing.assert_close`."""

_ROUNDING = 1e-15
"""Relative change that stands for rounding in float64, nine times its unit roundoff."""

GAINS = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Of generic weights, to be tried in turn while the network amplifies rounding."""

Edit = Callable[[str, Tensor], Tensor]
"""A new tensor from the name and value of a parameter or buffer."""


@dataclass(frozen=True)
class Difference:
    """How far two results are apart."""

    max_error: float
    """Largest absolute difference; infinite where shapes differ or a value is not finite."""
    limit: float
    """What rounding alone may make of it at that place."""
    dtype: str

    @property
    def passed(self) -> bool:
        """Whether the results are equal but for rounding."""
        return self.max_error <= self.limit

    @property
    def severity(self) -> float:
        """The error as a multiple of its limit; whole numbers have a limit of 0."""
        if self.limit == 0:
            return float("inf") if self.max_error > 0 else 0.0
        return self.max_error / self.limit


def edited_copy(model: nn.Module, edit: Edit, dtype: torch.dtype | None = None) -> nn.Module:
    """Copy a model in evaluation mode, each parameter and buffer passed through `edit`.

    With `dtype`, floating-point tensors are converted first. The model is untouched.
    """
    return converted_copy(model, edit, dtype).eval()


def converted_copy(model: nn.Module, edit: Edit, dtype: torch.dtype | None = None) -> nn.Module:
    """Do what `edited_copy` does, in the mode of the model: some merge weights in `eval`."""
    names = {id(t): name for name, t in (*model.named_buffers(), *model.named_parameters())}
    replacements = {}
    for tensor in tensors_of(model):
        value = tensor.detach()
        value = value.to(dtype) if dtype and value.is_floating_point() else value
        if id(tensor) in names:
            value = edit(names[id(tensor)], value)
        value = value.clone() if value.data_ptr() == tensor.data_ptr() else value
        replacements[id(tensor)] = like(tensor, value)
    return copy_with(model, replacements)


def run(
    model: nn.Module,
    inputs: Inputs,
    dtype: torch.dtype | None = None,
    *,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> list[Tensor]:
    """All tensors that a model returns; random numbers in it are drawn from a fixed seed.

    A model in float64 computes in it throughout, if its code runs so. Every attempt is made
    `within` a context of its own.
    """
    if dtype == torch.float64 or (dtype is None and is_double(model)):
        for unseen in (False, True):
            with suppress(Exception), doubled(unseen=unseen):  # of the model's own code
                return _run(model, inputs, dtype, within)
    return _run(model, inputs, dtype, within)


def _run(
    model: nn.Module,
    inputs: Inputs,
    dtype: torch.dtype | None,
    within: Callable[[], AbstractContextManager[object]],
) -> list[Tensor]:
    private = tree_map(lambda x: converted(x, dtype), plain(inputs))
    with (
        torch.no_grad(),
        own_randomness(model),
        uncached(model, scripted=True),
        within(),
    ):
        result = call(model, private)
    return tensors_in(result)


def runs(model: nn.Module, inputs: Inputs, dtype: torch.dtype | None = None) -> bool:
    """Whether a model takes inputs of this size and type at all."""
    try:
        run(edited_copy(model, lambda _, tensor: tensor, dtype), inputs, dtype)
    except Exception:  # noqa: BLE001 - the model's own code can fail in any way
        return False
    return True


def generic(model: nn.Module, gain: float = 1.0) -> Edit:
    """An edit that gives every parameter generic values, always the same ones.

    What a network computes with its own weights may hide a mistake: a gate that is still zero, a
    body that adds next to nothing. Matrices and kernels keep the variance of their input times
    `gain` squared, vectors are around a half. Buffers stay.
    """
    parameters = {name for name, _ in model.named_parameters()}

    def values(name: str, tensor: Tensor) -> Tensor:
        if name not in parameters or not tensor.is_floating_point():
            return tensor
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        if tensor.ndim < 2:  # noqa: PLR2004 (a vector scales or shifts)
            fresh = 0.25 + 0.5 * torch.rand(tensor.shape, generator=generator, dtype=torch.float64)
        else:
            fan_in = max(1, tensor[0].numel())
            fresh = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
            fresh *= gain / fan_in**0.5
        return fresh.to(tensor)

    return values


def unchanged(_: str, tensor: Tensor) -> Tensor:
    """The edit that leaves everything as it is."""
    return tensor


def rounded_once(_: str, tensor: Tensor) -> Tensor:
    """An edit that moves every value by a few of the last bits of float64."""
    if tensor.dtype != torch.float64:
        return tensor
    generator = torch.Generator().manual_seed(tensor.numel())
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
    return tensor * (1 + _ROUNDING * noise.to(tensor.device))


def generic_inputs(inputs: Inputs) -> Inputs:
    """Noise from 0 to 1 for every image; other tensors as they are."""
    generator = torch.Generator().manual_seed(0)

    def noise(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point() or value.ndim < 3:  # noqa: PLR2004 (C, H, W)
            return value
        return torch.rand(value.shape, generator=generator, dtype=torch.float64).to(value)

    drawn: Inputs = tree_map(noise, plain(inputs))
    return drawn


def compare(expected: Sequence[Tensor], actual: Sequence[Tensor]) -> Difference:
    """Find the place that differs most for its tolerance; what is not finite differs from all."""
    worst = Difference(0.0, 0.0, "")
    excess = -1.0
    if len(expected) != len(actual):
        return Difference(float("inf"), 0.0, "")
    for wanted, got in zip(expected, actual, strict=True):
        relative, absolute = _TOLERANCES.get(wanted.dtype, (0.0, 0.0))
        dtype = str(wanted.dtype).removeprefix("torch.")
        finite = wanted.isfinite().all() and got.isfinite().all()
        if wanted.shape != got.shape or not finite:
            return Difference(float("inf"), absolute, dtype)
        exact = torch.complex128 if wanted.is_complex() else torch.float64
        error = (wanted.to(exact) - got.to(exact)).abs()
        limit = absolute + relative * wanted.to(exact).abs()
        ratio = torch.where(error > 0, error / limit, 0.0).flatten()
        if len(ratio) and (largest := ratio.max().item()) > excess:
            excess = largest
            place = int(ratio.argmax())
            worst = Difference(float(error.flatten()[place]), float(limit.flatten()[place]), dtype)
    return worst


def converted(value: Any, dtype: torch.dtype | None) -> Any:
    """A copy of an input in another type, if it is a tensor: a model may write into it."""
    if not isinstance(value, Tensor):
        return value
    return value.to(dtype if dtype and value.is_floating_point() else value.dtype, copy=True)
