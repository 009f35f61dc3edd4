"""How a recipe says by which protocol held-out images are compared."""

from __future__ import annotations

import pytest

from prunekit.measure.protocol import PROTOCOLS, Protocol
from prunekit.recipe import dump_recipe, load_recipe

PRUNE = {"method": "filter", "target": {"channel_ratio": 0.5}}
IMAGES = {"photographs": "scikit-image"}


def protocol(evaluate=None, **images):
    sections = {} if evaluate is None else {"evaluate": evaluate}
    data = {"evaluate": {**IMAGES, **images}}
    return load_recipe({"prune": PRUNE, "data": data, **sections}).protocol


def test_the_default_is_that_of_most_papers():
    assert protocol() == protocol({}) == PROTOCOLS["y"]
    assert load_recipe({"prune": PRUNE}).protocol == PROTOCOLS["y"]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_can_be_named(name):
    assert protocol({"protocol": name}) == PROTOCOLS[name]


def test_parts_are_stated_otherwise():
    assert protocol({"protocol": "ntire", "border": 0}) == Protocol("rgb", 0)
    assert protocol({"protocol": "reds4", "channels": "y", "border": 4}) == Protocol("y", 4)
    assert protocol({"channels": "rgb", "modcrop": 8}) == Protocol("rgb", None, 8)


def test_the_crop_of_the_images_counts_where_no_other_is_stated():
    assert protocol({}, modcrop=8) == protocol(modcrop=8) == Protocol("y", None, 8)
    assert protocol({"protocol": "reds4"}, modcrop=16) == Protocol("rgb", 0, 16)
    assert protocol({"protocol": "gtmod12"}, modcrop=12) == PROTOCOLS["gtmod12"]


def test_it_is_written_and_read_again():
    section = {"protocol": "ntire", "channels": "y", "border": 2, "modcrop": 6}
    recipe = load_recipe({"prune": PRUNE, "data": {"evaluate": IMAGES}, "evaluate": section})
    assert "protocol: ntire" in dump_recipe(recipe)
    written = recipe.model_dump(mode="json", exclude_none=True)
    assert load_recipe(written) == recipe
