"""Changing one value of a recipe from the command line: `prune.target.channel_ratio=0.3`."""

from __future__ import annotations

__all__ = ["override"]

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prunekit.errors import RecipeError
from prunekit.recipe.nodes import Node, Place, dotted
from prunekit.recipe.reader import read_yaml


def override(
    node: Node, assignment: str, *, option: str = "--set", under: Sequence[str] = ()
) -> Node:
    """Set a key to a value written as in YAML; `null` takes the key away.

    Parts of the key are separated by dots, entries of a list are numbered from 0. Paths are
    relative to the current directory. `option` is what the user calls the assignment, and
    `under` the section that its key is looked up in.
    """
    key, equals, text = assignment.partition("=")
    place = Place(f"{option} {assignment}", folder=Path.cwd())
    path = key.strip().split(".")
    if not equals or not all(path):
        message = f"{place}: is not of the form KEY=VALUE, such as seed=1 or prune.round_to=16"
        raise RecipeError(message)
    if not text.strip():
        message = f"{place}: there is no value after '='; write {key}=null to take the key away"
        raise RecipeError(message)
    if path == ["extends"] and not under:
        message = f"{place}: 'extends' can be set in a recipe file only"
        raise RecipeError(message)
    if not under:
        _check_stages(node, path, place)
    value = read_yaml(text, place) or Node(None, place)
    return _set(node, [*under, *path], 0, value)


def _check_stages(node: Node, path: list[str], place: Place) -> None:
    """Refuse a key of `prune` or `train` where the recipe says these in stages."""
    parts = node.value if isinstance(node.value, dict) else {}
    stages = parts["stages"].value if "stages" in parts else None
    if path[0] not in ("prune", "train") or len(path) == 1 or not isinstance(stages, tuple):
        return
    owners = [n for n, s in enumerate(stages) if isinstance(s.value, dict) and path[0] in s.value]
    meant = [f"'stages.{number}.{dotted(path)}'" for number in owners]
    message = f"{place}: the recipe has 'stages', so '{path[0]}' stands in these; " + (
        f"set {' or '.join(meant)}" if meant else f"none has a '{path[0]}'"
    )
    raise RecipeError(message)


def _set(node: Node, path: list[str], depth: int, value: Node) -> Node:
    """Return a copy of the nodes in which the value stands at the path."""
    if depth == len(path):
        return value
    part = path[depth]
    match node.value:
        case tuple():
            index = _index(part, len(node.value), dotted(path[:depth]), value.place)
            items = list(node.value)
            items[index] = _set(items[index], path, depth + 1, value)
            return replace(node, value=tuple(items))
        case dict() | None:
            parts = dict(node.value or {})
            child = parts.get(part, Node(None, value.place))
            parts[part] = _set(child, path, depth + 1, value)
            return replace(node, value=parts)
        case _:
            message = f"{value.place}: '{dotted(path[:depth])}' is a single value and has no keys"
            raise RecipeError(message)


def _index(part: str, length: int, owner: str, place: Place) -> int:
    if part.isascii() and part.isdecimal() and int(part[:9]) < length:
        return int(part)
    last = f"0 to {length - 1}" if length else "none: it is empty"
    message = f"{place}: '{part}' is no entry of the list '{owner}'; there is {last}"
    raise RecipeError(message)
