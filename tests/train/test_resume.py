"""A training that is killed goes on to the same bits; checkpoints are whole or not there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.errors import FileFormatError, TrainError
from prunekit.measure.protocol import PROTOCOLS
from prunekit.nets import EDSR
from prunekit.progress import Silent
from prunekit.train.checkpoint import Checkpoint, CheckpointFolder
from prunekit.train.hooks import TrainHook
from prunekit.train.log import StepLog
from prunekit.train.loop import Session, finetune
from prunekit.train.options import Distill, TrainOptions
from prunekit.train.validate import Validation
from tests.train.test_finetune import assert_equal_weights, make_model, make_pairs, weights

OPTIONS = {
    "steps": 12,
    "batch_size": 4,
    "patch_size": 8,
    "learning_rate": 1e-2,
    "ema": 0.9,
    "accumulate": 2,
    "validate_every": 4,
    "checkpoint_every": 3,
}


class Drawing(nn.Module):
    """Draws from all three generators that a network can draw from, and keeps statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_model()
        self.drop = nn.Dropout(0.3)
        self.norm = nn.BatchNorm2d(3)

    def forward(self, x):
        if self.training:
            x = x * (1 + 0.1 * random.random() + 0.1 * np.random.rand())  # noqa: NPY002, S311
            x = x + 0.01 * random.gauss(0, 1)
        return self.net(self.drop(self.norm(x)))


class Shrinks(TrainHook):
    """A penalty that grows with every step, and a mask."""

    name = "shrinks"

    def __init__(self) -> None:
        self.strength, self.mask = 0.0, torch.ones(8)

    def before_backward(self, model, _step):
        return self.strength * model.net.head[0].weight.square().sum()

    def after_step(self, model, step):
        self.strength += 0.01
        self.mask[step % 8] *= 0.5
        with torch.no_grad():
            model.net.head[0].bias.mul_(self.mask)

    def state(self):
        return {"strength": self.strength, "mask": self.mask}

    def load_state(self, state):
        self.strength, self.mask = state["strength"], state["mask"].clone()


class Stops(Silent):
    """Ends the training after some steps, as a kill would."""

    def __init__(self, after: int) -> None:
        self.left = after

    def advance(self, **figures: float) -> None:
        if figures:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt


def train(folder: Path | None, progress=None, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Drawing()
    pairs = make_pairs()
    session = Session(
        hooks=[Shrinks()], validation=Validation(pairs[:2], PROTOCOLS["y"]), folder=folder
    )
    curve = finetune(
        model,
        pairs,
        TrainOptions(**{**OPTIONS, **options}),
        teacher=None,
        seed=5,
        device=torch.device("cpu"),
        progress=progress or Silent(),
        session=session,
    )
    return weights(model), curve


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("straight")
    found, curve = train(folder)
    return found, curve, (folder / "steps.jsonl").read_text()


@pytest.mark.parametrize("stops", [(1,), (3,), (5, 2), (4, 4, 1), (11,)])
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(straight, tmp_path, stops):
    for after in stops:
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path, Stops(after))
    found, curve = train(tmp_path)
    assert_equal_weights(found, straight[0])
    same = ("steps", "loss", "learning_rate", "validation", "out_of_time")
    assert [getattr(curve, n) for n in same] == [getattr(straight[1], n) for n in same]
    assert (tmp_path / "steps.jsonl").read_text() == straight[2]


def test_checkpoints_do_not_change_what_is_trained(straight):
    found, curve = train(None)
    assert_equal_weights(found, straight[0])
    assert curve.loss == straight[1].loss


def test_the_log_has_a_line_a_step_and_a_look(straight):
    lines = [json.loads(line) for line in straight[2].splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 13))
    assert [line["step"] for line in lines if "psnr_y" in line] == [4, 8, 12]
    assert [point.step for point in straight[1].validation] == [4, 8, 12]


def test_the_steps_that_are_left_are_told(tmp_path):
    told = []

    class Told(Silent):
        def start(self, stage, total=None):
            told.append((stage, total))

        def advance(self, **figures):
            told.append(bool(figures))

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(7))
    train(tmp_path, Told())
    train(tmp_path, Told())
    assert told == [
        ("fine-tune from step 6", 6),
        *[True] * 6,
        ("fine-tune from step 12", 0),
    ]


def test_a_psnr_without_end_is_null_in_the_log(tmp_path):
    log = StepLog(tmp_path / "steps.jsonl")
    log.add(1, psnr_y=float("inf"))
    log.flush()
    assert (tmp_path / "steps.jsonl").read_text() == '{"step": 1, "psnr_y": null}\n'
    assert log.go_on_from(1) == 0


def test_a_finished_training_is_not_done_again(straight, tmp_path):
    train(tmp_path)
    found, _ = train(tmp_path, Stops(1))
    assert_equal_weights(found, straight[0])


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"learning_rate": 1e-3}, "learning_rate"),
        ({"steps": 13}, "steps"),
        ({"ema": None}, "ema"),
        ({"loss": "mse"}, "loss"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path, change, named):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(4))
    with pytest.raises(
        TrainError, match=f"^{tmp_path}: the checkpoint is of a training with other {named}"
    ):
        train(tmp_path, **change)


def test_a_checkpoint_with_another_hook_is_refused(tmp_path, monkeypatch):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(4))
    monkeypatch.setattr(Shrinks, "name", "grows")
    with pytest.raises(TrainError, match="of a training with other hooks"):
        train(tmp_path)


def test_how_often_checkpoints_are_made_may_change(straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(4))
    found, _ = train(tmp_path, checkpoint_every=5, keep_last=1)
    assert_equal_weights(found, straight[0])


@pytest.mark.parametrize("damage", ["truncate", "flip", "manifest", "remove"])
def test_a_damaged_checkpoint_is_told_and_an_earlier_one_taken(straight, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(8))
    newest = max(tmp_path.glob("step-*"))
    assert newest.name == "step-00000008"  # of the best look
    file = newest / ("manifest.json" if damage == "manifest" else "model.safetensors")
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    if damage == "remove":
        file.unlink()
    else:
        file.write_bytes(content[:50] if damage == "truncate" else content)
    told = []
    progress = Silent()
    progress.warn = told.append
    found, _ = train(tmp_path, progress)
    assert_equal_weights(found, straight[0])
    assert len(told) == 1
    assert "step-00000008" in told[0]
    assert "damaged; going on from step 6" in told[0]


def test_damaged_checkpoints_alone_are_told_and_the_training_begun_anew(straight, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(5))
    for manifest in tmp_path.glob("step-*/manifest.json"):
        manifest.unlink()
    told = []
    progress = Silent()
    progress.warn = told.append
    found, _ = train(tmp_path, progress)
    assert_equal_weights(found, straight[0])
    assert [line.rpartition("; ")[2] for line in told] == ["beginning anew"] * 2


def test_the_last_ones_and_the_best_stay(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=2)
    for step, score in enumerate([1.0, 5.0, 2.0, None, 5.0, 3.0]):
        parts = {"model": {"a": torch.tensor([float(step)])}}
        folder.commit(Checkpoint(step, parts, {"x": [1, 2.5, "é"]}, score))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step-{n:08d}" for n in (1, 4, 5)]
    best, (latest, faults) = folder.best(), folder.latest()
    assert best is not None
    assert latest is not None
    assert (best.step, latest.step, faults) == (1, 5, ())
    assert latest.facts == {"x": [1, 2.5, "é"]}
    assert torch.equal(latest.parts["model"]["a"], torch.tensor([5.0]))


def test_checkpoints_of_later_steps_are_void(tmp_path):
    folder = CheckpointFolder(tmp_path, keep_last=1)
    for step in (3, 6, 4):  # the one of step 6 was damaged
        folder.commit(Checkpoint(step, {"model": {"a": torch.zeros(1)}}))
        if step == 6:
            folder.commit(Checkpoint(3, {"model": {"a": torch.zeros(1)}}))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000004"]


def test_the_best_look_has_a_checkpoint_of_its_own(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(7), validate_every=2, checkpoint_every=5, keep_last=1)
    best = CheckpointFolder(tmp_path).best()
    assert best is not None
    looks = dict(best.facts["curve"]["validation"])
    assert best.step % 5
    assert best.score == max(looks.values()) == looks[best.step]


def test_an_error_while_writing_leaves_the_earlier_ones(tmp_path, monkeypatch):
    folder = CheckpointFolder(tmp_path)
    folder.commit(Checkpoint(1, {"model": {"a": torch.zeros(3)}}))

    def fails(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", fails)
        with pytest.raises(OSError, match="No space"):
            folder.commit(Checkpoint(2, {"model": {"a": torch.ones(3)}}))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"format": "prunekit-checkpoint/9"}', "[" * 9999]
)
def test_a_manifest_that_is_none_is_refused(tmp_path, content):
    folder = CheckpointFolder(tmp_path)
    path = folder.commit(Checkpoint(1, {"model": {"a": torch.zeros(3)}}))
    (path / "manifest.json").write_text(content)
    with pytest.raises(FileFormatError, match="manifest"):
        folder.read(path)


@pytest.mark.parametrize("damage", [b"\0" * 40, b"{}\n", b"[1]\n", b'{"step": "x"}\n'])
def test_lines_of_the_log_that_are_lost_are_told(straight, tmp_path, damage):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, Stops(7))
    log = tmp_path / "steps.jsonl"
    first, second, *others = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(first + damage + second[20:] + b"".join(others))
    told = []
    progress = Silent()
    progress.warn = told.append
    train(tmp_path, progress)
    assert told == [f"{log}: 1 of 6 steps are lost"]
    kept = straight[2].splitlines(keepends=True)
    assert log.read_text() == "".join([kept[0], *kept[2:]])


class Lazy(nn.Module):
    """Makes buffers when it first runs."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_model()

    def forward(self, x):
        if not hasattr(self, "mask"):
            self.register_buffer("mask", torch.full(x.shape[2:], 0.5), persistent=False)
            self.register_buffer("seen", torch.zeros(()))
        self.seen += 1
        return self.net(x * self.mask + self.seen / 100)


def test_buffers_that_a_network_makes_as_it_runs_go_on(tmp_path):
    def trained(folder, progress=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = Lazy()
        finetune(
            model,
            make_pairs(),
            TrainOptions(steps=6, batch_size=2, patch_size=8, checkpoint_every=2),
            teacher=None,
            seed=0,
            device=torch.device("cpu"),
            progress=progress or Silent(),
            session=Session(folder=folder),
        )
        return weights(model)

    expected = trained(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", Stops(5))
    found = trained(tmp_path / "stopped")
    assert float(found["seen"]) == 6
    assert_equal_weights(found, expected)


KILLED = """
import sys
from pathlib import Path
from tests.train.test_resume import train
print("ready", flush=True)
train(Path(sys.argv[1]), checkpoint_every=1)
"""


def test_a_training_that_is_killed_at_any_moment_goes_on_to_the_same_bits(straight, tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-W", "ignore", "-c", KILLED, str(tmp_path)]
    waits = iter([0.01, 0.15, 0.4])
    for wait in waits:
        process = subprocess.Popen(  # noqa: S603
            command, cwd=root, stdout=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    found, _ = train(tmp_path, checkpoint_every=1)
    assert_equal_weights(found, straight[0])
    assert (tmp_path / "steps.jsonl").read_text() == straight[2]


def test_a_budget_of_time_ends_the_training_with_its_schedule(monkeypatch):
    clock = iter(range(10_000))
    monkeypatch.setattr("prunekit.train.loop.time.perf_counter", lambda: float(next(clock)))
    model = EDSR(2, 8, 1)
    options = TrainOptions(steps=1000, batch_size=2, patch_size=8, minutes=0.5)
    curve = finetune(
        model,
        make_pairs(),
        options,
        teacher=None,
        seed=0,
        device=torch.device("cpu"),
        progress=Silent(),
    )
    assert curve.out_of_time
    assert 10 < curve.steps[-1] < 40
    assert curve.learning_rate[-1] < 0.05 * options.learning_rate


@pytest.mark.parametrize("killed", [None, "before", "after"])
def test_a_training_that_ran_out_of_time_stays_as_it_ended(tmp_path, monkeypatch, killed):
    def timed():
        clock = iter(range(10_000))
        monkeypatch.setattr("prunekit.train.loop.time.perf_counter", lambda: float(next(clock)))
        return train(tmp_path, steps=100, minutes=1.0, checkpoint_every=7)

    found, curve = timed()
    assert curve.out_of_time
    done = curve.steps[-1]
    assert curve.validation[-1].step == done  # a last look
    (last,) = tmp_path.glob(f"step-{done:08d}")
    log = (tmp_path / "steps.jsonl").read_text()
    if killed == "before":  # the last checkpoint was written
        shutil.rmtree(last)
        (tmp_path / "steps.jsonl").write_text("".join(log.splitlines(keepends=True)[:-1]))
    again, same = timed()
    if killed != "before":
        assert_equal_weights(again, found)
        assert (same.steps, same.loss, same.validation) == (
            curve.steps,
            curve.loss,
            curve.validation,
        )
        assert same.learning_rate == curve.learning_rate
        assert (tmp_path / "steps.jsonl").read_text() == log
    assert same.out_of_time
    assert same.validation[-1].step == same.steps[-1]
    assert same.learning_rate[-1] > 0


def test_distillation_goes_on_to_the_same_bits(tmp_path):
    def trained(folder, progress=None):
        model = make_model()
        finetune(
            model,
            make_pairs(),
            TrainOptions(
                steps=6, batch_size=2, patch_size=16, distill=Distill(0.5, 0.1), checkpoint_every=2
            ),
            teacher=make_model(3),
            seed=1,
            device=torch.device("cpu"),
            progress=progress or Silent(),
            session=Session(folder=folder),
        )
        return weights(model)

    expected = trained(tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "stopped", Stops(3))
    assert_equal_weights(trained(tmp_path / "stopped"), expected)
    shutil.rmtree(tmp_path)


def test_tensorboard_is_told_of_every_step_once(tmp_path):
    events = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra is not there"
    )
    pairs = make_pairs()
    for after in (5, 99):
        model = make_model()
        options = TrainOptions(**{**OPTIONS, "ema": None})
        session = Session(
            validation=Validation(pairs[:1], PROTOCOLS["y"]), folder=tmp_path, tensorboard=True
        )
        try:
            finetune(
                model,
                pairs,
                options,
                teacher=None,
                seed=0,
                device=torch.device("cpu"),
                progress=Stops(after),
                session=session,
            )
        except KeyboardInterrupt:
            assert after == 5
    found = events.EventAccumulator(str(tmp_path / "tensorboard"))
    found.Reload()
    assert [event.step for event in found.Scalars("loss")] == list(range(1, 13))
    assert [event.step for event in found.Scalars("psnr_y")] == [4, 8, 12]


def test_tensorboard_that_is_not_there_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    session = Session(folder=tmp_path, tensorboard=True)
    with pytest.raises(TrainError, match=r"pip install 'prunekit\[tensorboard\]'"):
        finetune(
            make_model(),
            make_pairs(),
            TrainOptions(steps=1, batch_size=2, patch_size=8),
            teacher=None,
            seed=0,
            device=torch.device("cpu"),
            progress=Silent(),
            session=session,
        )
