"""`prunekit run` with a real, tiny network: what is printed, and what is written when."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit.cli import main
from prunekit.recipe import load_recipe

RECIPE = """\
name: tiny
model: {network: edsr, arguments: {channels: 16, blocks: 1}, input_shape: [1, 3, 12, 12]}
prune:
  method: filter
  target: {channel_ratio: 0.5}
  round_to: 4
  min_width: 4
"""


RUN_QUIETLY = [sys.executable, "-m", "prunekit", "run", "r.yaml", "--quiet"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "r.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_a_dry_run_prints_the_plan_and_writes_nothing(here, capsys):
    assert main(["run", "r.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out

    assert re.search(r"trunk +channel +16 +8 +50% ", out)
    assert re.search(r"^ *dense +\S+ +\S+", out, re.MULTILINE)
    assert re.search(r"parameters +[\d,]+ +[\d,]+ +\d+\.\d%", out)
    assert re.search(r"peak memory of activations +[\d.]+ MiB +[\d.]+ MiB", out)
    assert "Target: channel_ratio 0.5 asked for, 0.5000 reached." in out
    assert "flops are twice as many" in out
    assert [path.name for path in here.iterdir()] == ["r.yaml"]


def test_a_run_writes_its_folder_and_says_where(here, capsys):
    assert main(["run", "r.yaml", "--output", "out", "--set", "seed=3"]) == 0
    out, err = capsys.readouterr()
    folder = here / "out" / "tiny"

    assert f"run folder: {Path('out') / 'tiny'}\n" in out
    assert out.endswith(f"report: {Path('out') / 'tiny' / 'report.html'}\n")
    assert "done in" in err
    assert (folder / "slim.safetensors").is_file()
    assert load_recipe(folder / "recipe.yaml").seed == 3


def test_a_second_run_is_refused_unless_it_may_overwrite(here, capsys):
    assert main(["run", "r.yaml", "--quiet"]) == 0
    plan = (here / "runs" / "tiny" / "plan.json").read_bytes()
    assert capsys.readouterr().err == ""

    assert main(["run", "r.yaml", "--set", "prune.target.channel_ratio=0.25"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (here / "runs" / "tiny" / "plan.json").read_bytes() == plan
    again = ["run", "r.yaml", "--overwrite", "--set", "prune.target.channel_ratio=0.25"]
    assert main(again) == 0
    assert (here / "runs" / "tiny" / "plan.json").read_bytes() != plan


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_is_one_line_and_status_130(here):
    (here / "sleepy.py").write_text(
        "import time\ndef net():\n    print('ready', flush=True)\n    time.sleep(60)\n",
        encoding="utf-8",
    )
    with subprocess.Popen(  # noqa: S603 (our own command)
        [*RUN_QUIETLY, "--set", "model={factory: 'sleepy:net'}"],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()

    assert process.returncode == 130
    assert err == "error: interrupted\n"
    assert not (here / "runs" / "tiny").exists()
