"""A recipe that is written reads back as an equal recipe, and the schema explains every field."""

from __future__ import annotations

import json
import string
import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prunekit.recipe import Recipe, dump_recipe, load_recipe, recipe_schema
from prunekit.recipe.nodes import Place, to_plain
from prunekit.recipe.reader import read_yaml, scalar_from_text

AMBIGUOUS = [
    *("no", "yes", "on", "off", "true", "null", "~", "", " ", "=", "<<", "-", "?", ":", "#", "*a"),
    *("1", "1e5", "1e-4", ".5", "5.", "0o17", "0x1f", "017", "1_000", "1:30", ".inf", ".nan", "+1"),
    *(
        "2024-01-31",
        "a: b",
        "a #b",
        "'",
        '"',
        "\t",
        "\n",
        "a\nb ",
        "\x85",
        "\u2028",
        "ä",
        "😀",
        "\x7f",
    ),
    *("%x", "@x", "`x`", "!x", "&x", "| x", "> x", "[", "{", ",", "---", "..."),
]

words = st.text(string.ascii_letters + string.digits + "_", min_size=1, max_size=8)
anything = st.sampled_from(AMBIGUOUS) | st.text(max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(10**50), 10**50)
    | st.floats(allow_nan=False, allow_infinity=False)
    | anything
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(anything, inner, max_size=3),
    max_leaves=8,
)
ratios = st.floats(0.01, 0.99)


unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


def optional(**keys):
    return st.fixed_dictionaries({}, optional=keys)


targets = st.sampled_from(["channel_ratio", "macs_ratio", "params_ratio"]).flatmap(
    lambda key: st.fixed_dictionaries({key: ratios})
)
prunes = st.fixed_dictionaries(
    {"method": st.just("filter"), "target": targets},
    optional={
        "criterion": st.sampled_from(["l1", "l2", "random"]),
        "normalisation": st.sampled_from(["none", "mean", "gaussian"]),
        "allocation": st.sampled_from(["local", "global", "uniform"]),
        "round_to": st.integers(1, 64),
        "protect": st.lists(words | st.sampled_from(["*", "no", "1e5", "[a]*"]), max_size=3),
    },
).filter(lambda prune: "normalisation" not in prune or prune.get("allocation") == "global")
weights = st.fixed_dictionaries(
    {
        "method": st.just("unstructured"),
        "target": st.fixed_dictionaries({"sparsity": ratios})
        | st.fixed_dictionaries({"weight_ratio": ratios})
        | st.fixed_dictionaries({"pattern": st.sampled_from(["2:4", "1:30", "59:64"])}),
    },
    optional={
        "layers": st.lists(words | st.sampled_from(["*", "no"]), min_size=1, max_size=3),
        "protect": st.lists(words, max_size=3),
        "store": st.sampled_from(["sparse", "dense"]),
    },
)
trains = st.fixed_dictionaries(
    {"steps": st.integers(1, 10**6)},
    optional={
        "learning_rate": st.floats(1e-9, 1),
        "clip_norm": st.floats(1e-9, 1e3),
        "distill": optional(weight=st.floats(1e-3, 10), cache_teacher=st.booleans()),
    },
)
models = st.fixed_dictionaries(
    {"network": anything},
    optional={
        "arguments": st.dictionaries(anything, values, max_size=3),
        "weights": words,
        "scale": st.integers(1, 8),
    },
)
images = st.fixed_dictionaries(
    {"folder": words}, optional={"names": st.lists(anything, min_size=1, max_size=3)}
)
stages = st.fixed_dictionaries({"prune": prunes}) | st.fixed_dictionaries({"train": trains})
plain = {
    "data": st.fixed_dictionaries({"train": images, "evaluate": images}),
}
rest = {
    "name": words,
    "seed": st.integers(0, 2**32 - 1),
    "device": st.sampled_from(["auto", "cpu", "cuda", "cuda:1"]),
    "model": models,
    "evaluate": optional(border=st.integers(0, 8), latency=optional(repeats=st.integers(1, 9))),
    "report": optional(formats=st.lists(st.sampled_from(["html", "json", "md"]), max_size=3)),
}
recipes = st.fixed_dictionaries(
    {**plain, "prune": prunes | weights}, optional={**rest, "train": trains}
) | st.fixed_dictionaries(
    {
        **plain,
        "stages": st.tuples(st.just({"prune": {"method": "filter", "target": {"macs_ratio": 0.5}}}))
        .map(list)
        .flatmap(lambda first: st.lists(stages, max_size=3).map(lambda more: first + more)),
    },
    optional=rest,
)


@unhurried
@given(recipes)
def test_a_written_recipe_reads_back_equal(source):
    recipe = load_recipe(source)
    text = dump_recipe(recipe)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "r.yaml"
        file.write_text(text, encoding="utf-8")
        assert load_recipe(file) == recipe
    assert load_recipe(recipe, ["seed=7"]) == load_recipe(source, ["seed=7"])


@pytest.mark.parametrize("text", AMBIGUOUS, ids=ascii)
def test_ambiguous_text_stays_text(text):
    recipe = load_recipe(
        {
            "prune": {"method": "filter", "target": {"macs_ratio": 0.5}},
            "model": {"network": text, "arguments": {text: [text]}},
        }
    )
    node = read_yaml(dump_recipe(recipe), Place("dump"))

    assert to_plain(node)["model"]["arguments"] == {text: [text]}
    assert to_plain(node)["model"]["network"] == text


@unhurried
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_other_tools_write_them(number):
    assert scalar_from_text(repr(number)) == number
    assert scalar_from_text(json.dumps(number)) == number


@unhurried
@given(recipes)
def test_plain_pyyaml_agrees_on_what_was_written(source):
    text = dump_recipe(load_recipe(source))

    assert yaml.safe_load(text) == to_plain(read_yaml(text, Place("dump")))


def test_what_is_not_given_is_not_written():
    recipe = load_recipe({"prune": {"method": "filter", "target": {"macs_ratio": "45%"}}})
    written = yaml.safe_load(dump_recipe(recipe))

    assert written["prune"]["target"] == {"macs_ratio": 0.45}
    assert {"train", "stages", "model", "data", "evaluate"}.isdisjoint(written)


# the schema


def fields():
    schema = recipe_schema()
    for name, definition in {"Recipe": schema, **schema["$defs"]}.items():
        for key, field in definition.get("properties", {}).items():
            yield pytest.param(schema, field, id=f"{name}.{key}")


@pytest.mark.parametrize(("schema", "field"), list(fields()))
def test_every_field_of_the_schema_is_described(schema, field):
    if "$ref" in field:
        field = {**schema["$defs"][field["$ref"].rsplit("/", 1)[-1]], **field}
    description = field.get("description", "")

    assert len(description) > 10
    assert description.endswith((".", "`"))


def test_the_schema_knows_every_section_and_extends():
    schema = recipe_schema()

    assert {"extends", *Recipe.model_fields} == set(schema["properties"])
    assert schema["additionalProperties"] is False
    assert json.loads(json.dumps(schema)) == schema


def test_the_schema_says_which_keys_exclude_each_other():
    stage = recipe_schema()["$defs"]["Stage"]

    assert stage["oneOf"] == [{"required": ["prune"]}, {"required": ["train"]}]


def test_the_schema_says_that_a_target_needs_at_least_one_key():
    target = recipe_schema()["$defs"]["Target"]

    named = [key for option in target["anyOf"] for key in option["required"]]
    assert set(named) == target["properties"].keys() - {"output_size"}
