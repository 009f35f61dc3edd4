"""YAML as recipes read it: values of YAML 1.2, places, and limits that hostile files meet."""

from __future__ import annotations

import pytest

from prunekit.errors import RecipeError
from prunekit.recipe.nodes import MAX_NODES, Place, find, place_of, to_plain
from prunekit.recipe.reader import MAX_ALIASES, MAX_BYTES, decode, read_yaml

PLACE = Place("r.yaml", has_lines=True)


def read(text):
    node = read_yaml(text, PLACE)
    return to_plain(node) if node is not None else None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        (".5", 0.5),
        ("-2.5e+3", -2500.0),
        ("10", 10),
        ("+3", 3),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("no", "no"),
        ("on", "on"),
        ("Yes", "Yes"),
        ("2024-01-31", "2024-01-31"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("'1e-4'", "1e-4"),
        ('"true"', "true"),
        ("1.2.3", "1.2.3"),
        ("=", "="),
        ("e5", "e5"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(text, value):
    result = read(f"key: {text}")["key"]

    assert result == value
    assert type(result) is type(value)


def test_an_alias_repeats_a_value():
    assert read("a: &x [1, {b: 2}]\nc: *x\n") == {"a": [1, {"b": 2}], "c": [1, {"b": 2}]}


def test_nothing_is_read_from_comments_alone():
    assert read("# nothing\n---\n...\n") is None


def test_places_are_the_lines_of_the_keys():
    node = read_yaml("# comment\na:\n  b: 1\n  c:\n    - 2\n    - {d: 3}\n", PLACE)

    assert str(place_of(node, ["a"])) == "r.yaml, line 2"
    assert str(place_of(node, ["a", "c"])) == "r.yaml, line 4"
    assert str(place_of(node, ["a", "c", 1, "d"])) == "r.yaml, line 6"
    assert str(place_of(node, ["a", "missing"])) == "r.yaml, line 2"
    assert find(node, ["a", "c", 2]) is None


def test_an_aliased_key_is_placed_where_it_is_used():
    node = read_yaml("a: &x {b: 1}\nc:\n  d: *x\n", PLACE)

    assert place_of(node, ["c", "d"]).line == 3


def test_a_byte_order_mark_is_skipped():
    assert decode(b"\xef\xbb\xbfname: x", PLACE) == "name: x"


def test_as_many_aliases_as_allowed_are_read():
    text = "a: &x 1\nb: [" + ", ".join(["*x"] * MAX_ALIASES) + "]\n"

    assert read(text)["b"] == [1] * MAX_ALIASES


def nested_aliases(levels, fan):
    yield "l0: &l0 [1, 2, 3, 4]\n"
    for level in range(1, levels):
        yield f"l{level}: &l{level} [{', '.join([f'*l{level - 1}'] * fan)}]\n"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("exponential aliases", "".join(nested_aliases(9, 4)), "holds more than 10000 values"),
        ("many aliases", "".join(nested_aliases(40, 1)), "more than 32 aliases"),
        ("brackets", "[" * 100_000, "nested more than 24 deep"),
        ("braces", "{a: " * 100_000, "nested more than 24 deep"),
        ("dashes", "- " * 100_000, "nested more than 24 deep"),
        ("blocks", "\n".join(" " * i + "a:" for i in range(500)), "nested more than 24 deep"),
        ("values", "[" + "1," * 200_000 + "]", "holds more than 10000 values"),
        ("keys", "\n".join(f"k{i}: 1" for i in range(20_000)), "holds more than 10000 values"),
    ],
    ids=lambda value: value if len(value) < 30 else "",
)
def test_hostile_text_is_refused_before_it_grows(name, text, words):
    assert len(text) < MAX_BYTES, name

    with pytest.raises(RecipeError, match=words):
        read(text)


def test_a_bomb_of_aliases_is_refused_while_few_nodes_exist(monkeypatch):
    sizes = []
    original = __import__("prunekit.recipe.reader", fromlist=["collection"]).collection

    def recorded(value, place):
        sizes.append(len(value))
        return original(value, place)

    monkeypatch.setattr("prunekit.recipe.reader.collection", recorded)
    with pytest.raises(RecipeError):
        read("".join(nested_aliases(9, 4)))

    assert sum(sizes) < 100
    assert MAX_NODES == 10_000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1\nb: 2\na: 3\n", "r.yaml, line 3: the key 'a' is already given in line 1"),
        ("a: {b: 1, b: 2}", "the key 'b' is already given in line 1"),
        ("a: !!python/name:os.system x", "the tag '!!python/name:os.system' is not read"),
        ("!!map {a: 1}", "the tag '!!map' is not read"),
        ("a: ! 1", "the tag '!' is not read"),
        ("!!str a: 1", "the tag '!!str' is not read"),
        ("a: *b", "the alias '\\*b' is unknown"),
        ("a: &b [*b]", "stands inside what it names"),
        ("a:\n\t- b", "line 2: a tab is used for indentation"),
        ("a: *.bias", "text that begins with \\* is put in quotes"),
        ("a: 'open", "r.yaml, line 1: not YAML"),
        ("a: 1\n---\nb: 1\n", "line 2: a second document begins"),
        ("a: \x1b[31m", "control character U\\+001B"),
    ],
)
def test_what_is_no_recipe_is_refused_with_its_line(text, words):
    with pytest.raises(RecipeError, match=words):
        read(text)


def test_a_quoted_merge_key_is_text():
    assert read("'<<': 1") == {"<<": 1}
