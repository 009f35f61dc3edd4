"""Compute a network in double precision throughout, whatever its code casts to."""

from __future__ import annotations

__all__ = ["doubled", "is_double"]

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

_WIDER = {
    torch.float16: torch.float64,
    torch.bfloat16: torch.float64,
    torch.float32: torch.float64,
    torch.complex32: torch.complex128,
    torch.complex64: torch.complex128,
}


def is_double(model: nn.Module) -> bool:
    """Whether every floating-point parameter is of type float64."""
    return all(p.dtype == torch.float64 for p in model.parameters() if p.is_floating_point())


@contextmanager
def doubled() -> Iterator[None]:
    """Keep tensors in float64 where code asks for less, as in `x.float()` or `torch.ones(1)`.

    A cast to float32 in the middle rounds at 6e-8, which the rest of a deep network may amplify to
    any size: nothing that is computed behind it can be told from a mistake.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _Wider():  # type: ignore[no-untyped-call]
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
