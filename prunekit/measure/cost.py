"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

__all__ = ["Cost", "count_macs", "count_params", "measure_cost"]

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from prunekit.errors import MeasureError
from prunekit.graph import clone_model, fake_copy, quiet_fakes
from prunekit.measure.mode import placement


@dataclass(frozen=True)
class Cost:
    """What a network costs, with the size it was counted at.

    A multiply-accumulate of a convolution, linear layer or matrix product (attention included)
    counts one, wherever its weights come from. Biases, activations, normalisation and resizing
    are left out.
    """

    params: int  # buffers left out, shared ones counted once
    macs: int  # flops are twice as many
    input_size: tuple[int, int]  # width, height of LR
    output_size: tuple[int, int]  # width, height asked for; LR is that divided by scale, cut off


def count_params(model: nn.Module) -> int:
    """Count the numbers in a network's parameters, shared ones once, buffers not at all."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_cost(
    model: nn.Module,
    *,
    scale: int,
    output_size: tuple[int, int] = (1280, 720),
    with_values: bool = False,
    at_most: int | None = None,
) -> Cost:
    """Count the cost of one RGB image at an output size (width, height), as papers state it.

    `with_values` runs a real copy of the network, for those whose course depends on values;
    `at_most` is how many operators are waited for.
    """
    width, height = (side // scale for side in output_size)
    _, dtype = placement(model)
    image = torch.empty((1, 3, height, width), dtype=dtype, device="meta")
    macs = count_macs(model, (image,), with_values=with_values, at_most=at_most)
    return Cost(count_params(model), macs, (width, height), output_size)


def count_macs(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    with_values: bool = False,
    at_most: int | None = None,
) -> int:
    """Count multiply-accumulates in evaluation mode; only the shapes of the inputs matter.

    The network is not run and not touched: a copy of its structure without weights is, or with
    them where values are asked for (`with_values`; its input is grey then). Raises `MeasureError`
    if its course depends on values otherwise, or is longer than `at_most` operators.
    """
    device, _ = placement(model)
    fake = None if with_values else FakeTensorMode(allow_non_fake_inputs=True)
    try:
        copied = fake_copy(model, fake) if fake else clone_model(model)
        hollow = copied.eval().requires_grad_(requires_grad=False)
        with ExitStack() as around:
            for context in (fake, torch.no_grad(), _plain_attention(), quiet_fakes()):
                if context is not None:
                    around.enter_context(context)
            counter = around.enter_context(FlopCounterMode(display=False))
            if at_most is not None:
                around.enter_context(_Patience(at_most))
            hollow(*(torch.full_like(tensor, 0.5, device=device) for tensor in inputs))
    except Exception as error:  # the network's own code can fail in any way
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in inputs)
        if isinstance(error, _TooLongError):
            message = f"macs at input {shapes} are not counted, as the network runs {error} on it"
            raise MeasureError(message) from None
        message = (
            f"macs at input {shapes} cannot be counted, as the network fails on tensors that have "
            f"a shape and no values ({type(error).__name__}: {_first_line(error)}); run it on a "
            "real input of that shape to see whether it takes it"
        )
        raise MeasureError(message) from error
    return int(counter.get_total_flops()) // 2


class _TooLongError(Exception):
    """The network loops over what an image of this size has very many of."""


class _Patience(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Gives up after a number of operators: a loop over pixels takes hours on a large image."""

    def __init__(self, limit: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._limit = limit
        self._seen = 0

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        self._seen += 1
        if self._seen > self._limit:
            message = f"more than {self._limit:,} operators"
            raise _TooLongError(message)
        return func(*args, **(kwargs or {}))


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Have attention done by matrix products, as its fused kernels are not counted on a CPU."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "no reason given")
