"""Record one forward pass as a stream of ATen operators: shapes flow, nothing is computed."""

from __future__ import annotations

__all__ = ["Inputs", "Operator", "Recording", "Value", "call", "plain", "record"]

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

from prunekit.errors import TraceError
from prunekit.graph.copying import fake_copy
from prunekit.graph.randomness import own_randomness

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


@dataclass(frozen=True)
class Value:
    """A tensor of the recording, by number."""

    index: int


@dataclass(frozen=True)
class Operator:
    """One ATen call."""

    function: OpOverload
    """What was called."""
    arguments: tuple[Any, ...]
    """Its arguments by position, in full, each tensor replaced by its `Value`."""
    outputs: tuple[Value, ...]
    """The tensors that it returned; an in-place operator returns its operand."""
    module: str
    """Dotted path of the innermost module whose forward called it ("" is the model)."""

    @property
    def name(self) -> str:
        """Name without overload, such as `aten.convolution`."""
        return str(self.function.overloadpacket)

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every tensor among its arguments."""
        return tuple(x for x in tree_flatten(self.arguments)[0] if isinstance(x, Value))


@dataclass(frozen=True)
class Recording:
    """A forward pass as plain data, in the order of execution."""

    operators: tuple[Operator, ...]
    shapes: tuple[tuple[int, ...], ...]
    """Shape of every value, by its number."""
    state: Mapping[str, Value]
    """Parameters and buffers by their first name in the state dict; tied ones appear once."""
    parameters: frozenset[str]
    """The names in `state` that are parameters."""
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]


def record(model: nn.Module, inputs: Inputs) -> Recording:
    """Run a private copy of the model in evaluation mode on fake tensors and write down the calls.

    Args:
        model: any module that runs eagerly; it is not changed and its weights are not copied.
        inputs: a tensor, a sequence of positional or a mapping of keyword arguments.

    Raises:
        TraceError: the forward pass fails (the message names the module where it did), or
            returns no tensor.
    """
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    private = fake_copy(model, mode).eval()
    fakes = tree_map(lambda x: mode.from_tensor(x) if isinstance(x, Tensor) else x, plain(inputs))
    where = _ModulePath(private)
    tape = _Tape(where)
    state = {name: tape.value(tensor) for name, tensor in _named_state(private)}
    given = tuple(tape.value(x) for x in tree_flatten(fakes)[0] if isinstance(x, Tensor))
    try:
        with torch.no_grad(), own_randomness(model), quiet_fakes(), mode, tape:
            result = call(private, fakes)
    except Exception as error:
        message = (
            f"{type(model).__name__} cannot be run on {_shapes(inputs)}: "
            f"{type(error).__name__} in {where.current or 'its forward'}: {_first_line(error)}"
        )
        raise TraceError(message) from error
    returned = tuple(tape.value(x) for x in tree_flatten(result)[0] if isinstance(x, Tensor))
    if not returned:
        message = (
            f"{type(model).__name__} returns {type(result).__name__} and no tensor in it, so "
            "nothing could be proven; let it return a tensor, or a tuple, list or dict of tensors"
        )
        raise TraceError(message)
    return Recording(
        operators=tuple(tape.operators),
        shapes=tuple(tuple(tensor.shape) for tensor in tape.tensors),
        state=state,
        parameters=frozenset(name for name, _ in private.named_parameters()),
        inputs=given,
        outputs=returned,
    )


def call(model: nn.Module, inputs: Inputs) -> Any:
    """Call a model with a tensor, positional or keyword arguments."""
    match inputs:
        case Tensor():
            return model(inputs)
        case Mapping():
            return model(**inputs)
        case _:
            return model(*inputs)


def plain(inputs: Inputs) -> Inputs:
    """Inputs whose tensors torch finds: it knows no mappings but `dict`."""
    return dict(inputs) if isinstance(inputs, Mapping) else inputs


@contextmanager
def quiet_fakes() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that is raised and dealt with."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


class _Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes down every operator that reaches the dispatcher."""

    def __init__(self, where: _ModulePath) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []
        self.tensors: list[Tensor] = []  # kept alive, so that an id names one tensor
        self._numbers: dict[int, Value] = {}
        self._where = where

    def value(self, tensor: Tensor) -> Value:
        """Return the number of a tensor, giving it the next one when it is new."""
        if id(tensor) not in self._numbers:
            self._numbers[id(tensor)] = Value(len(self.tensors))
            self.tensors.append(tensor)
        return self._numbers[id(tensor)]

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.namespace == "prim":  # bookkeeping such as prim.device
            return result
        arguments = _positional(func, args, kwargs or {})
        numbered = tree_map(lambda x: self.value(x) if isinstance(x, Tensor) else x, arguments)
        outputs = tuple(self.value(x) for x in tree_flatten(result)[0] if isinstance(x, Tensor))
        self.operators.append(Operator(func, numbered, outputs, self._where.current or ""))
        return result


class _ModulePath:
    """Knows which module's forward is running."""

    def __init__(self, model: nn.Module) -> None:
        self._stack: list[str] = []
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name), prepend=True)
            module.register_forward_hook(self._leave(name))

    @property
    def current(self) -> str | None:
        """Dotted path of the innermost running module; where an exception left it, too."""
        return self._stack[-1] if self._stack else None

    def _enter(self, name: str) -> Any:
        return lambda *_: self._stack.append(name)

    def _leave(self, name: str) -> Any:
        return lambda *_: self._drop(name)

    def _drop(self, name: str) -> None:
        """Take a module off, and those in it that an exception left which the model caught."""
        while self._stack.pop() != name:
            pass


def _named_state(model: nn.Module) -> list[tuple[str, Tensor]]:
    return [*model.named_parameters(), *model.named_buffers()]


def _positional(
    func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[Any, ...]:
    """All arguments in the order of the operator's schema, defaults filled in."""
    rest = func._schema.arguments[len(args) :]
    return (*args, *(kwargs.get(a.name, a.default_value) for a in rest))


def _shapes(inputs: Inputs) -> str:
    tensors = [x for x in tree_flatten(plain(inputs))[0] if isinstance(x, Tensor)]
    listed = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
    return f"inputs of shape {listed}" if listed else "inputs without a tensor"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
