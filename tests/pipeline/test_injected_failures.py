"""An error at any place of planning, rebuilding, proving and saving leaves everything as it was."""

from __future__ import annotations

import importlib

import pytest
import torch

import prunekit
from prunekit.nets import EDSR
from tests.untouched import assert_untouched, picture

RECIPE = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}

PLACES = (
    "prunekit.methods.filter:score_some",
    "prunekit.methods.filter:make_plan",
    "prunekit.plan.make:bundles_of",
    "prunekit.plan.make:chooser_for",
    "prunekit.plan.make:plan_units",
    "prunekit.plan.make:_best",
    "prunekit.plan.make:_tensor_plans",
    "prunekit.plan.make:_lengths",
    "prunekit.plan.choose:_ladder",
    "prunekit.plan.make:comparable",
    "prunekit.plan.make:limits_of",
    "prunekit.plan.make:rules_of",
    "prunekit.surgery.apply:rebuild",
    "prunekit.surgery.apply:_slim",
    "prunekit.surgery.apply:copy_with",
    "prunekit.surgery.apply:_set_attributes",
    "prunekit.surgery.apply:write_path",
    "prunekit.surgery.verify:edited_copy",
    "prunekit.surgery.verify:compare",
    "prunekit.surgery.verify:generic_error_of",
    "prunekit.surgery.verify:_check_training",
    "prunekit.pipeline.store:save_slim",
    "prunekit.pipeline.store:write_atomic",
    "prunekit.pipeline.store:dump_recipe",
    "prunekit.pipeline.store:to_json",
    "prunekit.surgery.store:_unique_state",
    "prunekit.surgery.store:_digest",
    "prunekit.surgery.store:save",
    "prunekit.surgery.store:write_atomic",
    "prunekit.files:sync_folder",
)


class InjectedError(Exception):
    pass


@pytest.mark.parametrize("place", PLACES)
def test_an_error_anywhere_changes_neither_the_network_nor_the_files(place, tmp_path, monkeypatch):
    torch.manual_seed(3)
    dense, image = EDSR(channels=16, blocks=1), torch.rand(1, 3, 12, 12)
    folder = prunekit.prune(dense, RECIPE, image).save(tmp_path / "run")
    before = picture(dense)
    content = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
    calls = []

    def failing(*_: object, **__: object) -> None:
        calls.append(place)
        raise InjectedError

    module, name = place.split(":")
    monkeypatch.setattr(importlib.import_module(module), name, failing)
    with pytest.raises((InjectedError, prunekit.PrunekitError)):
        prunekit.prune(dense, RECIPE, image).save(folder, overwrite=True)
    monkeypatch.undo()

    assert calls
    assert_untouched(dense, before)
    files = {file: file.read_bytes() for file in sorted(tmp_path.rglob("*")) if file.is_file()}
    assert files == content
    assert prunekit.load(folder, EDSR(channels=16, blocks=1)) is not None
