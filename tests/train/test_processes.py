"""Several processes train as one: equal weights, one writer, and none waits for the dead."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prunekit.train.options import TrainOptions
from prunekit.train.processes import Processes, is_of_others
from tests.train.test_finetune import assert_equal_weights

ROOT = Path(__file__).parents[2]

PROGRAM = """
import json, os, signal, sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from prunekit.errors import TrainError
from prunekit.progress import Silent
from prunekit.train.loop import Session, finetune
from prunekit.train.options import TrainOptions
from prunekit.measure.protocol import PROTOCOLS
from prunekit.train.validate import Validation
from tests.train.test_finetune import make_model, make_pairs

folder, dies = Path(sys.argv[1]), int(sys.argv[2])
rank = int(os.environ.get("RANK", "0"))

class Dies(Silent):
    steps = 0
    def advance(self, **figures):
        self.steps += bool(figures)
        if figures and self.steps == dies and rank == int(os.environ.get("WORLD_SIZE", "1")) - 1:
            os.kill(os.getpid(), signal.SIGKILL)

model = make_model().double()
if dies == -1:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3), model).double()
pairs = make_pairs()
options = TrainOptions(
    steps=6, batch_size=8, patch_size=8, accumulate=2, ema=0.9, learning_rate=1e-2,
    validate_every=3, checkpoint_every=2, timeout=20,
)
session = Session(validation=Validation(pairs, PROTOCOLS["y"]), folder=folder / "work")
try:
    curve = finetune(
        model, pairs, options, teacher=None, seed=0, device=torch.device("cpu"),
        progress=Dies(), session=session,
    )
except TrainError as error:
    (folder / f"{rank}.error").write_text(str(error))
    raise
save_file(model.state_dict(), folder / f"{rank}.safetensors")
(folder / f"{rank}.txt").write_text(repr(curve.validation))
"""


def launch(folder: Path, processes: int, *, dies: int = 0) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    (folder / "program.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    start = [sys.executable, str(folder / "program.py")]
    if processes > 1:
        run = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
        start = [sys.executable, *run, str(folder / "program.py")]
    return subprocess.Popen(  # noqa: S603
        [*start, str(folder), str(dies)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    assert launch(folder, 1).wait(300) == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 4])
def test_several_processes_train_what_one_does(alone, tmp_path, processes):
    assert launch(tmp_path, processes).wait(300) == 0
    files = [tmp_path / f"{rank}.safetensors" for rank in range(processes)]
    states = [load_file(file) for file in files]
    for state in states[1:]:
        assert_equal_weights(states[0], state)
    expected = load_file(alone / "0.safetensors")
    for name, tensor in expected.items():
        torch.testing.assert_close(states[0][name], tensor, rtol=1e-9, atol=1e-12)
    looks = {(tmp_path / f"{rank}.txt").read_text() for rank in range(processes)}
    assert looks == {(alone / "0.txt").read_text()}
    lines, same = (steps(folder) for folder in (tmp_path, alone))
    assert len(lines) == 6 + 2  # one writer
    for line, other in zip(lines, same, strict=True):  # equal curves
        assert line == pytest.approx(other, rel=1e-9)


def steps(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "work" / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_statistics_of_batches_are_those_of_the_first_process(tmp_path):
    assert launch(tmp_path, 2, dies=-1).wait(300) == 0
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in range(2))
    assert any("running_mean" in name for name in first)
    assert_equal_weights(first, second)


@pytest.mark.slow
def test_a_dead_process_ends_the_others_and_all_go_on_to_the_same_bits(tmp_path):
    assert launch(tmp_path / "straight", 2).wait(300) == 0
    started = time.monotonic()
    process = launch(tmp_path / "dies", 2, dies=5)
    try:
        assert process.wait(120) != 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert time.monotonic() - started < 120
    assert not list((tmp_path / "dies").glob("*.safetensors"))
    said = tmp_path / "dies" / "0.error"
    if said.exists():  # unless it was ended before it saw that the other was gone
        assert said.read_text().startswith("another process of the training ended or no longer")
    assert launch(tmp_path / "dies", 2).wait(300) == 0
    expected = load_file(tmp_path / "straight" / "0.safetensors")
    for rank in range(2):
        assert_equal_weights(load_file(tmp_path / "dies" / f"{rank}.safetensors"), expected)


def test_a_process_alone_has_the_whole_batch():
    options = TrainOptions(steps=1, batch_size=6, accumulate=3)
    with Processes.begun(options) as processes:
        assert list(processes.share(options)) == list(range(6))
        assert processes.gathered("x") == ["x"]
        assert (processes.count, processes.index, processes.is_first) == (1, 0, True)


def test_an_error_of_the_writer_is_raised():
    def fails() -> None:
        raise OSError(28, "No space left on device")

    options = TrainOptions(steps=1)
    with Processes.begun(options) as processes, pytest.raises(OSError, match="No space"):
        processes.first_does(fails)


@pytest.mark.parametrize(
    ("error", "others"),
    [
        (RuntimeError("[../gloo/pair.cc:537] Read error: Connection reset by peer"), True),
        (RuntimeError("NCCL communicator was aborted on rank 0"), True),
        (torch.distributed.DistNetworkError("gone"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("gloo"), False),
    ],
)
def test_what_libraries_say_of_a_process_that_is_gone_is_known(error, others):
    assert is_of_others(error) == others
