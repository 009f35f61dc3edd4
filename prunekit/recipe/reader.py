"""Reading YAML text into nodes: YAML 1.2 values, no tags, and limits that stop hostile files."""

from __future__ import annotations

__all__ = ["MAX_ALIASES", "MAX_BYTES", "decode", "read_yaml", "scalar_from_text"]

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
)

from prunekit.errors import RecipeError
from prunekit.recipe.nodes import MAX_DEPTH, MAX_NODES, Node, Place, Scalar, collection

MAX_BYTES = 1 << 20
"""A recipe with all that it extends."""

MAX_ALIASES = 32
"""Uses of `*name` in one file."""

_CORE_SCHEMA: tuple[tuple[re.Pattern[str], Callable[[str], Scalar]], ...] = (
    (re.compile(r"null|Null|NULL|~|"), lambda _: None),
    (re.compile(r"true|True|TRUE"), lambda _: True),
    (re.compile(r"false|False|FALSE"), lambda _: False),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+"), lambda text: int(text, 0)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        lambda text: float(text.replace(".", "")),
    ),
)
"""What plain text means in YAML 1.2, first match wins; anything else is text."""

_LONGEST_NUMBER = 400


def decode(data: bytes, place: Place) -> str:
    """Read bytes as UTF-8, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        byte = data[error.start]
        message = f"{place.at_line(line)}: byte 0x{byte:02x} is not UTF-8; save it as UTF-8"
        raise RecipeError(message) from error


def read_yaml(text: str, place: Place) -> Node | None:
    """Read one YAML document into nodes; None if there is nothing in it.

    Nothing is constructed from tags, and the limits hold while reading, before anything grows.
    """
    try:
        return _Composer(yaml.parse(text, Loader=_Loader), place).document()
    except yaml.YAMLError as error:
        raise _syntax_error(error, text, place) from error


def scalar_from_text(text: str) -> Scalar:
    """Read a plain scalar by the core schema of YAML 1.2: `1e-4` is a number, `no` is text."""
    if len(text) > _LONGEST_NUMBER:
        return text
    for pattern, read in _CORE_SCHEMA:
        if pattern.fullmatch(text):
            return read(text)
    return text


class _Loader(yaml.SafeLoader):
    """PyYAML's scanner and parser; flow brackets are limited where it would become quadratic."""

    def fetch_more_tokens(self) -> None:
        if self.flow_level > MAX_DEPTH:
            raise _TooDeepError(problem_mark=self.get_mark())
        super().fetch_more_tokens()


class _TooDeepError(yaml.MarkedYAMLError):
    """Brackets are nested too deeply to go on scanning."""


class _Composer:
    """Turns the stream of events of one document into nodes."""

    def __init__(self, events: Iterator[Event], place: Place) -> None:
        self._events = events
        self._place = place
        self._anchors: dict[str, Node | None] = {}  # None while the anchored node is being read
        self._aliases = 0
        self._count = 0

    def document(self) -> Node | None:
        root: Node | None = None
        documents = 0
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._error(event, "a second document begins; a recipe is one document")
                root = self._node(next(self._events), depth=0)
        return None if root is None or root.value is None else root

    def _node(self, event: Event, *, depth: int) -> Node:
        self._count += 1
        if self._count > MAX_NODES:
            raise self._error(event, f"holds more than {MAX_NODES} values")
        if depth > MAX_DEPTH:
            raise self._error(event, f"is nested more than {MAX_DEPTH} deep")
        if isinstance(event, AliasEvent):
            return self._alias(event)
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        self._refuse_tag(event)
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._content(event, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: ScalarEvent | CollectionStartEvent, depth: int) -> Node:
        place = self._at(event)
        if isinstance(event, ScalarEvent):
            return Node(_value(event), place)
        if isinstance(event, MappingStartEvent):
            return collection(self._mapping(depth), place)
        return collection(self._sequence(depth), place)

    def _sequence(self, depth: int) -> tuple[Node, ...]:
        items = []
        while not isinstance(event := next(self._events), SequenceEndEvent):
            items.append(self._node(event, depth=depth + 1))
        return tuple(items)

    def _mapping(self, depth: int) -> dict[str, Node]:
        parts: dict[str, Node] = {}
        while not isinstance(event := next(self._events), MappingEndEvent):
            key = self._key(event, parts)
            part = self._node(next(self._events), depth=depth + 1)
            parts[key] = replace(part, place=self._at(event))
        return parts

    def _key(self, event: Event, parts: dict[str, Node]) -> str:
        key = _value(event) if isinstance(event, ScalarEvent) else None
        if key == "<<" and isinstance(event, ScalarEvent) and event.implicit[0]:
            raise self._error(event, "merge keys ('<<') are not read; use 'extends' or repeat it")
        if not isinstance(event, ScalarEvent):
            raise self._error(event, "a key is a list or section; keys are text")
        if not isinstance(key, str):
            raise self._error(event, f"the key {event.value} is not text; put it in quotes")
        if key in parts:
            first = parts[key].place.line
            raise self._error(event, f"the key {key!r} is already given in line {first}")
        self._refuse_tag(event)
        return key

    def _alias(self, event: AliasEvent) -> Node:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            raise self._error(event, f"uses more than {MAX_ALIASES} aliases")
        if event.anchor not in self._anchors:
            why = f"there is no '&{event.anchor}' before it; put text that begins with * in quotes"
            raise self._error(event, f"the alias '*{event.anchor}' is unknown: {why}")
        node = self._anchors[event.anchor]
        if node is None:
            raise self._error(event, f"the alias '*{event.anchor}' stands inside what it names")
        return node

    def _refuse_tag(self, event: NodeEvent) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            short = tag.replace("tag:yaml.org,2002:", "!!")
            why = "a recipe holds plain values and runs nothing"
            raise self._error(event, f"the tag '{short}' is not read: {why}; take it away")

    def _at(self, event: Event) -> Place:
        assert event.start_mark is not None
        return self._place.at_line(event.start_mark.line + 1)

    def _error(self, event: Event, what: str) -> RecipeError:
        return RecipeError(f"{self._at(event)}: {what}")


def _value(event: ScalarEvent) -> Scalar:
    text = str(event.value)
    return scalar_from_text(text) if event.implicit[0] else text


def _syntax_error(error: yaml.YAMLError, text: str, place: Place) -> RecipeError:
    """Say in one line what PyYAML says in five."""
    match error:
        case yaml.reader.ReaderError():
            line = text.count("\n", 0, error.position)
            what = f"the control character U+{ord(text[error.position]):04X} cannot stand in YAML"
        case yaml.MarkedYAMLError():
            mark = error.problem_mark or error.context_mark
            line = mark.line if mark is not None else 0
            what = f"not YAML: {error.problem or error.context}"
        case _:
            return RecipeError(f"{place}: not YAML: {error}")
    if isinstance(error, _TooDeepError):
        what = f"brackets are nested more than {MAX_DEPTH} deep"
    elif getattr(error, "context", None) == "while scanning an alias":
        what = "text that begins with * is put in quotes, such as '*.bias'"
    elif "'\\t'" in what:
        what = "a tab is used for indentation; YAML wants spaces"
    return RecipeError(f"{place.at_line(line + 1)}: {what}")
