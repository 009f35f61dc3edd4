"""Turning what pydantic finds wrong into one sentence about the user's own file."""

from __future__ import annotations

__all__ = ["explain", "recipe_schema"]

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from prunekit.errors import RecipeError, did_you_mean
from prunekit.recipe.nodes import Node, dotted, find, place_of, shown, to_plain
from prunekit.recipe.sections.whole import Recipe

Schema = Mapping[str, Any]

_SURELY_THE_SAME_WORD = 0.8


def recipe_schema() -> dict[str, Any]:
    """Return the JSON schema of recipe files, for editors that complete and check YAML."""
    schema = Recipe.model_json_schema()
    extends = {
        "type": "string",
        "description": "A recipe to start from, relative to this file; keys here replace its keys.",
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "prunekit recipe",
        "properties": {"extends": extends, **schema["properties"]},
    }


def explain(error: ValidationError, node: Node, model: type[BaseModel]) -> RecipeError:
    """Say what is wrong first, where, and what is allowed there; count the rest.

    Unknown keys go first: a key misspelt is also a key missing.
    """
    shape = _Shape(model, node)
    faults = _innermost([shape.written(fault) for fault in error.errors(include_url=False)])
    first = min(faults, key=lambda fault: _rank(fault, node))
    path = _path(first)
    place = place_of(node, path) if path else replace(node.place, line=None)
    sentence = f"{place}: {_sentence(first, path, node, shape)}"
    more = len({_path(fault) for fault in faults}) - 1
    if more:
        sentence += f" (and {more} more {'problem' if more == 1 else 'problems'})"
    return RecipeError(sentence)


class _Shape:
    """The JSON schema of a model, walked by key paths.

    Where a key such as `method` tells which of several sections is meant, the user's does.
    """

    def __init__(self, model: type[BaseModel], node: Node) -> None:
        self._root = recipe_schema() if model is Recipe else model.model_json_schema()
        self._node = node

    def at(self, path: Sequence[str | int]) -> Schema:
        """Return the schema at a key path, without what allows null."""
        schema = self._resolved(self._root)
        for length, part in enumerate(path, 1):
            schema = self._chosen(self._resolved(_step(schema, part)), path[:length])
        return schema

    def written(self, fault: ErrorDetails) -> ErrorDetails:
        """Return a fault at the path that the user wrote.

        Where a schema has a choice, pydantic puts the name of an arm into the path, or the word
        that tells sections apart; and behind a key that a mapping does not allow `[key]`. If it is
        such a word that is missing or unknown, the path ends with its key.
        """
        path: list[str | int] = []
        schema, tagged = self._resolved(self._root), False
        for part in fault["loc"]:
            tagged = not tagged and part in schema.get("discriminator", {}).get("mapping", {})
            arms = _arms(schema)
            if tagged:
                schema = self._chosen(schema, path)
            elif arms:
                schema = next((arm for arm in arms if arm.get("type") == "object"), {})
            elif part == "[key]":
                return {**fault, "loc": tuple(path), "type": "extra_forbidden"}
            else:
                path.append(part)
                schema = self._resolved(_step(self._chosen(schema, path[:-1]), part))
        if fault["type"].startswith("union_tag"):
            path.append(schema["discriminator"]["propertyName"])
        return {**fault, "loc": tuple(path)}

    def _chosen(self, schema: Schema, path: Sequence[str | int]) -> Schema:
        """One of several sections: that of the user's word, else the first, with all words."""
        told = schema.get("discriminator")
        if told is None:
            return schema
        key, arms = told["propertyName"], told["mapping"]
        word = find(self._node, (*path, key))
        known = word is not None and isinstance(word.value, str) and word.value in arms
        arm = arms[word.value] if known and word else next(iter(arms.values()))
        chosen = self._resolved({"$ref": arm})
        every = {**chosen["properties"][key], "enum": list(arms)}
        properties = {**chosen["properties"], key: every}
        described = {k: v for k, v in schema.items() if k not in ("oneOf", "discriminator")}
        return {**chosen, **described, "properties": properties}

    def keys(self, path: Sequence[str | int]) -> list[str]:
        return _keys(self.at(path))

    def homes(self, key: str) -> list[str]:
        """Return where a key belongs, in words, the outermost section first."""
        found = [(path, of) for path, of, keys in self._sections((), self._root) if key in keys]
        return [
            (f"under '{dotted(path)}'" if path else "at the top of the recipe") + of
            for path, of in sorted(found, key=lambda home: len(home[0]))
        ]

    def _sections(
        self, path: tuple[str, ...], schema: Schema, of: str = ""
    ) -> Iterator[tuple[tuple[str, ...], str, list[str]]]:
        """Every section with its keys, and of which method it is where that matters."""
        resolved = self._resolved(schema)
        told = resolved.get("discriminator")
        if told is not None:
            for word, arm in told["mapping"].items():
                which = f" with {told['propertyName']} '{word}'"
                yield from self._sections(path, self._resolved({"$ref": arm}), which)
            return
        properties = resolved.get("properties", {})
        yield path, of, list(properties)
        for key, part in properties.items():
            yield from self._sections((*path, key), part, of)

    def _resolved(self, schema: Schema) -> Schema:
        if "$ref" in schema:
            name = schema["$ref"].rsplit("/", 1)[-1]
            described = {key: value for key, value in schema.items() if key != "$ref"}
            return {**self._resolved(self._root["$defs"][name]), **described}
        arms = [self._resolved(arm) for arm in _arms(schema) if arm.get("type") != "null"]
        if not arms:
            return schema
        outer = {key: value for key, value in schema.items() if key != "anyOf"}
        return {**(arms[0] if len(arms) == 1 else {"anyOf": arms}), **outer}


def _arms(schema: Schema) -> list[Schema]:
    """Return the schemas that a value can choose from; none where there is no choice.

    Of a section `anyOf` says which keys have to be there.
    """
    arms: list[Schema] = [] if "properties" in schema else schema.get("anyOf", [])
    return arms


def _keys(schema: Schema) -> list[str]:
    """Return the keys of a section, or of a mapping that allows only some."""
    found = [key for arm in _arms(schema) for key in _keys(arm)]
    return found or list(schema.get("properties", schema.get("propertyNames", {}).get("enum", ())))


def _step(schema: Schema, part: str | int) -> Schema:
    for arm in _arms(schema):
        if arm.get("type") == ("object" if isinstance(part, str) else "array"):
            return _step(arm, part)
    if isinstance(part, str):
        others = schema.get("additionalProperties")
        found: Schema = schema.get("properties", {}).get(part, others or {})
        return found if isinstance(found, dict) else {}
    items: list[Schema] = schema.get("prefixItems", [])
    rest: Schema = schema.get("items", {})
    return items[part] if part < len(items) else rest


def _innermost(faults: Sequence[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out a list that is at fault only because one of its entries is."""
    paths = {_path(fault) for fault in faults}
    outer = {path[:length] for path in paths for length in range(len(path))}
    return [fault for fault in faults if _path(fault) not in outer]


def _rank(fault: ErrorDetails, node: Node) -> tuple[bool, int]:
    return fault["type"] != "extra_forbidden", place_of(node, _path(fault)).line or 0


def _path(fault: ErrorDetails) -> tuple[str | int, ...]:
    """Return the key path of a fault; a list that is too short is at fault itself."""
    path = fault["loc"]
    if fault["type"] == "missing" and isinstance(path[-1], int):
        return path[:-1]
    return path


def _sentence(fault: ErrorDetails, path: tuple[str | int, ...], node: Node, shape: _Shape) -> str:
    if fault["type"] == "extra_forbidden":
        return _unknown_key(path, shape)
    found = find(node, path)
    if fault["type"] in ("missing", "union_tag_not_found") and found is None:
        return f"{_section(path[:-1])} needs '{path[-1]}'"
    value = to_plain(found) if found is not None else None
    if fault["type"] == "value_error":
        what = str(fault["ctx"]["error"])
        is_section = found is None or isinstance(found.value, dict)
        return (
            f"{_section(path)} {what}" if is_section else f"'{dotted(path)}' {what}: {shown(value)}"
        )
    allowed = _allowed(shape.at(path)) or fault["msg"]
    return (
        f"'{dotted(path)}' is {shown(value)}; allowed: {allowed}{_nearest(value, shape.at(path))}"
    )


def _section(path: Sequence[str | int]) -> str:
    return f"'{dotted(path)}'" if path else "the recipe"


def _unknown_key(path: tuple[str | int, ...], shape: _Shape) -> str:
    """Offer the nearest key of the section, or the section that the key belongs to."""
    key = str(path[-1])
    where = f" under '{dotted(path[:-1])}'" if len(path) > 1 else ""
    known = shape.keys(path[:-1])
    homes = shape.homes(key)
    if homes and not difflib.get_close_matches(key, known, n=1, cutoff=_SURELY_THE_SAME_WORD):
        return f"unknown key {shown(key)}{where}; '{key}' belongs {homes[0]}"
    return f"unknown key {shown(key)}{where}{did_you_mean(key, known)}"


def _nearest(value: object, schema: Schema) -> str:
    words = [word for word in _words(schema) if isinstance(word, str)]
    if not isinstance(value, str) or not difflib.get_close_matches(value, words, n=1):
        return ""
    return did_you_mean(value, words)


def _words(schema: Schema) -> list[object]:
    found = [word for arm in _arms(schema) for word in _words(arm)]
    if found:
        return found
    return list(schema.get("enum", [schema["const"]] if "const" in schema else []))


def _allowed(schema: Schema) -> str:
    """Describe in words what a JSON schema accepts."""
    arms = _arms(schema)
    if arms:
        return ", or ".join(map(_allowed, arms))
    words = _words(schema)
    if words:
        return ", ".join(shown(word) for word in words)
    kind = schema.get("type")
    if kind == "object":
        keys = ", ".join(_keys(schema))
        some = "one or more of " if schema.get("minProperties") else ""
        return f"a section with {some}{keys}" if keys else "a section"
    if kind == "array":
        return _allowed_list(schema)
    return _allowed_scalar(schema)


def _allowed_list(schema: Schema) -> str:
    if "prefixItems" in schema:
        return f"a list of {len(schema['prefixItems'])}, each {_allowed(schema['prefixItems'][0])}"
    items = _allowed(schema.get("items", {}))
    least, most = schema.get("minItems", 0), schema.get("maxItems")
    size = f" of {least} to {most}" if most else " that is not empty" if least else ""
    return f"a list{size}" + (f", each {items}" if items else "")


def _allowed_scalar(schema: Schema) -> str:
    kinds = schema.get("type", ())
    kind = kinds if isinstance(kinds, str) else next(iter(kinds), "")
    if kind == "string":
        return _allowed_text(schema)
    names = {"integer": "a whole number", "number": "a number", "boolean": "true or false"}
    such = _such(schema)
    return names.get(kind, "") + _limits(schema) + (f", or text such as {such}" if such else "")


def _allowed_text(schema: Schema) -> str:
    such = _such(schema)
    if such:
        return f"text such as {such}"
    if "pattern" in schema:
        return f"text ({schema.get('description', '').rstrip('.')})"
    return "a path" if schema.get("format") == "path" else "text"


def _such(schema: Schema) -> str:
    return ", ".join(shown(example) for example in schema.get("examples", ()))


def _limits(schema: Schema) -> str:
    words = {
        "exclusiveMinimum": "above",
        "minimum": "at least",
        "exclusiveMaximum": "below",
        "maximum": "at most",
    }
    found = [f"{word} {schema[key]}" for key, word in words.items() if key in schema]
    return f", {' and '.join(found)}" if found else ""
