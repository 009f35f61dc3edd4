"""Networks and inputs of which no recording can be made."""

from __future__ import annotations

__all__ = ["refuse", "watch"]

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.nn.parameter import is_lazy

from prunekit.errors import TraceError

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")
"""Where torch keeps the layers that it puts in the place of floating-point ones."""

_FLOATING = ("FloatFunctional", "FXFloatFunctional")
"""What a network that is to be quantised later adds and concatenates with, in floats still."""


def refuse(model: nn.Module, inputs: Iterable[Tensor]) -> None:
    """Raise `TraceError` for what would fail in torch in ways that are hard to read."""
    inputs = tuple(inputs)
    name = type(model).__name__
    for shape in (tuple(tensor.shape) for tensor in inputs if not tensor.numel()):
        message = f"an input of shape {shape} holds no values; give at least one of each axis"
        raise TraceError(message)
    state = [*model.named_parameters(), *model.named_buffers()]
    for path in (path for path, tensor in state if is_lazy(tensor)):
        message = (
            f"{name} has layers whose sizes are not known yet, such as {path}; "
            "run it once on an input, which gives them their sizes"
        )
        raise TraceError(message)
    packed = (n for n, m in model.named_modules() if _is_packed(m))
    for path in (*packed, *(path for path, tensor in state if tensor.is_quantized)):
        message = (
            f"{name} is quantised ({path or 'it'} holds packed integers); "
            "prune the floating-point network, and quantise the slim one"
        )
        raise TraceError(message)
    for path in _held(model):
        message = (
            f"{name} has a hook on '{path or 'itself'}' that holds a module of the network, which "
            "no copy can follow; take the hook off, and put it on the slim network again"
        )
        raise TraceError(message)
    devices = {tensor.device.type for _, tensor in state}
    if devices and "meta" not in devices and any(tensor.is_meta for tensor in inputs):
        message = (
            f"{name} is on {', '.join(sorted(devices))} and an input is on the meta device, where "
            "there are no values; give inputs that the model could be called with"
        )
        raise TraceError(message)


def _is_packed(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__.startswith(_QUANTISED) and kind.__name__ not in _FLOATING


@contextmanager
def watch(model: nn.Module) -> Iterator[None]:
    """Raise `TraceError` as soon as a module of the caller's own network runs.

    A copy of a network is run; a function that holds a module of the network runs that one still.
    """
    own = {id(module): path for path, module in model.named_modules()}

    def check(module: nn.Module, _: Any) -> None:
        if id(module) in own:
            message = (
                f"{type(model).__name__} runs its module '{own[id(module)]}' through a function "
                "that holds it (a closure, a lambda or a patched forward), which no copy of the "
                "network can follow; call the module by its name on self"
            )
            raise TraceError(message)

    handle = register_module_forward_pre_hook(check)
    try:
        with warnings.catch_warnings():  # compiled modules speak of hooks like this one
            warnings.filterwarnings("ignore", message="Using `torch.compile")
            yield
    finally:
        handle.remove()


def _held(model: nn.Module) -> Iterator[str]:
    """Modules with a hook that holds a module of the network."""
    own = {id(module) for module in model.modules()}
    for path, module in model.named_modules():
        for hook in (*module._forward_hooks.values(), *module._forward_pre_hooks.values()):
            for cell in getattr(hook, "__closure__", None) or ():
                if id(cell.cell_contents) in own:
                    yield path
