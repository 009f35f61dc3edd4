"""Parameters and multiply-accumulates of a network, counted without computing anything."""

from __future__ import annotations

__all__ = ["Cost", "count_macs", "count_params", "measure_cost", "measure_cost_of"]

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.flop_counter import FlopCounterMode

from prunekit.errors import MeasureError
from prunekit.graph import Inputs, clone_model, fake_copy, quiet_fakes, uncached
from prunekit.graph.record import call, plain
from prunekit.measure.feed import Feed
from prunekit.measure.mode import placement


@dataclass(frozen=True)
class Cost:
    """What a network costs, with the size it was counted at.

    A multiply-accumulate of a convolution, linear layer or matrix product (attention included)
    counts one, wherever its weights come from. Biases, activations, normalisation and resizing
    are left out.
    """

    params: int
    """Buffers left out, shared ones counted once."""
    macs: int
    """Of one image, or of one of the frames that come out; flops are twice as many."""
    input_size: tuple[int, int] | None
    """Width and height of LR; None where the network was counted on other inputs than images."""
    output_size: tuple[int, int] | None
    """Width and height asked for; LR is that divided by scale, cut off."""
    feed: Feed | None = None
    """What a network of video is given at once; None for images."""
    shapes: tuple[tuple[int, ...], ...] = ()
    """Of the inputs, where these are neither an image nor a clip."""


def count_params(model: nn.Module) -> int:
    """Count the numbers in a network's parameters, shared ones once, buffers not at all."""
    return sum(parameter.numel() for parameter in model.parameters())


def measure_cost(
    model: nn.Module,
    *,
    scale: int,
    output_size: tuple[int, int] = (1280, 720),
    feed: Feed | None = None,
    with_values: bool = False,
    at_most: int | None = None,
) -> Cost:
    """Count the cost of one RGB image at an output size (width, height), as papers state it.

    Of a network of video that of one frame that comes out, when it is given a clip of
    `feed.frames` frames, `(1, frames, 3, H, W)`. `with_values` runs a real copy of the network,
    for those whose course depends on values; `at_most` is how many operators are waited for.
    """
    width, height = (side // scale for side in output_size)
    _, dtype = placement(model)
    frames = () if feed is None or feed.frames is None else (feed.frames,)
    image = torch.empty((1, *frames, 3, height, width), dtype=dtype, device="meta")
    macs = count_macs(model, (image,), with_values=with_values, at_most=at_most)
    returned = frames[0] if frames and feed and feed.target == "all" else 1
    return Cost(count_params(model), macs // returned, (width, height), output_size, feed)


def measure_cost_of(model: nn.Module, inputs: Inputs, *, with_values: bool = False) -> Cost:
    """Count the cost of a network on inputs that are neither an image nor a clip."""
    tensors = [leaf for leaf in tree_leaves(plain(inputs)) if isinstance(leaf, Tensor)]
    macs = count_macs(model, inputs, with_values=with_values)
    shapes = tuple(tuple(tensor.shape) for tensor in tensors)
    return Cost(count_params(model), macs, None, None, shapes=shapes)


def count_macs(
    model: nn.Module,
    inputs: Inputs,
    *,
    with_values: bool = False,
    at_most: int | None = None,
) -> int:
    """Count multiply-accumulates in evaluation mode; only the shapes of the inputs matter.

    `inputs` is a tensor, positional or keyword arguments, as `prunekit.trace` takes them.
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
            own = uncached(model, scripted=True)
            for context in (own, fake or nullcontext(), _plain_attention(), quiet_fakes()):
                around.enter_context(context)
            around.enter_context(torch.no_grad())
            counter = around.enter_context(FlopCounterMode(display=False))
            if at_most is not None:
                around.enter_context(_Patience(at_most))
            call(hollow, tree_map(partial(_grey, device=device), plain(inputs)))
    except Exception as error:  # the network's own code can fail in any way
        leaves = tree_leaves(plain(inputs))
        shapes = ", ".join(str(tuple(leaf.shape)) for leaf in leaves if isinstance(leaf, Tensor))
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


def _grey(value: object, device: torch.device) -> object:
    """An image that is grey all over, in the place of any; whole numbers stay what they are."""
    if not isinstance(value, Tensor):
        return value
    if not value.is_floating_point():
        return value.to(device)
    return torch.full_like(value, 0.5, device=device)


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
