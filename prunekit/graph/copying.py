"""Private copies of a model that share its structure but hold other tensors."""

from __future__ import annotations

__all__ = ["clone_model", "copy_with", "fake_copy", "like", "tensors_of"]

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from prunekit.errors import TraceError

Model = TypeVar("Model", bound=nn.Module)


def copy_with(model: Model, replacements: Mapping[int, Tensor]) -> Model:
    """Deep-copy a model, taking `replacements[id(tensor)]` for each tensor that it names.

    No replaced tensor is copied, tied tensors stay tied, hooks and attributes come along, and
    the model itself is untouched. Raises `TraceError` if an attribute cannot be copied.
    """
    memo: dict[int, Any] = dict(replacements)
    try:
        return copy.deepcopy(model, memo)
    except Exception as error:  # attributes of any kind can refuse in any way
        message = (
            f"{type(model).__name__} cannot be copied ({error}); "
            "store what its attributes hold as parameters, buffers or plain values"
        )
        raise TraceError(message) from error


def fake_copy(model: Model, mode: FakeTensorMode) -> Model:
    """Copy a model onto tensors that have shapes but no data."""
    fakes = {id(tensor): mode.from_tensor(_cut_off(tensor)) for tensor in tensors_of(model)}
    return copy_with(model, fakes)


def clone_model(model: Model) -> Model:
    """Copy a model with its weights, also where an attribute holds a computed tensor."""
    return copy_with(model, {id(t): like(t, t.detach().clone()) for t in tensors_of(model)})


def like(original: Tensor, value: Tensor) -> Tensor:
    """Make a value a parameter if the original is one, and let it be trained if that is."""
    if isinstance(original, nn.Parameter):
        return nn.Parameter(value, requires_grad=original.requires_grad)
    return value.requires_grad_(original.requires_grad and original.is_leaf)


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """Every tensor that a model holds: parameters, buffers and plain attributes."""
    seen: set[int] = set()
    for module in model.modules():
        for value in (module._parameters, module._buffers, vars(module)):
            for tensor in _tensors_in(value):
                if id(tensor) not in seen:
                    seen.add(id(tensor))
                    yield tensor


def _cut_off(tensor: Tensor) -> Tensor:
    """Leave behind what a tensor was computed from, such as the parts of a normalised weight."""
    return tensor if tensor.is_leaf else tensor.detach()


def _tensors_in(value: object) -> Iterator[Tensor]:
    """Tensors in plain containers; what nested modules hold is theirs to tell."""
    match value:
        case Tensor():
            yield value
        case dict():
            for item in value.values():
                yield from _tensors_in(item)
        case list() | tuple():
            for item in value:
                yield from _tensors_in(item)
