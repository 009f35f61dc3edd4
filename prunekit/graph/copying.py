"""Private copies of a model that share its structure but hold other tensors."""

from __future__ import annotations

__all__ = ["clone_model", "copy_with", "fake_copy", "like", "tensors_of", "unwrap"]

import copy
import types
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from prunekit.errors import TraceError

Model = TypeVar("Model", bound=nn.Module)

_ATOMS = frozenset({
    type(None), bool, int, float, str, bytes, type, torch.dtype, torch.device,
    types.FunctionType, types.BuiltinFunctionType, types.ModuleType,
})  # fmt: skip
"""What a deep copy shares with its original, or what holds nothing."""


def copy_with(model: Model, replacements: Mapping[int, Tensor]) -> Model:
    """Deep-copy a model, taking `replacements[id(tensor)]` for each tensor that it names.

    No replaced tensor is copied, tied tensors stay tied, hooks and attributes come along, and
    the model itself is untouched. Raises `TraceError` if an attribute cannot be copied.
    """
    memo: dict[int, Any] = dict(replacements)
    try:
        copied = copy.deepcopy(model, memo)
    except Exception as error:  # attributes of any kind can refuse in any way
        message = (
            f"{type(model).__name__} cannot be copied ({error}); "
            "store what its attributes hold as parameters, buffers or plain values"
        )
        raise TraceError(message) from error
    own = {id(module): name for name, module in model.named_modules()}
    if shared := next((own[id(m)] for m in copied.modules() if id(m) in own), None):
        message = (
            f"a copy of {type(model).__name__} shares its module '{shared}', so it cannot be "
            "worked on; let `__deepcopy__` copy it"
        )
        raise TraceError(message)
    return copied


def fake_copy(model: Model, mode: FakeTensorMode) -> Model:
    """Copy a model onto tensors that have shapes but no data."""
    fakes = {id(tensor): _fake(tensor, mode) for tensor in tensors_of(model)}
    return copy_with(model, fakes)


def clone_model(model: Model) -> Model:
    """Copy a model with its weights, also where an attribute holds a computed tensor."""
    return copy_with(model, {id(t): like(t, t.detach().clone()) for t in tensors_of(model)})


def unwrap(model: nn.Module) -> nn.Module:
    """The module that wrappers for several devices or for compilation run."""
    while True:
        match model:
            case nn.DataParallel() | nn.parallel.DistributedDataParallel():
                model = model.module
            case nn.Module(_orig_mod=nn.Module() as compiled):  # what torch.compile makes
                model = compiled
            case _:
                return model


def like(original: Tensor, value: Tensor) -> Tensor:
    """Make a value a parameter if the original is one, and let it be trained if that is."""
    if isinstance(original, nn.Parameter):
        return nn.Parameter(value, requires_grad=original.requires_grad)
    return value.requires_grad_(original.requires_grad and original.is_leaf)


def tensors_of(model: nn.Module) -> Iterator[Tensor]:
    """Every tensor that a model holds: parameters, buffers and whatever its attributes lead to."""
    found: dict[int, Tensor] = {}
    _collect(model, found, set())
    return iter(found.values())


def _fake(tensor: Tensor, mode: FakeTensorMode) -> Tensor:
    """A tensor like this one without values, and without what it was computed from."""
    plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout == torch.strided
    if not plain or tensor.is_quantized or tensor.is_neg() or tensor.is_conj():
        return mode.from_tensor(tensor if tensor.is_leaf else tensor.detach())
    shape, strides = tensor.shape, tensor.stride()  # four times as fast as `from_tensor`
    empty = torch.empty_strided(shape, strides, dtype=tensor.dtype, device="meta")
    fake = FakeTensor(mode, empty, tensor.device)
    fake._is_param = isinstance(tensor, nn.Parameter)  # what `nn.Parameter(fake)` sets
    return fake.requires_grad_(tensor.requires_grad and tensor.is_leaf)


def _collect(value: object, found: dict[int, Tensor], seen: set[int]) -> None:
    """Go where a deep copy goes: into containers, objects and the owners of bound methods."""
    if type(value) in _ATOMS or id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, Tensor):
        found[id(value)] = value
        return
    for item in _parts(value):
        if type(item) not in _ATOMS:
            _collect(item, found, seen)


def _parts(value: object) -> list[object]:
    if isinstance(value, nn.Module):
        return list(vars(value).values())
    parts: list[object] = []
    if isinstance(value, dict):
        parts += value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        parts += value
    elif isinstance(value, types.MethodType):
        parts.append(value.__self__)
    if not isinstance(value, type):
        parts += getattr(value, "__dict__", {}).values()
    return parts
