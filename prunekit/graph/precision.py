"""Compute a network in double precision throughout, whatever its code casts to."""

from __future__ import annotations

__all__ = ["doubled", "is_double"]

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

_WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}
_NARROWER = {torch.float64: torch.float32, torch.complex128: torch.complex64}
_DTYPE = torch.Tensor.dtype.__get__  # type: ignore[attr-defined]


def is_double(model: nn.Module) -> bool:
    """Whether every floating-point parameter is of type float64."""
    return all(p.dtype == torch.float64 for p in model.parameters() if p.is_floating_point())


@contextmanager
def doubled(*, unseen: bool = False) -> Iterator[None]:
    """Keep tensors in float64 where code asks for less, as in `x.float()` or `torch.ones(1)`.

    A cast to float32 in the middle rounds at 6e-8, which the rest of a deep network may amplify to
    any size: nothing that is computed behind it can be told from a mistake. Code that insists on
    float32, as in `assert x.dtype == torch.float32`, runs where this is `unseen`: tensors in
    float64 then say that they are in float32.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Wider(), _Unseen() if unseen else nullcontext():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(before)


class _Wider(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Passes on every operator with the widest type for the one it is asked for."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if (dtype := kwargs.get("dtype")) in _WIDER:
            kwargs["dtype"] = _WIDER[dtype]
        return func(*args, **kwargs)


class _Unseen(TorchFunctionMode):
    """Lets tensors in double precision say that they are in single."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        return _NARROWER.get(result, result) if func == _DTYPE else result
