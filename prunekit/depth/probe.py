"""What each module of a network does to its input, found by running it."""

from __future__ import annotations

__all__ = ["Behaviour", "watch_modules"]

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from prunekit.errors import TraceError, brief
from prunekit.graph import Inputs, clone_model
from prunekit.graph.compare import (
    GAINS,
    Edit,
    converted_copy,
    generic,
    generic_inputs,
    run,
)
from prunekit.plan import inside
from prunekit.surgery.weightnorm import directions_of


@dataclass
class Behaviour:
    """What was seen of a module in one forward pass."""

    calls: int = 0
    adds: bool = False
    """It returns its input, to the bit, when its parameters are zero, and not otherwise."""
    trains_alike: bool = True
    """That holds in training mode too."""
    lent: set[str] = field(default_factory=set)
    """Modules in it that are called while it does not run."""
    borrowed: set[str] = field(default_factory=set)
    """Modules outside of it that are called while it runs."""


def watch_modules(model: nn.Module, inputs: Inputs) -> dict[str, Behaviour]:
    """Run private copies with generic weights; all modules that are called, by path, in order.

    In float64, or in its own type where it does not run in that. Raises `TraceError` if it
    computes nothing finite.
    """
    noise, failure = generic_inputs(inputs), "its output is not finite"
    for edit, dtype in _trials(model):
        copy = converted_copy(model, edit, dtype).eval()
        watcher = _Watcher(copy)
        try:
            outputs = run(copy, noise, dtype)
        except Exception as error:  # noqa: BLE001 - the model's own code can fail in any way
            failure = brief(error)
            continue
        if all(tensor.isfinite().all() for tensor in outputs):
            return watcher.seen
    message = (
        f"the blocks of {type(model).__name__} cannot be tried out on noise, since it computes "
        f"nothing of use with generic weights nor with its own ({failure})"
    )
    raise TraceError(message)


def _trials(model: nn.Module) -> Iterator[tuple[Edit, torch.dtype | None]]:
    """Weights and types, in the order that they are tried in."""
    for gain in GAINS:
        yield generic(model, gain), torch.float64
    yield generic(model), None
    yield lambda _, tensor: tensor, None


class _Watcher:
    """Sees every call of every module of a network, and tries out what it does without weights."""

    def __init__(self, model: nn.Module) -> None:
        self.seen: dict[str, Behaviour] = {}
        self._running: list[tuple[str, Tensor | None]] = []
        self._paths = {name for name, _ in model.named_modules()}
        self._busy = False
        for name, module in model.named_modules():
            # functions, since a copy of the module takes them along without copying the watcher
            module.register_forward_pre_hook(self._enter(name), prepend=True, with_kwargs=True)
            module.register_forward_hook(self._leave(name), with_kwargs=True)

    def _enter(self, name: str) -> Callable[..., None]:
        def enter(module: nn.Module, args: Any, kwargs: Mapping[str, Any]) -> None:
            if self._busy:
                return
            if not name:  # another attempt
                self.seen.clear()
                self._running.clear()
            self._note(name)
            held = self.seen[name].calls == 1 and _may_add(module)
            first = _first(args, kwargs) if held else None
            self._running.append((name, None if first is None else first.detach().clone()))

        return enter

    def _note(self, name: str) -> None:
        self.seen.setdefault(name, Behaviour()).calls += 1
        running = {path for path, _ in self._running}
        for path in running:
            if path and not inside(name, {path}):
                self.seen[path].borrowed.add(name)
        parts = name.split(".")
        for length in range(1, len(parts)):
            around = ".".join(parts[:length])
            if around not in running:
                self.seen.setdefault(around, Behaviour()).lent.add(name)

    def _leave(self, name: str) -> Callable[..., None]:
        def leave(module: nn.Module, args: Any, kwargs: Mapping[str, Any], output: Any) -> None:
            if self._busy:
                return
            before = None
            while self._running:  # and those that an exception left which the model caught
                path, before = self._running.pop()
                if path == name:
                    break
            if name and before is not None and _alike(output, before):
                self._try(self.seen[name], module, (args, kwargs), before, output)

        return leave

    def _try(
        self,
        seen: Behaviour,
        module: nn.Module,
        given: tuple[Any, Mapping[str, Any]],
        before: Tensor,
        output: Tensor,
    ) -> None:
        """Run it once more with parameters that are zero."""
        if torch.equal(output, before):
            return
        self._busy = True
        try:
            with _without_parameters(module):
                seen.adds = _returns_input(module, given, before)
                if seen.adds:
                    seen.trains_alike = _trains_alike(module, given, before)
        except Exception:  # noqa: BLE001 - the model's own code can fail in any way
            seen.adds = False
        finally:
            self._busy = False


def _may_add(module: nn.Module) -> bool:
    """Whether it has parameters, and is no layer of torch's own, of which none adds its input."""
    is_layer = type(module).__module__.startswith("torch.nn.") and not any(module.children())
    return not is_layer and next(module.parameters(), None) is not None


@contextmanager
def _without_parameters(module: nn.Module) -> Iterator[None]:
    """Let parameters be zero; a direction of weight norm needs a length, its gain needs none."""
    directions = directions_of(module)
    parameters = [p for name, p in module.named_parameters() if name not in directions]
    kept = [parameter.detach().clone() for parameter in parameters]
    for parameter in parameters:
        parameter.zero_()
    try:
        yield
    finally:
        for parameter, values in zip(parameters, kept, strict=True):
            parameter.copy_(values)


def _returns_input(module: nn.Module, given: tuple[Any, Mapping[str, Any]], before: Tensor) -> bool:
    """Whether it returns what it is called with, and leaves that as it was."""
    (args, kwargs), value = given, before.clone()
    first = _first(args, kwargs)
    result = module(
        *(value if each is first else each for each in args),
        **{key: value if each is first else each for key, each in kwargs.items()},
    )
    same = isinstance(result, Tensor) and _alike(result, before) and torch.equal(result, before)
    return same and torch.equal(value, before)


def _trains_alike(module: nn.Module, given: tuple[Any, Mapping[str, Any]], before: Tensor) -> bool:
    """A copy of it is asked: to train changes statistics, and some merge weights in `eval`."""
    try:
        return _returns_input(clone_model(module).train(), given, before)
    except Exception:  # noqa: BLE001 (a batch norm of one value; it does not train at this size)
        return True


def _first(args: Any, kwargs: Mapping[str, Any]) -> Tensor | None:
    """The first tensor that a module is called with."""
    return next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None)


def _alike(output: object, before: Tensor) -> bool:
    return (
        isinstance(output, Tensor)
        and output.shape == before.shape
        and output.dtype == before.dtype
        and output.is_floating_point()
    )
