"""Reading a recipe from a file or mapping: what it extends, overrides, then the typed form."""

from __future__ import annotations

__all__ = ["MAX_EXTENDS", "Draft", "load_model_section", "load_recipe", "read_recipe"]

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from prunekit.errors import RecipeError
from prunekit.recipe.explain import explain
from prunekit.recipe.nodes import (
    Node,
    Place,
    drop_nulls,
    find,
    from_plain,
    merge,
    place_of,
    refuse_odd_numbers,
    shown,
    to_plain,
)
from prunekit.recipe.overrides import override
from prunekit.recipe.reader import MAX_BYTES, decode, read_yaml
from prunekit.recipe.sections.images import ModelSection
from prunekit.recipe.sections.whole import Recipe
from prunekit.recipe.write import to_mapping

MAX_EXTENDS = 8
"""Recipes that may extend one another."""

PATHS = (
    ("model", "weights"),
    *(
        ("data", purpose, key)
        for purpose in ("train", "evaluate")
        for key in ("folder", "clips", "lr_folder")
    ),
    ("data", "cache", "folder"),
)
"""The keys whose paths are relative to the recipe they are written in."""

_NEARLY_THE_SAME_NAME = 0.8

_ARGUMENTS = ("model", "arguments")

SectionT = TypeVar("SectionT", bound=BaseModel)


@dataclass(frozen=True)
class Draft:
    """A recipe together with where each of its values was written."""

    recipe: Recipe
    node: Node

    def place(self, *path: str | int) -> Place:
        """Return where a key was written, or the section around it."""
        return place_of(self.node, path)


def load_recipe(
    source: str | Path | Mapping[str, object] | Recipe, overrides: Sequence[str] = ()
) -> Recipe:
    """Read a recipe from a file, a mapping or another recipe, and change it by `a.b=c`.

    A string is the path of a file. Paths in the result are absolute, except `output`.
    Raises `RecipeError` with one sentence that names the file and line.
    """
    if isinstance(source, Recipe) and not overrides:
        return source
    return read_recipe(source, overrides).recipe


def read_recipe(
    source: str | Path | Mapping[str, object] | Recipe, overrides: Sequence[str] = ()
) -> Draft:
    """Do what `load_recipe` does, and keep the place of every value for later messages."""
    here = Path.cwd()
    match source:
        case Recipe():
            node = from_plain(to_mapping(source), Place("the recipe", folder=here))
        case Mapping():
            node = _chain(from_plain(source, Place("the recipe", folder=here)), [])
        case str() | Path():
            path = Path(source)
            node = _chain(_read_file(path, MAX_BYTES), [path])
        case _:  # callers without a type checker
            kind = type(source).__name__  # type: ignore[unreachable]
            message = f"a recipe is a path, a mapping or a Recipe, not {kind}"
            raise RecipeError(message)
    node = reduce(_absolute, PATHS, reduce(override, overrides, node))
    return Draft(_validated(Recipe, node, keep=_ARGUMENTS), node)


def load_model_section(
    values: Mapping[str, object], *, source: str, arguments: Sequence[str] = ()
) -> ModelSection:
    """Read the `model` section alone from plain values, and `k=v` as arguments of the network.

    `source` says in messages where the values come from. Paths are relative to here.
    """
    node = from_plain(values, Place(source, folder=Path.cwd()))
    for assignment in arguments:
        node = override(node, assignment, option="--arguments", under=["arguments"])
    paths = [path[1:] for path in PATHS if path[0] == "model"]
    return _validated(ModelSection, reduce(_absolute, paths, node), keep=_ARGUMENTS[1:])


def _validated(model: type[SectionT], node: Node, *, keep: tuple[str, ...]) -> SectionT:
    given = drop_nulls(node, keep=keep)
    refuse_odd_numbers(given)
    try:
        return model.model_validate(to_plain(given))
    except ValidationError as error:
        raise explain(error, given, model) from error


def _chain(node: Node, files: list[Path]) -> Node:
    """Lay a recipe on the one it extends, and that on the one it extends."""
    nodes = [node]
    budget = MAX_BYTES - sum(path.stat().st_size for path in files)
    while (base := _base(nodes[-1])) is not None:
        path, place = base
        if len(nodes) > MAX_EXTENDS:
            message = f"{place}: more than {MAX_EXTENDS} recipes extend one another; merge some"
            raise RecipeError(message)
        nodes.append(_read_file(path, budget, place))
        if any(path.samefile(file) for file in files):
            message = f"{place}: 'extends' comes back to {shown(str(path))}; take it away"
            raise RecipeError(message)
        budget -= path.stat().st_size
        files.append(path)
    return reduce(lambda over, base: merge(base, over), map(_own_keys, nodes))


def _base(node: Node) -> tuple[Path, Place] | None:
    found = find(node, ["extends"])
    if found is None or found.value is None:
        return None
    if not isinstance(found.value, str) or not found.value.isprintable() or not found.value.strip():
        message = (
            f"{found.place}: 'extends' is {shown(to_plain(found))}; allowed: the path of one recipe"
        )
        raise RecipeError(message)
    return _from(found.place, found.value), found.place


def _from(place: Place, text: str) -> Path:
    """Read a path that is written at a place; `~` is the home folder."""
    path = Path(text)
    return place.folder / (path.expanduser() if path.parts[:1] == ("~",) else path)


def _own_keys(node: Node) -> Node:
    assert isinstance(node.value, dict)
    own = {key: part for key, part in node.value.items() if key != "extends"}
    return replace(node, value=own)


def _read_file(path: Path, limit: int, wanted_by: Place | None = None) -> Node:
    """Read one file without following `extends`."""
    named = f"{wanted_by}: 'extends' names {path}, which" if wanted_by else f"recipe {path}"
    place = Place(os.path.normpath(path), folder=path.parent, has_lines=True)
    try:
        _check_file(path)
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = _nearest_file(path) if isinstance(error, FileNotFoundError) else ""
        message = f"{named} cannot be read: {reason}{hint}"
        raise RecipeError(message) from error
    if len(data) > limit:
        message = f"{place}: more than {MAX_BYTES} bytes with all it extends; no recipe is so long"
        raise RecipeError(message)
    return _sections(read_yaml(decode(data, place), place), place)


def _check_file(path: Path) -> None:
    """Refuse what would block or never end, such as a pipe or a device."""
    if path.is_dir():
        message = "it is a folder"
        raise ValueError(message)
    if path.exists() and not path.is_file():
        message = "it is not a regular file"
        raise ValueError(message)


def _sections(node: Node | None, place: Place) -> Node:
    if node is None:
        message = f"{place}: is empty; a recipe needs at least a 'prune' section"
        raise RecipeError(message)
    if not isinstance(node.value, dict):
        message = f"{node.place}: a recipe is sections with keys, not {shown(to_plain(node))}"
        raise RecipeError(message)
    return node


def _nearest_file(path: Path) -> str:
    """Suggest a recipe beside a path that does not exist."""
    names = [file.name for pattern in ("*.yaml", "*.yml") for file in path.parent.glob(pattern)]
    close = difflib.get_close_matches(path.name, names, n=1, cutoff=_NEARLY_THE_SAME_NAME)
    return f"; did you mean '{close[0]}'?" if close else ""


def _absolute(node: Node, path: Sequence[str]) -> Node:
    """Make one path of a recipe absolute, from the folder of the file it is written in."""
    first, *rest = path
    if not isinstance(node.value, dict) or first not in node.value:
        return node
    part = node.value[first]
    if rest:
        part = _absolute(part, rest)
    elif isinstance(part.value, str) and part.value.strip() and part.value.isprintable():
        part = replace(part, value=os.path.realpath(_from(part.place, part.value)))
    return replace(node, value={**node.value, first: part})
