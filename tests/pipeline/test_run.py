"""Whole runs: what is in the folder, that it can be run again, that seeds decide, and kills."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import prunekit
from prunekit.errors import FileFormatError, PrunekitError, RecipeError
from prunekit.nets import EDSR
from prunekit.pipeline import RunResult, check, inspect, preview, run
from prunekit.progress import Silent
from prunekit.recipe import ModelSection, Recipe, load_recipe
from prunekit.train.checkpoint import CheckpointFolder
from tests.pipeline.samples import split

FILES = [
    "environment.json",
    "log.txt",
    "plan.json",
    "recipe.yaml",
    "report.html",
    "report.json",
    "report.md",
    "slim.safetensors",
    "training",
]


def recipe(images: Path, output: Path, **changes: object) -> Recipe:
    return load_recipe(
        {
            "name": "tiny",
            "output": str(output),
            "device": "cpu",
            "model": {
                "network": "edsr",
                "arguments": {"channels": 16, "blocks": 1},
                "input_shape": [1, 3, 12, 12],
            },
            "data": split(images),
            "prune": {"method": "filter", "target": {"macs_ratio": 0.4}, "criterion": "random"},
            "train": {"steps": 2, "batch_size": 2, "patch_size": 8},
            "evaluate": {},
            "report": {"crops": 1, "crop_size": 16},
            **changes,
        }
    )


@pytest.fixture(autouse=True)
def _seeded():
    """Weights of an untrained network are drawn anew in every process."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory) -> RunResult:
    torch.manual_seed(0)
    return run(recipe(images, tmp_path_factory.mktemp("runs")), progress=Silent())


def test_a_run_folder_holds_exactly_its_files(finished):
    assert finished.folder.name == "tiny"
    assert sorted(path.name for path in finished.folder.iterdir()) == FILES
    assert [path.name for path in finished.folder.parent.iterdir()] == ["tiny"]
    assert all(path.stat().st_size > 0 for path in finished.folder.iterdir())


def test_every_file_says_what_it_should(finished):
    read = {
        p.name: p.read_text("utf-8")
        for p in finished.folder.iterdir()
        if p.suffix not in {".safetensors", ""}
    }
    assert prunekit.Plan.from_json(read["plan.json"]) == finished.result.plan
    assert json.loads(read["environment.json"])["packages"]["torch"] == torch.__version__
    assert json.loads(read["report.json"])["title"] == "tiny"
    assert "<html" in read["report.html"]
    stages = ("build", "trace", "plan", "rebuild", "verify", "fine-tune, 2 steps", "write")
    assert all(f" {stage}\n" in read["log.txt"] for stage in stages)
    assert finished.report is finished.result.report


def test_the_slim_network_is_loaded_without_naming_the_dense_one(finished):
    loaded = prunekit.load(finished.folder)
    image = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(image), finished.result.model(image))


def test_the_recipe_in_the_folder_is_run_again_to_the_same_bits(finished, tmp_path):
    again = load_recipe(finished.folder / "recipe.yaml", [f"output={tmp_path}"])
    result = run(again, progress=Silent())
    for name in ("slim.safetensors", "plan.json"):
        assert (result.folder / name).read_bytes() == (finished.folder / name).read_bytes()


def test_another_seed_gives_another_plan(images, finished, tmp_path):
    other = run(recipe(images, tmp_path, seed=1), progress=Silent())
    assert other.result.plan != finished.result.plan


def test_a_run_overwrites_nothing_unless_told_to(finished):
    before = {p.name: p.read_bytes() for p in finished.folder.iterdir() if p.is_file()}
    bad = finished.result.recipe.model_copy(update={"output": finished.folder.parent})
    with pytest.raises(PrunekitError, match="exists already"):
        run(bad, progress=Silent())
    assert {p.name: p.read_bytes() for p in finished.folder.iterdir() if p.is_file()} == before


def test_a_run_that_fails_leaves_no_folder_and_spares_the_old_one(images, tmp_path):
    unreachable = {"method": "filter", "target": {"macs_ratio": 0.999}}
    with pytest.raises(PrunekitError, match="out of reach"):
        run(recipe(images, tmp_path, prune=unreachable), progress=Silent())
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "tiny").mkdir()
    for name in ("plan.json", "slim.safetensors"):
        (tmp_path / "tiny" / name).touch()
    with pytest.raises(PrunekitError, match="out of reach"):
        run(recipe(images, tmp_path, prune=unreachable), progress=Silent(), overwrite=True)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["plan.json", "slim.safetensors", "tiny"]


def test_evaluating_on_an_image_that_is_trained_on_is_refused(images, tmp_path):
    data = {"train": {"folder": str(images)}, "evaluate": {"folder": str(images), "names": ["1"]}}
    with pytest.raises(PrunekitError, match="image '1' is also trained on"):
        run(recipe(images, tmp_path, data=data), progress=Silent())
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_no_folder(images, tmp_path):
    class Impatient(Silent):
        def advance(self, **_: float) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recipe(images, tmp_path), progress=Impatient())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}])
def test_a_second_run_of_the_name_leaves_the_first_one_alone(images, tmp_path, finished, options):
    class Impatient(Silent):
        said = ""

        def advance(self, **figures: float) -> None:
            if "learning_rate" in figures:
                with pytest.raises(PrunekitError) as caught:
                    run(recipe(images, tmp_path), progress=Silent(), **options)
                self.said = str(caught.value)

    torch.manual_seed(0)
    progress = Impatient()
    result = run(recipe(images, tmp_path), progress=progress)
    assert f"is being made by process {os.getpid()} right now; wait for it" in progress.said
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]
    slim = (folder / "slim.safetensors" for folder in (result.folder, finished.folder))
    assert len({file.read_bytes() for file in slim}) == 1


def test_a_disk_that_is_full_keeps_the_checkpoints(images, tmp_path, finished, monkeypatch):
    train = {"steps": 2, "batch_size": 2, "patch_size": 8, "checkpoint_every": 1}
    made = recipe(images, tmp_path, train=train)
    torch.manual_seed(0)
    commit, steps = CheckpointFolder.commit, []

    def full(self, checkpoint):
        steps.append(checkpoint.step)
        if checkpoint.step == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return commit(self, checkpoint)

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointFolder, "commit", full)
        with pytest.raises(PrunekitError, match="No space left on device; its checkpoints are kep"):
            run(made, progress=Silent())
    assert steps == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == [".tiny.work"]
    torch.manual_seed(0)
    other = recipe(images, tmp_path, train={**train, "steps": 3})
    with pytest.raises(PrunekitError, match="has another recipe than this"):
        run(other, progress=Silent(), resume=True)
    mended = {**train, "checkpoint_every": 2, "keep_last": 3}  # what a run may go on with
    made = recipe(images, tmp_path, train=mended, report={"formats": ["json"]})
    result = run(made, progress=Silent(), resume=True)
    slim = (folder / "slim.safetensors" for folder in (result.folder, finished.folder))
    assert len({file.read_bytes() for file in slim}) == 1


def test_a_preview_prunes_and_writes_nothing(images, tmp_path):
    found = preview(recipe(images, tmp_path), progress=Silent())
    rows = {entry.name: entry for entry in found.report.entries}
    assert rows["slim"].macs < 0.61 * rows["dense"].macs
    assert found.report.training == ()
    assert list(tmp_path.iterdir()) == []


def test_a_recipe_without_a_model_is_told(images, tmp_path):
    with pytest.raises(RecipeError, match="no 'model' section, so there is no network to prune"):
        check(recipe(images, tmp_path, model=None))


def test_a_device_that_is_not_there_is_told_before_work_starts(images, tmp_path):
    with pytest.raises(RecipeError, match="device 'cuda:99' is asked for and there is none"):
        check(recipe(images, tmp_path, device="cuda:99"))


def test_inspecting_traces_the_network_of_a_model_section():
    section = ModelSection(network="edsr", arguments={"channels": 8, "blocks": 1})
    assert inspect(section).widths == {"trunk": 8, "body.0 hidden": 8, "tail.0.0 / 4": 8}


def test_a_network_of_a_factory_has_to_be_passed_to_load(images, tmp_path):
    model = {
        "factory": "prunekit.nets:EDSR",
        "arguments": {"channels": 16, "blocks": 1},
        "input_shape": [1, 3, 12, 12],
    }
    made = recipe(images, tmp_path, model=model, train=None, evaluate=None, data=None)
    result = run(made, progress=Silent())
    with pytest.raises(FileFormatError, match=r"made from prunekit\.nets:EDSR; build it and pass"):
        prunekit.load(result.folder)
    loaded = prunekit.load(result.folder, model=EDSR(channels=16, blocks=1))
    image = torch.rand(1, 3, 9, 9)
    assert torch.equal(loaded(image), result.result.model(image))


ENDLESS = """
name: tiny
output: runs
device: cpu
model: {network: edsr, arguments: {channels: 16, blocks: 1}, input_shape: [1, 3, 12, 12]}
data: {train: {folder: IMAGES}}
prune: {method: filter, target: {channel_ratio: 0.5}}
train: {steps: 1000000, batch_size: 1, patch_size: 8, checkpoint_every: 1000000}
"""


def _listen() -> None:
    """Hear Ctrl-C also where a shell that put the tests in the background turned it off."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def started(folder: Path) -> subprocess.Popen[str]:
    """A run that is being trained."""
    process = subprocess.Popen(
        [sys.executable, "-m", "prunekit", "run", "r.yaml"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        preexec_fn=_listen,  # noqa: PLW1509 (no threads here)
    )
    for line in process.stderr:
        if "verify" in line and "done" in line:
            time.sleep(0.3)
            return process
    pytest.fail("the run never came to its training")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_run_leaves_no_run_folder_and_the_next_run_sweeps_what_it_left(
    images, tmp_path, number
):
    (tmp_path / "r.yaml").write_text(ENDLESS.replace("IMAGES", str(images)), encoding="utf-8")
    process = started(tmp_path)
    process.send_signal(number)
    process.wait()
    process.stderr.close()
    assert not (tmp_path / "runs" / "tiny").exists()
    partial, work = sorted((tmp_path / "runs").iterdir())
    assert partial.name.startswith(".tiny.partial-")
    assert work.name == ".tiny.work"
    run(recipe(images, tmp_path / "runs"), progress=Silent())
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]
    assert sorted(path.name for path in (tmp_path / "runs" / "tiny").iterdir()) == FILES


@pytest.mark.slow
def test_an_interrupt_from_the_keyboard_leaves_nothing_at_all(images, tmp_path):
    (tmp_path / "r.yaml").write_text(ENDLESS.replace("IMAGES", str(images)), encoding="utf-8")
    process = started(tmp_path)
    process.send_signal(signal.SIGINT)
    assert "interrupted" in process.stderr.read()
    assert process.wait() == 130
    process.stderr.close()
    assert list((tmp_path / "runs").iterdir()) == []
