"""What code keeps outside of its modules: caches, globals, attributes of classes, closures."""

from __future__ import annotations

__all__ = ["Outside", "outside_of"]

import functools
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

_FOREIGN = frozenset({"torch", *sys.stdlib_module_names}) - {"__main__"}
_SITE = tuple({sysconfig.get_paths()[place] for place in ("purelib", "platlib")})
_HOPS = 2
"""From the source files of a model's classes to those that they use, and on to theirs."""

CACHE: Any = type(functools.cache(len))
_MISSING = object()
_CODE = (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType, CACHE)
"""What a forward pass may import or register, and does only once."""


@dataclass(eq=False)
class Outside:
    """Where the code of a model may keep something."""

    owners: list[Any] = field(default_factory=list)
    """Modules of source files and classes."""
    containers: list[Any] = field(default_factory=list)
    """Dictionaries, lists and sets that they, their functions and their objects hold."""
    cells: list[types.CellType] = field(default_factory=list)
    """Variables of closures."""

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        """Put back what is changed meanwhile, all of it: what is kept belongs together."""
        undo = [
            *(_attributes_back(owner) for owner in self.owners),
            *(_content_back(container) for container in self.containers),
            *(_cell_back(cell) for cell in self.cells),
        ]
        try:
            yield
        finally:
            for put_back in undo:
                put_back()


def outside_of(model: nn.Module) -> Outside:
    """Everything that the classes of a model's modules, and the files they are from, lead to."""
    classes = {base for module in model.modules() for base in type(module).__mro__}
    packages = {_top(c.__module__) for c in classes}
    search = _Search(packages - _FOREIGN)
    for cls in sorted(classes, key=lambda each: (each.__module__, each.__qualname__)):
        search.visit(cls, 0)
    for module in model.modules():
        for value in list(vars(module).values()):
            search.visit_held(value, 0)
    return search.found


class _Search:
    def __init__(self, packages: set[str]) -> None:
        self.found = Outside()
        self._packages = packages
        self._seen: set[int] = set()

    def visit(self, value: Any, hops: int) -> None:
        """Go on from a value to all that it leads to."""
        value = getattr(value, "__func__", value)
        if hops > _HOPS or id(value) in self._seen:
            return
        match value:
            case type() if self._is_own(value.__module__):
                self._owner(value, hops)
                self._file(value.__module__, hops)
            case types.ModuleType():
                self._file(value.__name__, hops)
            case types.FunctionType():
                self._function(value, hops)
            case dict() | list() | set():
                self._container(value, hops)
            case property() | functools.partial() | CACHE() | torch.jit.ScriptFunction():
                self._seen.add(id(value))
                self.visit(plain_function(value), hops)
            case _:
                self.visit_held(value, hops)

    def visit_held(self, value: Any, hops: int) -> None:
        """Go on from an object: its attributes and its class; functions, too."""
        if isinstance(value, types.FunctionType | functools.partial | CACHE):
            self.visit(value, hops)
        elif isinstance(value, types.MethodType):
            self.visit_held(value.__self__, hops)
        elif not isinstance(value, Tensor | nn.Module | type) and self._is_own(
            type(value).__module__
        ):
            self.visit(type(value), hops)
            if id(value) not in self._seen and isinstance(getattr(value, "__dict__", 0), dict):
                self._seen.add(id(value))
                self._container(vars(value), hops)

    def _owner(self, owner: Any, hops: int) -> None:
        if id(owner) in self._seen:
            return
        self._seen.add(id(owner))
        self.found.owners.append(owner)
        for name, value in list(vars(owner).items()):
            if not (name.startswith("__") and isinstance(value, dict | list)):
                self.visit(value, hops)

    def _file(self, name: str, hops: int) -> None:
        file = sys.modules.get(name)
        if file is not None and self._is_own(name):
            self._owner(file, hops + 1)

    def _function(self, function: types.FunctionType, hops: int) -> None:
        self._seen.add(id(function))
        if not self._is_own(function.__module__ or ""):
            return
        for value in (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()):
            self.visit(value, hops)
        for cell in function.__closure__ or ():
            self.found.cells.append(cell)
            self.visit(_content(cell), hops)
        self._file(function.__module__, hops)

    def _container(self, container: Any, hops: int) -> None:
        self._seen.add(id(container))
        self.found.containers.append(container)
        for value in list(container.values() if isinstance(container, dict) else container):
            self.visit_held(value, hops)

    def _is_own(self, module: str) -> bool:
        """Whether that is code of the user or of a package that the model is from."""
        top = _top(module)
        if not top or top in _FOREIGN or module.startswith("prunekit.graph"):
            return False
        return top in self._packages or not _is_installed(top)


def plain_function(value: object) -> Any:
    """The function in what wraps one; None for anything else."""
    match value:
        case property():
            return value.fget
        case torch.jit.ScriptFunction():
            return getattr(value, "_torchdynamo_inline", None)
        case functools.partial():
            return value.func
        case CACHE():
            return value.__wrapped__
    return None


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def _is_installed(top: str) -> bool:
    file = getattr(sys.modules.get(top), "__file__", None)
    return top == "prunekit" or (file or "").startswith(_SITE)


def _content(cell: types.CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:
        return _MISSING


def _attributes_back(owner: Any) -> Callable[[], None]:
    before = dict(vars(owner))

    def put_back() -> None:
        for name, value in list(vars(owner).items()):
            if value is before.get(name, _MISSING) or isinstance(value, _CODE):
                continue
            if name in before:
                setattr(owner, name, before[name])
            else:
                delattr(owner, name)

    return put_back


def _content_back(container: Any) -> Callable[[], None]:
    before = container.copy()

    def put_back() -> None:
        if not _learned_since(before, container):
            return
        container.clear()
        if isinstance(container, list):
            container.extend(before)
        else:
            container.update(before)

    return put_back


def _learned_since(before: Any, container: Any) -> bool:
    """Whether it holds something else now, but for classes and functions that were registered."""
    was, now = ([id(part) for part in _parts(each)] for each in (before, container))
    if was == now:
        return False
    known = set(was)
    new = [part for part in _parts(container) if id(part) not in known]
    return not any(isinstance(part, _CODE) for part in new)


def _parts(container: Any) -> list[Any]:
    if isinstance(container, Mapping):
        return [part for item in container.items() for part in item]
    return list(container)


def _cell_back(cell: types.CellType) -> Callable[[], None]:
    before = _content(cell)

    def put_back() -> None:
        now = _content(cell)
        if now is before or isinstance(now, _CODE):
            return
        if before is _MISSING:
            del cell.cell_contents
        else:
            cell.cell_contents = before

    return put_back
