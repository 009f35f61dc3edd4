"""A run that is killed goes on to the same file; several processes have one writer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

LONG = """
name: tiny
output: runs
device: cpu
seed: 3
model: {network: edsr, arguments: {channels: 16, blocks: 1}, input_shape: [1, 3, 12, 12]}
data: {train: {folder: IMAGES}}
stages:
  - prune: {method: filter, target: {channel_ratio: 0.5}}
  - train: {steps: 30, batch_size: 4, patch_size: 8, checkpoint_every: 5, distill: {features: 0.1}}
  - prune: {method: filter, target: {channel_ratio: 0.25}, round_to: 2, min_width: 2}
  - train: {steps: 400, batch_size: 4, patch_size: 8, checkpoint_every: 5, ema: 0.9}
"""


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=4")

ACCELERATE = (
    *("-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"),
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"),
)
"""As a user with GPUs does; the environment keeps it on the CPU."""


def begun(
    folder: Path, *options: str, launcher: tuple[str, ...] = (), **changes: str
) -> subprocess.Popen[str]:
    """A run in a folder, with its recipe changed."""
    recipe = LONG
    for old, new in changes.items():
        recipe = recipe.replace(old, new)
    (folder / "r.yaml").write_text(recipe, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    command = [sys.executable, *launcher, "-m", "prunekit", "run", "r.yaml", "--quiet", *options]
    return subprocess.Popen(  # noqa: S603
        command,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "OMP_NUM_THREADS": "1",
            "ACCELERATE_USE_CPU": "true",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit status, and what it said."""
    _, said = process.communicate(timeout=500)
    return process.returncode, said


def slim_of(folder: Path) -> bytes:
    return (folder / "runs" / "tiny" / "slim.safetensors").read_bytes()


@pytest.fixture(scope="module")
def straight(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("straight")
    assert ended(begun(folder, IMAGES=str(images))) == (0, "")
    return folder


def test_a_run_that_was_killed_goes_on_to_the_same_file(straight, images, tmp_path):
    process = begun(tmp_path, IMAGES=str(images))
    wanted = tmp_path / "runs" / ".tiny.work" / "stage-3"
    while process.poll() is None and not list(wanted.glob("step-0000001*")):
        time.sleep(0.02)
    process.kill()
    ended(process)
    assert not (tmp_path / "runs" / "tiny").exists()
    status, said = ended(begun(tmp_path, IMAGES=str(images)))
    assert status == 2
    assert "a run of the name 'tiny' was not finished; pass --resume" in said
    status, said = ended(
        begun(tmp_path, "--resume", **{"IMAGES": str(images), "seed: 3": "seed: 4"})
    )
    assert status == 2
    assert "has another recipe" in said
    status, said = ended(begun(tmp_path, "--resume", IMAGES=str(images)))
    assert (status, said) == (0, "")
    assert slim_of(tmp_path) == slim_of(straight)
    for log in ("training/stage-1/steps.jsonl", "training/stage-3/steps.jsonl"):
        here, there = (f / "runs" / "tiny" / log for f in (tmp_path, straight))
        assert here.read_text() == there.read_text()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]


def test_a_run_begins_anew_where_it_is_told_to(straight, images, tmp_path):
    left = tmp_path / "runs" / ".tiny.work" / "stage-1" / "step-00000005"
    left.mkdir(parents=True)
    assert ended(begun(tmp_path, "--overwrite", IMAGES=str(images)))[0] == 0
    assert slim_of(tmp_path) == slim_of(straight)


@pytest.mark.parametrize("launcher", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate"])
def test_a_run_of_several_processes_has_one_writer(straight, images, tmp_path, launcher):
    status, said = ended(begun(tmp_path, launcher=launcher, IMAGES=str(images)))
    assert status == 0, said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["tiny"]
    plans = [
        json.loads((f / "runs" / "tiny" / "plan.json").read_text()) for f in (tmp_path, straight)
    ]
    assert plans[0]["params"] == plans[1]["params"]
    assert plans[0]["fingerprint"] == plans[1]["fingerprint"]
    logs = [steps_of(folder, 1) for folder in (tmp_path, straight)]
    for line, other in zip(*logs, strict=True):  # the curves are equal but for float32
        assert line == pytest.approx(other, rel=1e-3)
    assert len(steps_of(tmp_path, 3)) == 400


def steps_of(folder: Path, stage: int) -> list[dict[str, float]]:
    log = folder / "runs" / "tiny" / "training" / f"stage-{stage}" / "steps.jsonl"
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_a_mistake_is_told_by_every_process_with_its_number(images, tmp_path):
    changes = {"batch_size: 4": "batch_size: 3"}
    status, said = ended(begun(tmp_path, launcher=TORCHRUN, IMAGES=str(images), **changes))
    assert status != 0
    lines = [line for line in said.splitlines() if line.startswith("error: ")]
    assert 1 <= len(lines) <= 4  # the launcher ends those that are slower
    for line in lines:
        assert "a batch of 3 patches cannot be shared out evenly to 4 processes" in line
    first = [line for line in lines if not line.startswith("error: process ")]
    assert len(first) <= 1
