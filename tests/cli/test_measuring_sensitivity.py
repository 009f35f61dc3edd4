"""`prunekit sensitivity`, and runs that allocate by it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from prunekit.cli import main
from tests.pipeline.samples import split, write_images

FACTORY = """
import torch
from prunekit.nets import EDSR

def build(channels=16):
    print("from the network")
    torch.manual_seed(3)
    return EDSR(channels=channels, blocks=2)
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PRUNEKIT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "sensitive.py").write_text(FACTORY)
    write_images(tmp_path / "images")
    return tmp_path


def write_recipe(here: Path, **changes: object) -> str:
    recipe: dict[str, object] = {
        "model": {"factory": "sensitive:build"},
        "data": split(here / "images"),
        "prune": {
            "method": "filter",
            "target": {"macs_ratio": 0.3},
            "allocation": "sensitivity",
            "round_to": 4,
            "min_width": 4,
            "sensitivity": {"crop": 16, "points": 2},
        },
        **changes,
    }
    (here / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return "recipe.yaml"


def test_table_json_and_page_say_the_same(here, capsys):
    recipe = write_recipe(here)
    assert main(["sensitivity", recipe, "--json", "out.json", "--html", "out.html"]) == 0
    out, err = capsys.readouterr()
    assert "from the network" not in out
    assert "measure sensitivity, 8 steps" in err
    content = json.loads((here / "out.json").read_text())
    assert content["format"] == "prunekit-sensitivity/1"
    assert content["images"] == 2
    names = [curve["groups"] for curve in content["curves"]]
    assert names == [["trunk"], ["body.0 hidden"], ["body.1 hidden"], ["tail.0.0 / 4"]]
    page = (here / "out.html").read_text()
    for curve in content["curves"]:
        assert curve["removed"] == [4, 12]
        assert curve["groups"][0] in out
        assert f"<td>{curve['drop'][1]:.2f}</td>" in page
        assert f"{curve['drop'][1]:.2f}" in out
    assert page.count("<svg") == 1


def test_a_second_time_and_the_run_measure_nothing_more(here, capsys):
    recipe = write_recipe(here)
    assert main(["sensitivity", recipe]) == 0
    first = capsys.readouterr()
    assert "8 measured, 0 known before" in first.err
    assert main(["sensitivity", recipe]) == 0
    second = capsys.readouterr()
    assert "0 measured, 8 known before" in second.err
    assert first.out == second.out
    for command in (["run", "--dry-run", recipe], ["run", recipe]):
        assert main(command) == 0
        assert "0 measured, 8 known before" in capsys.readouterr().err
    plan = json.loads((here / "runs" / "run" / "plan.json").read_text())
    assert plan["macs"][1] <= 0.7 * plan["macs"][0]


def test_a_dry_run_measures_and_writes_nothing_but_the_cache(here, capsys):
    recipe = write_recipe(here)
    before = {path.name for path in here.iterdir()}
    assert main(["run", "--dry-run", recipe]) == 0
    assert "8 measured" in capsys.readouterr().err
    assert {path.name for path in here.iterdir()} - before <= {"cache", "__pycache__"}


def test_a_recipe_that_allocates_otherwise_is_measured_on_what_images_it_has(here, capsys):
    prune = {"method": "filter", "target": {"macs_ratio": 0.3}}
    data = {"evaluate": split(here / "images")["evaluate"]}
    assert main(["sensitivity", write_recipe(here, prune=prune, data=data)]) == 0
    assert "on 2 images" in capsys.readouterr().out
    assert main(["sensitivity", write_recipe(here, prune=prune, data=None)]) == 2
    assert "no images to measure on; name some in 'data.train'" in capsys.readouterr().err


def test_images_may_be_those_that_are_evaluated_on(here, capsys):
    recipe = write_recipe(here)
    command = ["sensitivity", recipe, "--set", "prune.sensitivity.data=evaluate"]
    assert main([*command, "--json", "out.json"]) == 0
    on_evaluate = json.loads((here / "out.json").read_text())["dense"]
    assert main(["sensitivity", recipe, "--json", "out.json"]) == 0
    assert json.loads((here / "out.json").read_text())["dense"] != on_evaluate
    assert "8 measured, 0 known before" in capsys.readouterr().err


FISHER = {
    "method": "filter",
    "target": {"macs_ratio": 0.3},
    "allocation": "sensitivity",
    "round_to": 4,
    "min_width": 4,
    "sensitivity": {"crop": 16, "points": 1},
    "criterion": "fisher",
    "calibration": {"batches": 2, "batch_size": 1, "patch_size": 8},
}


def test_units_that_leave_are_those_of_a_criterion_that_looks_at_images(here, capsys):
    recipe = write_recipe(here, prune=FISHER, evaluate={"border": 4})
    for command in (["sensitivity"], ["run", "--dry-run"], ["run"]):
        assert main([*command, recipe]) == 0
        found = "4 measured, 0" if command == ["sensitivity"] else "0 measured, 4"
        assert f"{found} known before" in capsys.readouterr().err
    for change in ("calibration.batches=1", "criterion=l2"):
        taken = {"calibration": None, "criterion": "l2"} if "l2" in change else {}
        recipe = write_recipe(here, prune=FISHER | taken, evaluate={"border": 4})
        assert main(["sensitivity", recipe, "--set", f"prune.{change}"]) == 0
        assert "0 measured, 4" not in capsys.readouterr().err


def test_a_recipe_that_removes_no_channels_has_nothing_to_measure(here, capsys):
    prune = {"method": "unstructured", "target": {"sparsity": 0.5}}
    assert main(["sensitivity", write_recipe(here, prune=prune)]) == 2
    assert "no stage of the recipe removes channels" in capsys.readouterr().err


def test_weights_first_and_filters_by_sensitivity_after(here, capsys):
    stages = [
        {"prune": {"method": "unstructured", "target": {"sparsity": 0.5}}},
        {"prune": FISHER},
    ]
    assert main(["run", write_recipe(here, prune=None, stages=stages)]) == 0
    assert "4 measured, 0 known before" in capsys.readouterr().err
    plan = json.loads((here / "runs" / "run" / "plan.json").read_text())
    assert plan["macs"][1] <= 0.7 * plan["macs"][0]


def test_a_network_that_takes_clips_is_refused_before_anything_is_read(here, capsys):
    (here / "moving.py").write_text(
        "import torch\n"
        "from prunekit.nets import EDSR\n"
        "class Moving(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.inner = EDSR(channels=16, blocks=1)\n"
        "    def forward(self, clip):\n"
        "        return self.inner(clip.flatten(0, 1)).unflatten(0, clip.shape[:2])\n"
    )
    model = {"factory": "moving:Moving", "input_shape": [1, 2, 3, 16, 16]}
    assert main(["run", "--dry-run", write_recipe(here, model=model)]) == 2
    err = capsys.readouterr().err
    assert "measures on single images, and the network takes (1, 2, 3, 16, 16)" in err
    assert "name another allocation" in err


def test_an_image_that_is_measured_on_is_not_evaluated_on(here, capsys):
    data = split(here / "images")
    data["evaluate"] = data["train"]
    assert main(["run", write_recipe(here, data=data, evaluate={})]) == 2
    assert "is also trained on (as '0')" in capsys.readouterr().err


def test_what_cannot_be_written_is_refused_before_anything_is_measured(here, capsys):
    recipe = write_recipe(here)
    for option, name, why in (
        ("--json", "no/such/out.json", "there is no folder"),
        ("--html", "out.txt", "a page ends in .html"),
        ("--json", recipe, "is the file that is read"),
    ):
        assert main(["sensitivity", recipe, option, name]) == 2
        _, err = capsys.readouterr()
        assert why in err
        assert err.count("\n") == 1
    assert not (here / "cache").exists()
