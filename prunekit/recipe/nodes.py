"""Values of a recipe, each with the place it was written at."""

from __future__ import annotations

__all__ = [
    "MAX_DEPTH",
    "MAX_NODES",
    "Node",
    "Place",
    "Scalar",
    "collection",
    "dotted",
    "drop_nulls",
    "find",
    "from_plain",
    "merge",
    "place_of",
    "refuse_odd_numbers",
    "shown",
    "to_plain",
]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from prunekit.errors import RecipeError

MAX_DEPTH = 24
"""Sections and lists inside one another."""

MAX_NODES = 10_000
"""Values in a recipe, with every alias counted as often as it is used."""

_MAX_DIGITS = 100
_MAX_SHOWN = 60

Scalar: TypeAlias = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where a value was written, in the user's words."""

    source: str
    """A file as the user named it, an override, or "the recipe" for a mapping."""

    line: int | None = None
    """Counted from 1; None where there are no lines."""

    folder: Path = Path()
    """What relative paths at this place are relative to."""

    has_lines: bool = False
    """Whether a line means something to the user: in files, not in overrides."""

    def at_line(self, line: int) -> Place:
        """Return the place of one line, counted from 1."""
        return replace(self, line=line) if self.has_lines else self

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}, line {self.line}"


@dataclass(frozen=True)
class Node:
    """One value and its place."""

    value: Scalar | tuple[Node, ...] | dict[str, Node]
    place: Place
    size: int = 1
    """This node and everything below it."""


def dotted(path: Sequence[str | int]) -> str:
    """Write a key path the way `--set` reads it."""
    return ".".join(str(part) for part in path)


def shown(value: object) -> str:
    """Return a value as it would be written in a recipe, cut to a readable length."""
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case Mapping():
            return "a section"
        case list() | tuple():
            return f"a list of {len(value)}" if value else "an empty list"
        case _:
            text = repr(value)
            return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


def collection(value: tuple[Node, ...] | dict[str, Node], place: Place) -> Node:
    """Make a list or section; refuse one that would be huge if it were written out."""
    parts = value.values() if isinstance(value, dict) else value
    size = 1 + sum(part.size for part in parts)
    if size > MAX_NODES:
        message = f"{place}: holds more than {MAX_NODES} values, aliases written out"
        raise RecipeError(message)
    return Node(value, place, size)


def refuse_odd_numbers(node: Node, path: tuple[str | int, ...] = ()) -> None:
    """Refuse numbers that no recipe can mean: not finite, or absurdly long."""
    match node.value:
        case dict():
            for key, part in node.value.items():
                refuse_odd_numbers(part, (*path, key))
        case tuple():
            for index, item in enumerate(node.value):
                refuse_odd_numbers(item, (*path, index))
        case float() if not math.isfinite(node.value):
            message = f"{node.place}: '{dotted(path)}' is {node.value}; numbers are finite"
            raise RecipeError(message)
        case int() if abs(node.value) >= 10**_MAX_DIGITS:
            message = f"{node.place}: '{dotted(path)}' has more than {_MAX_DIGITS} digits"
            raise RecipeError(message)


def from_plain(value: object, place: Place, *, depth: int = 0) -> Node:
    """Take over a Python value made of mappings, lists, text, numbers, paths and None."""
    if depth > MAX_DEPTH:
        message = f"{place}: sections and lists are nested more than {MAX_DEPTH} deep"
        raise RecipeError(message)
    match value:
        case str() | bool() | int() | float() | None:
            return Node(value, place)
        case Path():
            return Node(str(value), place)
        case Mapping():
            parts = {
                _key(key, place): from_plain(part, place, depth=depth + 1)
                for key, part in value.items()
            }
            return collection(parts, place)
        case list() | tuple():
            items = tuple(from_plain(item, place, depth=depth + 1) for item in value)
            return collection(items, place)
        case _:
            message = (
                f"{place}: a {type(value).__name__} cannot stand in a recipe; "
                "write text, a number, true, false, null, a list or a mapping"
            )
            raise RecipeError(message)


def to_plain(node: Node) -> object:
    """Return dictionaries, lists and scalars without places; nothing is shared."""
    match node.value:
        case dict():
            return {key: to_plain(part) for key, part in node.value.items()}
        case tuple():
            return [to_plain(item) for item in node.value]
        case _:
            return node.value


def merge(base: Node, over: Node) -> Node:
    """Lay `over` on `base`: sections are merged key by key, everything else is replaced."""
    if not isinstance(base.value, dict) or not isinstance(over.value, dict):
        return over
    merged = dict(base.value)
    for key, part in over.value.items():
        merged[key] = merge(merged[key], part) if key in merged else part
    return collection(merged, over.place)


def drop_nulls(node: Node, *, keep: tuple[str, ...], path: tuple[str, ...] = ()) -> Node:
    """Take out every key that is null, except directly or deeper under the path `keep`."""
    if path[: len(keep)] == keep:
        return node
    match node.value:
        case dict():
            parts = {
                key: drop_nulls(part, keep=keep, path=(*path, key))
                for key, part in node.value.items()
                if part.value is not None or path == keep
            }
            return replace(node, value=parts)
        case tuple():
            items = tuple(drop_nulls(item, keep=keep, path=(*path, "*")) for item in node.value)
            return replace(node, value=items)
        case _:
            return node


def find(node: Node, path: Sequence[str | int]) -> Node | None:
    """Return the node at a key path, None if there is none."""
    found: Node | None = node
    for part in path:
        found = _child(found, part) if found is not None else None
    return found


def place_of(node: Node, path: Sequence[str | int]) -> Place:
    """Return the place of a key path, or of the nearest section around it."""
    place = node.place
    found: Node | None = node
    for part in path:
        found = _child(found, part) if found is not None else None
        place = found.place if found is not None else place
    return place


def _child(node: Node, part: str | int) -> Node | None:
    match node.value, part:
        case dict() as parts, str():
            return parts.get(part)
        case tuple() as items, int():
            return items[part] if 0 <= part < len(items) else None
        case _:
            return None


def _key(key: object, place: Place) -> str:
    if isinstance(key, str):
        return key
    message = f"{place}: the key {shown(key)} is not text; put it in quotes"
    raise RecipeError(message)
