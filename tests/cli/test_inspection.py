"""`prunekit inspect` shows groups and frozen axes as a tree and as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit.cli import main

SMALL = ["inspect", "edsr", "--arguments", "channels=8", "--arguments", "blocks=1"]


def test_the_tree_names_groups_and_reasons(capsys):
    assert main(SMALL) == 0
    out = capsys.readouterr().out

    assert out.startswith("edsr: ")
    assert "groups (3)" in out
    assert "channel, width 8" in out
    assert "of the parameters" in out
    assert "output of the model" in out


def test_the_json_holds_every_axis(capsys):
    assert main([*SMALL, "--json", "--input-shape", "1,3,8,8"]) == 0
    out, err = capsys.readouterr()
    graph = json.loads(out)

    assert err == ""
    assert graph["input_shapes"] == [[1, 3, 8, 8]]
    assert [group["width"] for group in graph["groups"]] == [8, 8, 8]
    assert all(0 < group["params_share"] <= 1 for group in graph["groups"])
    assert {"tensor", "axis", "count", "reason", "operator", "module"} == set(graph["frozen"][0])


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_tree_fits_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")

    assert main(SMALL) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= int(columns)
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edsrr"], "the command line: there is no built-in network 'edsrr'; did you mean 'edsr'"),
        (["nowhere:Net"], "there is no 'nowhere'; install it"),
        (["a b:c"], "'factory' is 'a b:c'; allowed: text such as 'package.module:Class'"),
        (["edsr", "--input-shape", "1,3"], "'input_shape' is a list of 2; allowed: a list of 4"),
        (["edsr", "--input-shape", "big"], "--input-shape big: is not four numbers"),
        (["edsr", "--input-shape", "1,3,0,8"], "'input_shape.2' is 0; allowed: a whole number"),
        (["edsr", "--arguments", "scale"], "--arguments scale: is not of the form KEY=VALUE"),
        (["edsr", "--arguments", "scale=7"], "EDSR has no upsampler for scale 7"),
    ],
)
def test_what_cannot_be_inspected_is_one_line_and_status_2(arguments, words, capsys):
    assert main(["inspect", *arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m prunekit inspect edsr --arguments blocks=1 | true"
    done = subprocess.run(  # noqa: S602 (a shell makes the pipe)
        command,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr
