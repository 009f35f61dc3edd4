"""What a recipe can say of its images, and what of it fits together."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunekit.errors import RecipeError
from prunekit.measure.feed import Feed
from prunekit.recipe import check_references, dump_recipe, load_recipe

PRUNE = {"method": "filter", "target": {"channel_ratio": 0.5}}


def data(**sections):
    return load_recipe({"prune": PRUNE, "data": sections}).data


def refusal(purpose="train", **keys):
    with pytest.raises(RecipeError) as caught:
        check_references(load_recipe({"prune": PRUNE, "data": {purpose: keys}}))
    return str(caught.value)


def test_the_defaults_are_those_of_papers():
    section = data(train={"folder": "HR"}).train
    assert (section.lr_folder, section.modcrop, section.alpha) == (None, None, "refuse")
    assert (section.skip_unreadable, section.frames, section.target) == (False, None, "all")


def test_folders_are_cached_and_photographs_are_not_unless_told():
    assert data(train={"folder": "HR"}).train.cached
    assert data(train={"clips": "GT"}).train.cached
    assert not data(train={"photographs": "scikit-image"}).train.cached
    assert not data(train={"folder": "HR", "cache": False}).train.cached
    assert data(train={"photographs": "scikit-image", "cache": True}).train.cached


def test_the_cache_has_a_folder_and_a_limit():
    assert (data().cache.folder, data().cache.limit_gib) == (None, 64.0)
    assert data(cache={"folder": "c", "limit_gib": 2}).cache.folder == Path.cwd() / "c"


@pytest.mark.parametrize("key", ["folder", "clips", "lr_folder"])
def test_every_path_is_relative_to_the_recipe(tmp_path, key):
    other = "" if key != "lr_folder" else ", folder: HR"
    prune = "prune: {method: filter, target: {channel_ratio: 0.5}}\n"
    text = f"{prune}data: {{train: {{{key}: x{other}}}}}\n"
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    section = load_recipe(tmp_path / "r.yaml").data.train
    assert getattr(section, key) == tmp_path / "x"


def test_a_section_with_every_key_is_written_and_read_again():
    sections = {
        "train": {
            "clips": "/GT",
            "lr_folder": "/LR",
            "names": ["walk"],
            "modcrop": 12,
            "alpha": "drop",
            "skip_unreadable": True,
            "cache": False,
            "frames": 5,
            "target": "centre",
        },
        "evaluate": {
            "clips": "/GT",
            "names": ["city"],
            "frames": 5,
            "target": "centre",
            "padding": "circle",
        },
        "cache": {"folder": "/c", "limit_gib": 0.5},
    }
    recipe = load_recipe({"prune": PRUNE, "data": sections})
    text = dump_recipe(recipe)
    assert "limit_gib: 0.5" in text
    written = recipe.model_dump(mode="json", exclude_none=True)["data"]
    assert load_recipe({"prune": PRUNE, "data": written}) == recipe


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({}, "needs one of 'folder', 'photographs', 'clips'"),
        ({"folder": "a", "clips": "b"}, "has 'folder' and 'clips', which exclude each other"),
        ({"photographs": "scikit-image", "lr_folder": "b"}, "has 'lr_folder', which 'photographs'"),
        ({"folder": "a", "frames": 3}, "has 'frames', which are of 'clips'"),
        ({"clips": "a", "target": "centre"}, "needs an odd number of 'frames'"),
        ({"clips": "a", "frames": 4, "target": "centre"}, "needs an odd number of 'frames'"),
        (
            {"clips": "a", "frames": 0},
            "'data.train.frames' is 0; allowed: a whole number, at least",
        ),
        ({"folder": "a", "modcrop": 0}, "'data.train.modcrop' is 0"),
        ({"folder": "a", "alpha": "keep"}, "allowed: 'refuse', 'drop'"),
        ({"folder": "a", "skip_unreadable": 1}, "allowed: true or false"),
        ({"folder": "a", "skip_unreadabel": True}, "did you mean 'skip_unreadable'"),
        ({"folder": "a", "dataroot_lq": "b"}, "unknown key 'dataroot_lq'"),
        ({"folder": "a", "limit_gib": 3}, "'limit_gib' belongs under 'data.cache'"),
    ],
)
def test_what_does_not_fit_together_is_one_sentence(keys, sentence):
    assert sentence in refusal(**keys)


@pytest.mark.parametrize(
    ("keys", "feed"),
    [
        ({}, None),
        ({"frames": "whole"}, Feed()),
        ({"frames": 20}, Feed(20)),
        ({"frames": 5, "target": "centre"}, Feed(5, "centre", "reflection_circle")),
        ({"frames": 7, "target": "centre", "padding": "replicate"}, Feed(7, "centre", "replicate")),
    ],
)
def test_networks_of_clips_are_evaluated_on_clips_in_parts_and_in_windows(keys, feed):
    assert data(evaluate={"clips": "GT", **keys}).evaluate.feed == feed


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"folder": "a", "frames": "whole"}, "'data.evaluate' has 'frames', which are of 'clips'"),
        ({"clips": "a", "frames": "all"}, "allowed: 'whole', or a whole number, at least 1"),
        ({"clips": "a", "frames": 0}, "allowed: 'whole', or a whole number, at least 1"),
        (
            {"clips": "a", "target": "centre"},
            "'data.evaluate' cannot be: target 'centre' is of networks that are given several",
        ),
        (
            {"clips": "a", "frames": 4, "target": "centre"},
            "target 'centre' needs an odd number of frames, which 4 is not",
        ),
        ({"clips": "a", "frames": "whole", "target": "centre"}, "which whole is not"),
        ({"clips": "a", "frames": 5, "padding": "circle"}, "padding 'circle' is of windows, whi"),
        ({"clips": "a", "frames": 5, "padding": "reflect"}, "did you mean 'reflection'?"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(keys, sentence):
    assert sentence in refusal("evaluate", **keys)


@pytest.mark.parametrize("limit", [0, -1, "1GB"])
def test_a_cache_without_room_is_refused(limit):
    with pytest.raises(RecipeError, match=r"'data\.cache\.limit_gib' is .*; allowed: a number"):
        data(cache={"limit_gib": limit})


def test_what_is_named_exists(tmp_path):
    (tmp_path / "HR").mkdir()
    (tmp_path / "HR" / "a.png").touch()
    (tmp_path / "GT" / "walk").mkdir(parents=True)
    (tmp_path / "file").touch()
    hr, gt, none = (str(tmp_path / name) for name in ("HR", "GT", "none"))
    assert "'data.train.lr_folder' is" in refusal(folder=hr, lr_folder=none)
    assert "holds no image" in refusal(folder=hr, lr_folder=gt)
    assert "'data.train.clips' is" in refusal(clips=none)
    assert "holds no clip; a clip is a folder of frames" in refusal(clips=hr)
    assert "holds no clip" in refusal(clips=gt, lr_folder=hr)
    assert "has 'wolk'; did you mean 'walk'?" in refusal(clips=gt, names=["wolk"])
    recipe = {"prune": PRUNE, "data": {"cache": {"folder": str(tmp_path / "file")}}}
    with pytest.raises(RecipeError, match=r"'data\.cache\.folder' is .*, which is not a folder"):
        check_references(load_recipe(recipe))
    good = {"clips": gt, "lr_folder": gt, "names": ["walk"]}
    check_references(load_recipe({"prune": PRUNE, "data": {"train": good}}))
