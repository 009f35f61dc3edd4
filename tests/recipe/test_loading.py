"""From a file, a mapping or another recipe to the typed form: extends, overrides, paths."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prunekit.errors import RecipeError
from prunekit.recipe import Recipe, load_model_section, load_recipe, read_recipe, recipe_schema
from prunekit.recipe.load import MAX_EXTENDS, PATHS

SMALLEST = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}
PRUNE = "prune:\n  method: filter\n  target: {channel_ratio: 0.5}\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def message_of(source, *overrides):
    with pytest.raises(RecipeError) as caught:
        load_recipe(source, overrides)
    return str(caught.value)


def test_the_smallest_recipe_loads_with_its_defaults():
    recipe = load_recipe(SMALLEST)

    assert recipe.prune.target.channel_ratio == 0.5
    assert (recipe.prune.criterion, recipe.prune.allocation) == ("l2", "local")
    assert (recipe.prune.round_to, recipe.prune.min_width) == (8, 8)
    assert (recipe.name, recipe.seed, recipe.device, recipe.output) == (
        "run",
        0,
        "auto",
        Path("runs"),
    )
    assert recipe.model is recipe.data is recipe.train is recipe.evaluate is None


def test_a_file_a_path_and_a_mapping_say_the_same(tmp_path):
    file = write(tmp_path / "r.yaml", PRUNE)

    assert load_recipe(file) == load_recipe(str(file)) == load_recipe(SMALLEST)


def test_a_recipe_is_its_own_source():
    recipe = load_recipe(SMALLEST)

    assert load_recipe(recipe) == recipe
    assert load_recipe(recipe, ["seed=3"]).seed == 3
    assert recipe.seed == 0


def test_a_recipe_cannot_be_changed():
    recipe = load_recipe(SMALLEST)

    with pytest.raises(ValueError, match="frozen"):
        recipe.seed = 1


def test_the_stages_of_prune_and_train_are_prune_then_train():
    train = {"train": {"steps": 10}, "data": {"train": {"photographs": "scikit-image"}}}
    recipe = load_recipe({**train, **SMALLEST})

    first, second = recipe.steps
    assert first.prune == recipe.prune
    assert second.train == recipe.train
    assert load_recipe(SMALLEST).steps == (first,)


def test_stages_keep_their_order():
    recipe = load_recipe(
        {
            "data": {"train": {"photographs": "scikit-image"}},
            "stages": [{"train": {"steps": 5}}, SMALLEST, {"train": {"steps": 7}}],
        }
    )

    assert [stage.train.steps if stage.train else "prune" for stage in recipe.steps] == [
        5,
        "prune",
        7,
    ]


@pytest.mark.parametrize(
    ("written", "ratio"), [("45%", 0.45), ("12.5%", 0.125), (0.45, 0.45), (".5", None)]
)
def test_a_ratio_is_a_number_or_a_percentage(written, ratio):
    source = {"prune": {"method": "filter", "target": {"macs_ratio": written}}}
    if ratio is None:
        assert "allowed: a number, above 0 and below 1" in message_of(source)
    else:
        assert load_recipe(source).prune.target.macs_ratio == ratio


def test_a_float_that_is_whole_counts_as_a_whole_number():
    assert load_recipe(SMALLEST, ["seed=1e3"]).seed == 1000
    assert "'seed' is 1.5; allowed: a whole number" in message_of(SMALLEST, "seed=1.5")


@pytest.mark.parametrize("value", ["true", "'1'", "[1]", "{a: 1}"])
def test_what_only_looks_like_a_number_is_refused(value):
    assert "allowed: a whole number" in message_of(SMALLEST, f"seed={value}")


def test_paths_are_relative_to_the_recipe_except_output(tmp_path, monkeypatch):
    file = write(
        tmp_path / "recipes" / "r.yaml",
        PRUNE
        + "output: out\nmodel: {network: edsr, weights: w/a.safetensors}\n"
        + "data: {train: {folder: ../photos}, evaluate: {folder: /abs}}\n",
    )
    monkeypatch.chdir("/")
    recipe = load_recipe(file)

    root = Path(os.path.realpath(tmp_path))
    assert recipe.model.weights == root / "recipes" / "w" / "a.safetensors"
    assert recipe.data.train.folder == root / "photos"
    assert recipe.data.evaluate.folder == Path("/abs")
    assert recipe.output == Path("out")


def test_paths_of_mappings_and_overrides_are_relative_to_here(tmp_path, monkeypatch):
    file = write(tmp_path / "recipes" / "r.yaml", PRUNE)
    monkeypatch.chdir(tmp_path)
    here = Path.cwd()

    assert load_recipe(file, ["data.train.folder=p"]).data.train.folder == here / "p"
    mapping = {**SMALLEST, "data": {"train": {"folder": "p"}}}
    assert load_recipe(mapping).data.train.folder == here / "p"


def test_every_path_in_the_schema_is_made_absolute_except_output():
    schema = recipe_schema()

    def paths(node, prefix=()):
        if "$ref" in node:
            node = schema["$defs"][node["$ref"].rsplit("/", 1)[-1]]
        if node.get("format") == "path":
            yield prefix
        for arm in node.get("anyOf", ()):
            yield from paths(arm, prefix)
        for key, part in node.get("properties", {}).items():
            yield from paths(part, (*prefix, key))

    assert set(paths(schema)) == {*PATHS, ("output",)}


# extends


def test_a_recipe_replaces_keys_of_the_one_it_extends(tmp_path):
    write(
        tmp_path / "base" / "base.yaml",
        PRUNE
        + "  protect: [a, b]\nseed: 1\nname: base\ndata: {evaluate: {folder: photos}}\n"
        + "report: {formats: [html], crops: 2}\n",
    )
    file = write(
        tmp_path / "r.yaml",
        "extends: base/base.yaml\nseed: 2\n"
        "prune: {round_to: 16, protect: [c]}\nreport: {crops: 3}\n",
    )
    recipe = load_recipe(file)

    assert (recipe.name, recipe.seed) == ("base", 2)
    assert (recipe.prune.method, recipe.prune.round_to) == ("filter", 16)
    assert recipe.prune.protect == ("c",)
    assert (recipe.report.formats, recipe.report.crops) == (("html",), 3)
    assert recipe.data.evaluate.folder == Path(os.path.realpath(tmp_path)) / "base" / "photos"


def test_null_takes_an_inherited_key_away(tmp_path):
    write(tmp_path / "base.yaml", PRUNE)
    file = write(
        tmp_path / "r.yaml",
        "extends: base.yaml\nprune: {target: {channel_ratio: null, macs_ratio: 0.4}}\n",
    )

    target = load_recipe(file).prune.target
    assert (target.channel_ratio, target.macs_ratio) == (None, 0.4)


def test_an_alternative_beside_an_inherited_one_is_refused_with_the_way_out(tmp_path):
    write(tmp_path / "base.yaml", PRUNE)
    file = write(tmp_path / "r.yaml", "extends: base.yaml\nprune: {target: {macs_ratio: 0.4}}\n")

    assert "exclude each other; keep one, and set an inherited one to null" in message_of(file)


def test_a_fault_in_the_base_is_placed_in_the_base(tmp_path):
    write(tmp_path / "base.yaml", "# base\nseed: -1\n")
    file = write(tmp_path / "r.yaml", "extends: base.yaml\n" + PRUNE)

    assert f"{tmp_path / 'base.yaml'}, line 2: 'seed' is -1" in message_of(file)


def test_recipes_that_extend_each_other_are_refused(tmp_path):
    write(tmp_path / "a.yaml", "extends: b.yaml\n" + PRUNE)
    write(tmp_path / "b.yaml", "extends: ./a.yaml\n")

    assert "'extends' comes back to" in message_of(tmp_path / "a.yaml")


def test_the_chain_of_extends_is_limited(tmp_path):
    write(tmp_path / "0.yaml", PRUNE)
    for number in range(1, MAX_EXTENDS + 2):
        write(tmp_path / f"{number}.yaml", f"extends: {number - 1}.yaml\n")

    assert load_recipe(tmp_path / f"{MAX_EXTENDS}.yaml").prune is not None
    assert "more than 8 recipes" in message_of(tmp_path / f"{MAX_EXTENDS + 1}.yaml")


def test_the_size_limit_holds_for_all_files_together(tmp_path):
    padding = "#" * 700_000
    write(tmp_path / "a.yaml", PRUNE + padding)
    file = write(tmp_path / "b.yaml", "extends: a.yaml\n" + padding)

    assert load_recipe(tmp_path / "a.yaml").prune is not None
    assert "more than 1048576 bytes" in message_of(file)


# overrides


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("prune.target.channel_ratio=0.3", ["prune", "target", "channel_ratio"], 0.3),
        ("prune.target.channel_ratio=30%", ["prune", "target", "channel_ratio"], 0.3),
        ("name=edsr-half", ["name"], "edsr-half"),
        ("prune.protect=[head.*, 'tail']", ["prune", "protect"], ("head.*", "tail")),
        ("report.crops = 2", ["report", "crops"], 2),
    ],
)
def test_an_override_changes_one_value(assignment, path, value):
    changed = load_recipe(SMALLEST, [assignment])
    for part in path:
        changed = getattr(changed, part)
    assert changed == value


def test_an_override_reaches_into_a_list():
    source = {
        "data": {"train": {"photographs": "scikit-image"}},
        "stages": [SMALLEST, {"train": {"steps": 1}}],
    }

    assert load_recipe(source, ["stages.1.train.steps=5"]).steps[1].train.steps == 5
    assert "'2' is no entry of the list 'stages'; there is 0 to 1" in message_of(
        source, "stages.2.train.steps=5"
    )


def test_an_override_says_where_a_key_stands_that_is_in_stages():
    source = {
        "data": {"train": {"photographs": "scikit-image"}},
        "stages": [SMALLEST, {"train": {"steps": 1}}, SMALLEST],
    }

    assert "set 'stages.0.prune.round_to' or 'stages.2.prune.round_to'" in message_of(
        source, "prune.round_to=16"
    )
    changed = load_recipe(source, ["stages.2.prune.round_to=16"])
    assert [stage.prune.round_to for stage in changed.steps if stage.prune] == [8, 16]


def test_an_override_switches_alternatives():
    target = load_recipe(
        SMALLEST, ["prune.target.macs_ratio=0.5", "prune.target.channel_ratio=null"]
    ).prune.target

    assert (target.channel_ratio, target.macs_ratio) == (None, 0.5)


def test_an_override_leaves_the_source_alone():
    source = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}
    load_recipe(source, ["prune.target.channel_ratio=0.1", "seed=4"])

    assert source == SMALLEST


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("seed", "--set seed: is not of the form KEY=VALUE"),
        ("=1", "is not of the form KEY=VALUE"),
        ("prune..round_to=1", "is not of the form KEY=VALUE"),
        ("seed=", "write seed=null to take the key away"),
        ("prun.round_to=8", "unknown key 'prun'; did you mean 'prune'?"),
        ("prune.method.x=8", "'prune.method' is a single value and has no keys"),
        ("prune.protect=[a", "--set prune.protect=[a: not YAML"),
        ("extends=other.yaml", "'extends' can be set in a recipe file only"),
        ("prune.round_to=65", "--set prune.round_to=65: 'prune.round_to' is 65; allowed:"),
    ],
)
def test_a_bad_override_is_named_as_it_was_typed(assignment, words):
    assert words in message_of(SMALLEST, assignment)


# null


def test_a_key_that_is_null_counts_as_not_given():
    recipe = load_recipe({**SMALLEST, "train": None, "seed": None, "stages": None})

    assert recipe == load_recipe(SMALLEST)


def test_null_is_a_value_among_the_arguments_of_a_network():
    model = {"network": "edsr", "arguments": {"norm": None, "deep": {"er": None}}}

    assert load_recipe({**SMALLEST, "model": model}).model.arguments == model["arguments"]


# mappings from Python


def test_a_mapping_holds_plain_data_only():
    assert "a set cannot stand in a recipe" in message_of({**SMALLEST, "seed": {1}})
    assert "the key 1 is not text" in message_of({1: 2})
    loop: dict[str, object] = {}
    loop["prune"] = loop
    assert "nested more than" in message_of(loop)


def test_a_mapping_may_hold_paths_and_tuples():
    recipe = load_recipe(
        {
            "prune": {"method": "filter", "target": {"macs_ratio": 0.5}, "protect": ("a",)},
            "output": Path("x"),
        }
    )

    assert recipe.prune.protect == ("a",)
    assert recipe.output == Path("x")


def test_a_mapping_may_extend_a_file(tmp_path, monkeypatch):
    write(tmp_path / "base.yaml", PRUNE)
    monkeypatch.chdir(tmp_path)

    assert load_recipe({"extends": "base.yaml", "seed": 2}).seed == 2


# files


@pytest.mark.parametrize("name", ["nowhere.yaml", ".", "a\0b", "x" * 5000])
def test_a_file_that_cannot_be_read_is_refused(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    assert "cannot be read" in message_of(name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")

    assert "it is not a regular file" in message_of(tmp_path / "pipe.yaml")


def test_a_misspelt_file_name_gets_a_suggestion(tmp_path):
    write(tmp_path / "quickstart.yaml", PRUNE)

    assert "did you mean 'quickstart.yaml'?" in message_of(tmp_path / "quickstrat.yaml")


# messages


def test_unknown_keys_go_first_and_the_rest_is_counted(tmp_path):
    file = write(
        tmp_path / "r.yaml",
        "seed: x\nprune:\n  method: filter\n  target: {channel_ratio: 2}\n  criterio: l1\n",
    )

    message = message_of(file)
    assert "line 5: unknown key 'criterio'" in message
    assert message.endswith("(and 2 more problems)")


def test_of_equal_mistakes_the_first_line_goes_first(tmp_path):
    file = write(tmp_path / "r.yaml", PRUNE.replace("0.5", "2") + "  round_to: 0\nseed: -1\n")

    assert "line 3: 'prune.target.channel_ratio' is 2" in message_of(file)


def test_a_long_value_is_cut_short():
    assert len(message_of(SMALLEST, f"prune.method={'x' * 10_000}")[10_000:]) < 300


def test_the_places_of_a_draft_are_those_of_its_file(tmp_path):
    draft = read_recipe(write(tmp_path / "r.yaml", PRUNE), ["seed=1"])

    assert draft.place("prune", "method").line == 2
    assert str(draft.place("seed")) == "--set seed=1"
    assert draft.recipe == load_recipe(SMALLEST, ["seed=1"])


def test_a_model_section_is_read_alone():
    section = load_model_section(
        {"network": "edsr"}, source="the command line", arguments=["channels=16", "bias=null"]
    )

    assert section.arguments == {"channels": 16, "bias": None}
    with pytest.raises(RecipeError, match="--arguments x: is not of the form KEY=VALUE"):
        load_model_section({"network": "edsr"}, source="here", arguments=["x"])


def test_recipes_are_equal_if_they_say_the_same():
    assert load_recipe(SMALLEST) == Recipe.model_validate(SMALLEST)
    assert load_recipe(SMALLEST) != load_recipe(SMALLEST, ["seed=1"])
