"""A run that is killed at any moment, and again when it goes on, ends with the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RECIPE = """
name: tiny
output: runs
device: cpu
model: {network: edsr, arguments: {channels: 16, blocks: 1}, input_shape: [1, 3, 12, 12]}
data:
  train: {folder: IMAGES, names: ['0', '1'], cache: false}
  evaluate: {folder: IMAGES, names: ['2'], cache: false}
stages:
  - prune: {method: filter, target: {channel_ratio: 0.5}}
  - train: {steps: 8, batch_size: 2, patch_size: 8, checkpoint_every: 3, validate_every: 4}
  - prune: {method: filter, target: {channel_ratio: 0.25}, round_to: 2, min_width: 2}
  - train: {steps: 7, batch_size: 4, patch_size: 8, checkpoint_every: 2, ema: 0.9, accumulate: 2}
report: {formats: [json], crops: 0}
"""

PROGRAM = '''
"""Runs the recipe in forks of one process that has everything imported; kills some of them."""
import json, os, shutil, signal, sys
from pathlib import Path

import torch

torch.set_num_threads(1)
from prunekit.cli import main
from prunekit.pipeline import run as _
from prunekit.train.trainer import Trainer

MOMENTS = 20
FILES = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "fsync", "step"}
counted, last = 0, None  # events of this process, and the one before which it is killed


def hook(event, arguments):
    global counted
    if event not in FILES or last == -1:
        return
    if event not in ("step", "fsync") and "runs" not in str(arguments[0]):
        return
    counted += 1
    if counted == last:
        os.kill(os.getpid(), signal.SIGKILL)


def audited(name, function):
    def call(*arguments):
        sys.audit(name)
        return function(*arguments)
    return call


last = -1
sys.addaudithook(hook)
os.fsync = audited("fsync", os.fsync)
Trainer.update = audited("step", Trainer.update)


def run(folder, *options, killed=None):
    """Exit status, negative for a kill, and how many events there were."""
    global counted, last
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, 1)
        with open("said.txt", "ab") as said:
            os.dup2(said.fileno(), 2)
        counted, last = 0, killed
        status = main(["run", "r.yaml", "--quiet", *options])
        last = -1
        os.write(writer, str(counted).encode())
        os._exit(status)
    os.close(writer)
    with open(reader) as pipe:
        events = pipe.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, int(events or 0)


def contents(folder):
    names = ["slim.safetensors", "plan.json", "training/stage-1/steps.jsonl"]
    names += ["training/stage-3/steps.jsonl"]
    return [(folder / "runs" / "tiny" / name).read_bytes() for name in names]


def fresh(root, name):
    folder = root / name
    folder.mkdir()
    shutil.copy(root / "r.yaml", folder)
    return folder


root = Path(sys.argv[1])
straight = fresh(root, "straight")
status, events = run(straight)
assert status == 0, (straight / "said.txt").read_text()
expected = contents(straight)
found = []
for moment in range(MOMENTS):
    folder = fresh(root, f"moment-{moment}")
    at = 1 + (events - 1) * moment // (MOMENTS - 1)
    again = 1 + 7 * at % (events // 2)  # when it goes on, by its own events
    statuses = [run(folder, killed=at)[0]]
    done = (folder / "runs" / "tiny").exists()
    if not done:
        statuses.append(run(folder, "--resume", killed=again)[0])
        done = (folder / "runs" / "tiny").exists()
    if not done:
        statuses.append(run(folder, "--resume")[0])
    left = sorted(path.name for path in (folder / "runs").iterdir())
    same = (folder / "runs" / "tiny").exists() and contents(folder) == expected
    said = (folder / "said.txt").read_text()
    found.append({"at": at, "statuses": statuses, "same": same, "left": left, "said": said})
    shutil.rmtree(folder)
print(json.dumps({"events": events, "moments": found}))
'''


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_run_that_is_killed_at_twenty_moments_ends_with_the_same_bits(images, tmp_path):
    recipe = RECIPE.replace("IMAGES", str(images))
    (tmp_path / "r.yaml").write_text(recipe, encoding="utf-8")
    (tmp_path / "program.py").write_text(PROGRAM, encoding="utf-8")
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "ignore", str(tmp_path / "program.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    moments = found["moments"]
    assert len({moment["at"] for moment in moments}) == 20
    assert found["events"] > 100, "steps, and files of checkpoints"
    for moment in moments:
        assert moment["statuses"][0] == -9, moment
        assert set(moment["statuses"]) <= {0, -9}, moment
        assert moment["same"], moment
        assert "damaged" not in moment["said"], moment
    went_on_twice = [moment for moment in moments if moment["statuses"] == [-9, -9, 0]]
    assert len(went_on_twice) >= 10
    ended_at_once = [moment for moment in moments if moment["left"] == ["tiny"]]
    assert len(ended_at_once) >= 15  # else the very last thing, cleaning up, was cut short
