"""Slim networks as programs that open without the code that they were written in."""

from __future__ import annotations

__all__ = ["Exported", "export"]

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from prunekit.errors import ExportError, brief
from prunekit.files import write_atomic
from prunekit.graph import Inputs, clone_model, own_randomness, uncached, unwrap
from prunekit.graph.compare import Difference, compare, run
from prunekit.graph.record import plain
from prunekit.surgery.sizes import larger_size

SUFFIX = ".pt2"


@dataclass(frozen=True)
class Exported:
    """What an exported program can do."""

    path: Path
    any_size: bool
    """Whether it takes images of other heights and widths than the example."""
    max_error: float
    """Largest absolute difference to the network, at its worst place for rounding."""
    limit: float
    """What rounding may make of it at that place."""


def export(
    model: nn.Module, path: str | Path, example_inputs: Inputs, *, any_size: bool | None = None
) -> Exported:
    """Write a network as a `torch.export` program, and prove that the file computes the same.

    Args:
        model: any network that `torch.export` can follow, such as a slim one; it stays as it is.
        path: a file that ends in `.pt2`; `torch.export.load(path).module()` opens it.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments.
        any_size: whether heights and widths may differ from those of the example. By default
            they may if the network lets them.

    Raises:
        ExportError: the network cannot be followed, or not for any size; the path cannot be
            written; or the program computes something else.
    """
    if not isinstance(model, nn.Module):
        message = f"a torch.nn.Module is exported, not {type(model).__name__}"  # type: ignore[unreachable]
        raise ExportError(message)
    if not isinstance(path, str | Path):  # callers without a type checker
        message = f"a program is written to a path, not to {type(path).__name__}"  # type: ignore[unreachable]
        raise ExportError(message)
    file = Path(path)
    if file.suffix != SUFFIX:
        message = f"{file}: a program is written to a file that ends in {SUFFIX}"
        raise ExportError(message)
    private = clone_model(unwrap(model)).eval()
    first: str = ""
    for free in (True, False) if any_size is None else (any_size,):
        try:
            content = _program(private, example_inputs, free=free)
            difference = _proven(private, content, example_inputs, free=free)
        except _AttemptError as error:
            first = first or str(error)
            continue
        _write(file, content)
        return Exported(file, free, difference.max_error, difference.limit)
    kind = type(unwrap(model)).__name__
    message = f"{kind} cannot be exported: {first}"
    raise ExportError(message)


def _write(file: Path, content: bytes) -> None:
    try:
        write_atomic(file, content)
    except (OSError, ValueError) as error:  # of a null byte in it
        why = getattr(error, "strerror", None) or error
        message = f"{file}: cannot be written ({why}); name a file in a folder of yours"
        raise ExportError(message) from error


class _AttemptError(Exception):
    """An attempt that did not end in a program that is right."""


def _program(model: nn.Module, inputs: Inputs, *, free: bool) -> bytes:
    buffer = io.BytesIO()
    try:
        args, kwargs = _call(inputs)
        shapes: Any = tree_map(_free_sides, (args, kwargs)) if free else None
        names = None if shapes is None else (*shapes[0], *shapes[1].values())
        with (
            torch.no_grad(),
            own_randomness(model),
            uncached(model, scripted=True),
            _quiet(),
        ):
            program = torch.export.export(model, args, kwargs, dynamic_shapes=names)
            torch.export.save(program, buffer)
    except Exception as error:  # what torch raises for what it cannot follow is of many kinds
        raise _AttemptError(brief(error)) from error
    return buffer.getvalue()


def _proven(model: nn.Module, content: bytes, inputs: Inputs, *, free: bool) -> Difference:
    """Open what was written, and compare it at the size of the example and at a second one."""
    worst = Difference(0.0, 0.0, "")
    for call in (inputs, larger_size(inputs)) if free else (inputs,):
        args, kwargs = _call(call)
        try:
            with torch.no_grad(), own_randomness(model), _quiet():
                opened = torch.export.load(io.BytesIO(content)).module()  # it may count its calls
                found = opened(*args, **kwargs)
            expected = run(clone_model(model), call)
        except Exception as error:  # an assertion on sizes in the program
            raise _AttemptError(brief(error)) from error
        actual = [x for x in tree_flatten(found)[0] if isinstance(x, Tensor)]
        difference = compare(expected, actual)
        if not difference.passed:
            message = (
                f"the program differs from the network by {difference.max_error:.3g} where "
                f"rounding allows {difference.limit:.3g}"
            )
            raise _AttemptError(message)
        worst = max(difference, worst, key=lambda d: d.severity)
    return worst


def _call(inputs: Inputs) -> tuple[tuple[Any, ...], dict[str, Any]]:
    held = tree_map(lambda x: x.clone() if isinstance(x, Tensor) else x, plain(inputs))
    if isinstance(held, Tensor):
        return (held,), {}
    return ((), dict(held)) if isinstance(held, dict) else (tuple(held), {})


def _free_sides(value: object) -> Any:
    """Height and width of an image, which may have any length."""
    if not isinstance(value, Tensor) or value.ndim < 4:  # noqa: PLR2004 (N, C, H, W)
        return None
    sides = torch.export.Dim.AUTO
    return {value.ndim - 2: sides, value.ndim - 1: sides}


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from printing what is raised, and told, as well."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
