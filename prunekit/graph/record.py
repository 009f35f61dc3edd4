"""Record one forward pass as a stream of ATen operators: shapes flow, nothing is computed."""

from __future__ import annotations

__all__ = [
    "Inputs",
    "ModulePath",
    "Operator",
    "Recording",
    "Value",
    "call",
    "follow",
    "plain",
    "quiet_fakes",
    "record",
    "shapes_of",
    "tensors_in",
]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.utils._pytree import tree_leaves, tree_map

from prunekit.errors import TraceError
from prunekit.graph.attributes import trace_attributes
from prunekit.graph.calls import Calls
from prunekit.graph.copying import clone_model, fake_copy, tensors_of
from prunekit.graph.eager import eager, quiet_fakes
from prunekit.graph.integers import AxisSize, Expression, comparisons_to, divisions_to, values_noted
from prunekit.graph.precision import doubled
from prunekit.graph.refuse import refuse, watch
from prunekit.graph.tape import Operator, Tape, Value

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


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
    computed: tuple[Expression, ...] = ()
    """Sizes with which the code computes values, as in `x * c ** -0.5`."""
    compared: tuple[tuple[Expression, Expression], ...] = ()
    """Sizes that the code found to be equal, as in `assert c == self.dim`."""
    divided: tuple[tuple[Expression, int], ...] = ()
    """What the code made plain integers of, as in `int(c / heads)`, and what that came to."""
    notes: tuple[str, ...] = ()
    """What the recording leaves open, a sentence each; empty for most networks."""
    training: tuple[Operator, ...] = ()
    """What runs in training mode, where that reads parameters that evaluation leaves alone."""
    trained: tuple[Value, ...] = ()
    """What it returns then."""

    @property
    def read(self) -> frozenset[int]:
        """Values that some operator reads or that are returned, in evaluation mode."""
        read = {v.index for operator in self.operators for v in operator.operands}
        return frozenset(read | {value.index for value in self.outputs})


def record(
    model: nn.Module, inputs: Inputs, *, wide: bool = False, on_values: bool = False
) -> Recording:
    """Run a private copy of the model in evaluation mode and write down the calls.

    Parameters that evaluation does not read (a head for an auxiliary loss, branches that were
    merged) belong with others nevertheless; where there are some, it is run in training mode too.

    It runs on fake tensors, which have no values; where the forward pass asks for values it is run
    again on a copy of the weights, and `Recording.notes` says so.

    Args:
        model: any module that runs eagerly; it is not changed.
        inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        wide: keep tensors in float64 where the code asks for less.
        on_values: run on a copy of the weights at once, where kernels may be others than on fakes.

    Raises:
        TraceError: the forward pass fails (the message names the module where it did), or
            returns no tensor.
    """
    refuse(model, [x for x in tree_leaves(plain(inputs)) if isinstance(x, Tensor)])
    if on_values:
        only = _attempt(model, inputs, fake=False, sizes=True, wide=wide, training=False)
        if isinstance(only, Recording):
            return only
        raise only.as_error(model, inputs) from only.error
    first = _attempt(model, inputs, fake=True, sizes=True, wide=wide)
    if isinstance(first, Recording):
        return first
    last, sizes = first, True
    if not first.asks_for_values:  # it may be that it takes no subclass of int
        second = _attempt(model, inputs, fake=True, sizes=False, wide=wide)
        if isinstance(second, Recording):
            return replace(second, notes=(first.note_on_integers(),))
        last, sizes = second, not second.asks_for_values
    if not _has_values(model):
        raise last.as_error(model, inputs) from last.error
    notes = (last.note_on_values(), *(() if sizes else (first.note_on_integers(),)))
    real = _attempt(model, inputs, fake=False, sizes=sizes, wide=wide)
    if isinstance(real, Recording):
        return replace(real, notes=notes)
    raise real.as_error(model, inputs) from real.error


@dataclass(frozen=True)
class _Failure:
    """A forward pass that did not come to its end."""

    error: Exception
    module: str
    """Dotted path of the module whose forward was running, or words for the model's own."""
    operator: str
    """Operator that failed, or ""."""

    @property
    def asks_for_values(self) -> bool:
        """Whether an operator had no answer but for tensors with values."""
        return isinstance(self.error, DataDependentOutputException | DynamicOutputShapeException)

    def as_error(self, model: nn.Module, inputs: Inputs) -> TraceError:
        """What the caller is told."""
        what = f"{type(self.error).__name__} in {self.module}: {_first_line(self.error)}"
        if self.asks_for_values:  # where there are some, it was run again
            what = (
                f"{self.operator} in {self.module} needs the values of tensors, and the meta "
                "device has none; build the model on a real one"
            )
        return TraceError(f"{type(model).__name__} cannot be run on {_shapes(inputs)}: {what}")

    def note_on_values(self) -> str:
        """Why real tensors were needed, and what that means."""
        what = self.operator or f"{type(self.error).__name__} ({_first_line(self.error)})"
        return (
            f"recorded on real tensors, because of {what} in {self.module}; branches that depend "
            "on values are traced for one input only"
        )

    def note_on_integers(self) -> str:
        """Why integers could not be followed, and what that means."""
        return (
            f"recorded without following integers, because of {type(self.error).__name__} "
            f"({_first_line(self.error)}) in {self.module}; sizes in the code are taken for fixed"
        )


def _attempt(
    model: nn.Module,
    inputs: Inputs,
    *,
    fake: bool,
    sizes: bool,
    wide: bool,
    training: bool = True,
) -> Recording | _Failure:
    """Run a private copy once, on fake or on real tensors, with or without sizes."""
    mode = FakeTensorMode(allow_non_fake_inputs=True) if fake else None
    private = fake_copy(model, mode) if mode else clone_model(model)
    tensors = tree_map(lambda x: _private_input(x, mode), plain(inputs))
    if sizes:
        trace_attributes(model, private)
    where = ModulePath(private)
    tape = Tape(where)
    names = [name for name, _ in private.named_parameters()]
    computed: list[Expression] = []
    compared: list[tuple[Expression, Expression]] = []
    divided: list[tuple[Expression, int]] = []

    way = Way(tape, sizes=sizes, wide=wide, fakes=mode or nullcontext())
    try:
        noted = values_noted(lambda size: computed.append(size.expression))
        with noted, comparisons_to(compared), divisions_to(divided):
            result = follow(model, private, tensors, way)
    except TraceError:
        raise
    except Exception as error:  # noqa: BLE001 (the model's own code can fail in any way)
        return _Failure(error, where.current or "its forward", tape.failed)
    outputs = _returned(model, tape, result)  # it may number tensors that no operator saw
    recording = Recording(
        operators=tuple(tape.operators),
        shapes=tuple(tape.shapes),
        state=tape.state,
        parameters=frozenset(names),
        inputs=tape.inputs,
        outputs=outputs,
        computed=tuple(dict.fromkeys(computed)),
        compared=tuple(dict.fromkeys(compared)),
        divided=tuple(dict.fromkeys(divided)),
    )
    return _with_training(recording, model, private, tensors, way) if training else recording


def _with_training(
    recording: Recording, model: nn.Module, private: nn.Module, tensors: Inputs, way: Way
) -> Recording:
    """Go on in training mode if there are parameters left to read, and it reads some of them."""
    read, tape = recording.read, way.tape
    left = {recording.state[n].index for n in recording.parameters if n in recording.state} - read
    if not left:
        return recording
    try:
        with _followed(model, way):
            private.train()
            outputs = _values(tape, call(private, tensors))
    except Exception:  # noqa: BLE001 (it may want targets, or never have been trained)
        return recording
    more = tuple(tape.operators[len(recording.operators) :])
    if left.isdisjoint(value.index for operator in more for value in operator.operands):
        return recording
    return replace(recording, shapes=tuple(tape.shapes), training=more, trained=outputs)


@dataclass(frozen=True)
class Way:
    """How a forward pass is followed."""

    tape: Tape
    sizes: bool = True
    """Integers remember where they come from."""
    wide: bool = False
    """Tensors stay in float64 where the code asks for less."""
    fakes: AbstractContextManager[object] = field(default_factory=nullcontext)
    left: Callable[[AxisSize], int] | None = None
    """What the code finds left of an axis; all of it if None."""


def follow(model: nn.Module, private: nn.Module, tensors: Inputs, way: Way) -> Any:
    """Run a private copy of a model while a tape writes down what it does; returns its result."""
    tape = way.tape
    before = _named_state(private)
    tape.state = {name: tape.value(tensor) for name, tensor in before}
    tape.inputs = _values(tape, tensors)
    with _followed(model, way):
        private.eval()  # some merge their weights in it
        _follow_replaced(tape, before, private)
        result = call(private, tensors)
        _follow_replaced(tape, before, private)
    return result


@contextmanager
def _followed(model: nn.Module, way: Way) -> Iterator[None]:
    """Let the tape see what a private copy of the model does."""
    with ExitStack() as stack:
        stack.enter_context(watch(model))
        stack.enter_context(eager(model))
        stack.enter_context(way.fakes)
        stack.enter_context(way.tape)
        stack.enter_context(doubled() if way.wide else nullcontext())
        stack.enter_context(Calls(way.tape, sizes=way.sizes, left=way.left))
        yield


def _follow_replaced(tape: Tape, before: list[tuple[str, Tensor]], private: nn.Module) -> None:
    """Write down that other tensors were put in the places of parameters and buffers."""
    now = dict(_named_state(private))
    for name, tensor in before:
        if name in now and now[name] is not tensor:
            tape.replace(tensor, now[name])


def _private_input(value: Any, mode: FakeTensorMode | None) -> Any:
    if not isinstance(value, Tensor):
        return value
    return mode.from_tensor(value) if mode else value.detach().clone()


def _values(tape: Tape, tree: Any) -> tuple[Value, ...]:
    return tuple(tape.value(x) for x in tensors_in(tree))


def _returned(model: nn.Module, tape: Tape, result: Any) -> tuple[Value, ...]:
    values = _values(tape, result)
    if not values:
        message = (
            f"{type(model).__name__} returns {type(result).__name__} and no tensor in it, so "
            "nothing could be proven; let it return a tensor, or a tuple, list or dict of tensors"
        )
        raise TraceError(message)
    return values


def _has_values(model: nn.Module) -> bool:
    return not any(tensor.is_meta for tensor in tensors_of(model))


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


def shapes_of(inputs: Inputs) -> tuple[object, ...]:
    """Shapes of the tensors; other arguments as they read."""
    leaves = tree_leaves(plain(inputs))
    return tuple(tuple(x.shape) if isinstance(x, Tensor) else repr(x) for x in leaves)


def tensors_in(result: Any) -> list[Tensor]:
    """All tensors in what a network returns, also in records and mappings that torch knows not."""
    found: list[Tensor] = []
    for leaf in tree_leaves(result):
        if isinstance(leaf, Tensor):
            found.append(leaf)
        elif isinstance(leaf, Mapping):
            found += tensors_in(list(leaf.values()))
        elif is_dataclass(leaf) and not isinstance(leaf, type):
            found += tensors_in([getattr(leaf, one.name, None) for one in fields(leaf)])
    return found


class ModulePath:
    """Knows which module's forward is running."""

    def __init__(self, model: nn.Module) -> None:
        self._stack: list[str] = []
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name), prepend=True)
            module.register_forward_hook(self._leave(name))

    def __call__(self) -> str:
        """Dotted path of the innermost running module; "" is the model."""
        return self.current or ""

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


def _shapes(inputs: Inputs) -> str:
    tensors = [x for x in tree_leaves(plain(inputs)) if isinstance(x, Tensor)]
    listed = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
    return f"inputs of shape {listed}" if listed else "inputs without a tensor"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
