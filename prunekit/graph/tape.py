"""Write down every ATen operator that reaches the dispatcher, as plain data."""

from __future__ import annotations

__all__ = ["Operator", "Tape", "Value", "called"]

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_functorch_wrapped_tensor
from torch._ops import OpOverload
from torch._subclasses.fake_tensor import FakeTensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from prunekit.graph.given import Given
from prunekit.graph.integers import Literal


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the recording, by number."""

    index: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One ATen call."""

    function: OpOverload
    """What was called."""
    arguments: tuple[Any, ...]
    """Its arguments by position, in full, each tensor replaced by its `Value`.

    An integer is a `Size` where the expression that it follows from is known, a `Literal` where
    the caller of torch gave it as a plain integer, and an `int` where torch made it.
    """
    outputs: tuple[Value, ...]
    """The tensors that it returned; an in-place operator returns its operand."""
    module: str
    """Dotted path of the innermost module whose forward called it ("" is the model)."""
    scaled_by_width: bool = False
    """It is part of an attention whose scale torch takes from the width of the heads."""

    @property
    def name(self) -> str:
        """Name without overload, such as `aten.convolution`."""
        return str(self.function.overloadpacket)

    @property
    def operands(self) -> tuple[Value, ...]:
        """Every tensor among its arguments."""
        return tuple(x for x in tree_leaves(self.arguments) if isinstance(x, Value))


def called(func: OpOverload, arguments: Sequence[Any]) -> Any:
    """Call an operator with its arguments in the order of the schema."""
    positional, named = [], {}
    for argument, value in zip(func._schema.arguments, arguments, strict=True):
        if argument.kwarg_only:
            named[argument.name] = value
        else:
            positional.append(value)
    return func(*positional, **named)


_BOOKKEEPING = ("prim", "profiler")
"""Namespaces of operators that compute nothing, such as `prim.device`."""

_FORGET_EVERY = 64
"""How many values come between two looks for freed memory, which take as long as there is of it."""


class Tape(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Numbers tensors and keeps the calls, but no tensor alive."""

    def __init__(self, module: Callable[[], str]) -> None:
        """Ask `module` for the path of the module that is running."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.operators: list[Operator] = []
        self.shapes: list[tuple[int, ...]] = []
        self.state: dict[str, Value] = {}
        """Parameters and buffers, by name."""
        self.inputs: tuple[Value, ...] = ()
        self.given: Given | None = None
        """The Python-level call that is running."""
        self.failed = ""
        """Name of the last operator, if it raised."""
        self._numbers: dict[int, tuple[weakref.ref[Tensor], Value]] = {}
        self._holders = _Holders()
        self._module = module
        self._schemas: dict[OpOverload, _Schema] = {}

    def value(self, tensor: Tensor) -> Value:
        """Return the number of a tensor, giving it the next one when it is new.

        An id is that of another tensor once the first is gone, so the tensor itself is compared.
        One that has changed its shape in place is another value. A new tensor with the memory of
        a known one, such as a parameter made of it, is written down as its alias.
        """
        value = self._known(tensor)
        if value is not None:
            return value
        source = self._holders.holder(tensor)
        value = self._new(tensor)
        if source is not None:
            self.add(torch.ops.aten.alias.default, (source,), (value,))
        return value

    def replace(self, tensor: Tensor, source: Tensor) -> None:
        """Write down an assignment to `tensor.data`, which reaches no dispatcher, as a copy."""
        if tensor is source:
            return
        before = self._numbers.get(id(tensor), (None, None))[1]
        value = self._known(tensor) or self._new(tensor)
        if before == value:
            arguments = (value, self.value(source), False)
            self.add(torch.ops.aten.copy_.default, arguments, (value,))
        else:  # it has another shape now
            self.add(torch.ops.aten.alias.default, (self.value(source),), (value,))

    def escape(self, tensor: Tensor) -> None:
        """Write down that values left for Python or numpy, where nothing is recorded.

        It is an `aten.item` of the whole tensor, so that all its axes stay as they are.
        """
        self.add(torch.ops.aten.item.default, (self.value(tensor),), ())

    def add(
        self, function: OpOverload, arguments: tuple[Any, ...], outputs: tuple[Value, ...]
    ) -> None:
        """Write down a call."""
        scaled = self.given is not None and self.given.is_scaled_by_width
        self.operators.append(Operator(function, arguments, outputs, self._module(), scaled))

    def _known(self, tensor: Tensor) -> Value | None:
        reference, value = self._numbers.get(id(tensor), (None, None))
        if value is None or reference is None or reference() is not tensor:
            return None
        return value if self.shapes[value.index] == tensor.shape else None

    def _new(self, tensor: Tensor) -> Value:
        value = Value(len(self.shapes))
        self.shapes.append(tuple(tensor.shape))
        self._numbers[id(tensor)] = (weakref.ref(tensor), value)
        self._holders.add(tensor, value)
        return value

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        with torch._C.DisableTorchFunction():  # what is asked here is no call of the network's
            return self._dispatched(func, args, kwargs or {})

    def _dispatched(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        if func.namespace in _BOOKKEEPING:
            return func(*args, **kwargs)
        schema = self._schema(func)
        if schema.composite:  # in inference mode they arrive whole
            with self:
                return func.decompose(*args, **kwargs)
        arguments = tuple([self._written(x) for x in schema.complete(args, kwargs)])
        try:
            result = self.run(func, args, kwargs)
        except Exception:
            self.failed = str(func.overloadpacket)
            raise
        self.failed = ""
        tensors = (result,) if isinstance(result, Tensor) else tree_leaves(result)
        outputs = [self._known(x) or self._new(x) for x in tensors if isinstance(x, Tensor)]
        self.add(func, arguments, tuple(outputs))
        return result

    def run(
        self,
        func: OpOverload,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call an operator."""
        return func(*args, **kwargs)

    def _written(self, argument: Any) -> Any:
        """Turn tensors into their values and integers into what is known of them."""
        if isinstance(argument, Tensor):
            return self.value(argument)
        if type(argument) is int:
            return Literal(argument) if self.given is None else self.given.integer(argument)
        if not isinstance(argument, list | tuple):
            return argument
        if self.given is not None and argument and all(type(x) is int for x in argument):
            return self.given.sequence(argument)
        return [self._written(x) for x in argument]

    def complete(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, ...]:
        """All arguments of a call in the order of the schema, defaults filled in."""
        return self._schema(func).complete(args, kwargs)

    def _schema(self, func: OpOverload) -> _Schema:
        schema = self._schemas.get(func)
        if schema is None:
            schema = self._schemas[func] = _Schema(func)
        return schema


class _Schema:
    """What is asked of every operator, and is slow to ask."""

    def __init__(self, func: OpOverload) -> None:
        self.composite = torch._C._dispatch_has_kernel_for_dispatch_key(
            func._schema.name + ("." + func._schema.overload_name).rstrip("."),
            "CompositeImplicitAutograd",
        )
        """Whether it arrives whole in inference mode only, and is made of others."""
        self._defaults = tuple((a.name, a.default_value) for a in func._schema.arguments)

    def complete(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, ...]:
        """All arguments in the order of the schema, defaults filled in."""
        return (*args, *[kwargs.get(name, value) for name, value in self._defaults[len(args) :]])


class _Holders:
    """Which value has which memory; for tensors with values only, since only they hide aliases."""

    def __init__(self) -> None:
        self._storages: dict[int, tuple[StorageWeakRef, dict[tuple[Any, ...], Value]]] = {}
        self._added = 0

    def add(self, tensor: Tensor, value: Value) -> None:
        """Remember the memory of a value, not keeping it from being freed."""
        if not _has_memory(tensor):
            return
        self._added += 1
        if self._added % _FORGET_EVERY == 0:
            self._forget_freed()
        storage = tensor.untyped_storage()
        if storage._cdata not in self._storages:  # the address stays taken while this is kept
            reference = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
            self._storages[storage._cdata] = (reference, {})
        self._storages[storage._cdata][1][_place(tensor)] = value

    def holder(self, tensor: Tensor) -> Value | None:
        """The value that has the same elements of the same memory."""
        if not _has_memory(tensor) or tensor.untyped_storage()._cdata not in self._storages:
            return None
        return self._storages[tensor.untyped_storage()._cdata][1].get(_place(tensor))

    def _forget_freed(self) -> None:
        """Let go soon: what a reference leaves in memory keeps the heap from closing up."""
        freed = [key for key, (reference, _) in self._storages.items() if reference.expired()]  # type: ignore[no-untyped-call]
        for key in freed:
            del self._storages[key]


def _has_memory(tensor: Tensor) -> bool:
    if isinstance(tensor, FakeTensor) or tensor.is_meta or is_functorch_wrapped_tensor(tensor):
        return False
    return tensor.layout == torch.strided and tensor.numel() > 0


def _place(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.storage_offset(), tuple(tensor.shape), tensor.stride(), tensor.dtype
