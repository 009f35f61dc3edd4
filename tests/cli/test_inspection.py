"""`prunekit inspect` shows groups and frozen axes as a tree, as JSON and as a page."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prunekit.cli import main

SMALL = ["inspect", "edsr", "--arguments", "channels=8", "--arguments", "blocks=1"]
ROOT = Path(__file__).parents[2]


def run(*arguments, cwd, **environment):
    """The command in a process of its own, with no terminal."""
    inherited = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    return subprocess.run(  # noqa: S603
        [sys.executable, "-m", "prunekit", *arguments],
        cwd=cwd,
        env={**inherited, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tree_names_groups_and_reasons(capsys):
    assert main(SMALL) == 0
    out = capsys.readouterr().out

    assert out.startswith("edsr: ")
    assert "groups (3)" in out
    assert "channel, width 8" in out
    assert "of the parameters" in out
    assert "output of the model" in out


def test_all_unfolds_repeated_blocks(capsys):
    several = ["inspect", "edsr", "--arguments", "channels=8", "--arguments", "blocks=3"]
    assert main(several) == 0
    folded = capsys.readouterr().out
    assert main([*several, "--all"]) == 0
    unfolded = capsys.readouterr().out

    assert "body.0..2 hidden: 3 groups" in folded
    assert "body.1 hidden" not in folded
    assert "body.1 hidden" in unfolded


def test_the_json_holds_every_axis(capsys):
    assert main([*SMALL, "--json", "--input-shape", "1,3,8,8"]) == 0
    out, err = capsys.readouterr()
    graph = json.loads(out)

    assert err == ""
    assert graph["model"] == "edsr"
    assert graph["input_shapes"] == [[1, 3, 8, 8]]
    assert [group["width"] for group in graph["groups"]] == [8, 8, 8]
    assert all(0 < group["params_share"] <= 1 for group in graph["groups"])
    assert {"tensor", "axis", "count", "reason", "operator", "module"} <= set(graph["frozen"][0])
    assert len(graph["steps"]) == graph["operators"]


def test_the_page_is_written_and_named(tmp_path, capsys):
    page = tmp_path / "edsr.html"
    assert main([*SMALL, "--html", str(page)]) == 0
    assert f"page: {page}" in capsys.readouterr().out
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert [file.name for file in tmp_path.iterdir()] == ["edsr.html"]


def test_an_older_page_is_replaced(tmp_path):
    page = tmp_path / "edsr.HTML"
    page.write_text("old")
    assert main([*SMALL, "--html", str(page)]) == 0
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_with_json_the_page_is_written_in_silence(tmp_path, capsys):
    page = tmp_path / "edsr.html"
    assert main([*SMALL, "--json", "--html", str(page)]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["model"] == "edsr"
    assert err == ""
    assert page.is_file()


@pytest.mark.parametrize("columns", ["40", "200"])
def test_the_tree_fits_the_terminal(columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("NO_COLOR", "1")

    assert main(SMALL) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= int(columns)
    assert "\x1b" not in out


def test_piped_output_is_plain_and_one_line_stays_one_line(tmp_path):
    done = run(*SMALL, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    assert max(map(len, lines)) > 80
    assert all(line.lstrip("│ ")[0] in "├└e" for line in lines), "a line was broken"


def test_a_terminal_without_unicode_gets_plain_signs(tmp_path):
    done = run(*SMALL, cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert "#" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["edsrr"], "the command line: there is no built-in network 'edsrr'; did you mean 'edsr'"),
        (["nowhere:Net"], "there is no 'nowhere'; install it"),
        (["a b:c"], "'factory' is 'a b:c'; allowed: text such as 'package.module:Class'"),
        (["json:dumps"], "'model.arguments' do not fit 'json:dumps'"),
        (["edsr", "--input-shape", "1,3"], "--input-shape 1,3: is not four or five whole numbers"),
        (["edsr", "--input-shape", "big"], "--input-shape big: is not four or five whole numbers"),
        (
            ["edsr", "--input-shape", "1,3,0,8"],
            "--input-shape 1,3,0,8: is not four or five whole numbers",
        ),
        (["edsr", "--input-shape", "1,3,-8,8"], "is not four or five whole numbers above 0"),
        (["edsr", "--input-shape", "1,3,8.5,8"], "is not four or five whole numbers above 0"),
        (["edsr", "--input-shape", ""], "is not four or five whole numbers above 0"),
        (["edsr", "--input-shape", f"1,3,{10**19},8"], "there is no room for an input"),
        (["edsr", "--input-shape", "1,5,8,8"], "EDSR cannot be run on inputs of shape (1, 5"),
        (["edsr", "--arguments", "scale"], "--arguments scale: is not of the form KEY=VALUE"),
        (["edsr", "--arguments", "scale=7"], "EDSR has no upsampler for scale 7"),
        (["nowhere.pth"], "the checkpoint 'nowhere.pth' is not there"),
        (["no/where"], "the checkpoint 'no/where' is not there"),
        (["file.txt"], "the checkpoint 'file.txt' is of no kind that can be read; there is"),
        (["folder.pth"], "the checkpoint 'folder.pth' is a folder; name a file in it"),
        (["weigths.pth"], "is not there; did you mean 'weights.pth'?"),
        (["weights.pth", "--arguments", "a=1"], "--arguments a=1: a checkpoint takes none"),
        (["x" * 300 + ".pth"], "is not there"),
        (["edsr", "--html", "."], "--html .: is a folder; name a file in it"),
        (["edsr", "--html", "folder.html"], "is a folder; name a file in it"),
        (["edsr", "--html", "no/page.html"], "there is no folder 'no'; make it first"),
        (["edsr", "--html", "file.txt"], "a page ends in .html or .htm; name it so"),
        (["edsr", "--html", "--all"], "a page ends in .html or .htm"),
        (["edsr", "--html", ""], "is a folder"),
        (["edsr", "--html", "x" * 300 + ".html"], "File name too long"),
    ],
)
def test_what_cannot_be_inspected_is_one_line_and_status_2(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "weights.pth").write_text("no weights")
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "folder.html").mkdir()
    before = sorted(tmp_path.rglob("*"))

    assert main(["inspect", *arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "file.txt").read_text() == "mine"


@pytest.mark.parametrize("option", ["--jsn", "--htm=x.html", "--input-shape", "--html"])
def test_an_option_that_is_not_there_or_has_no_value_is_one_line(option, capsys):
    assert main(["inspect", "edsr", option]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_a_page_over_what_is_read_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.pth").write_text("mine")
    (tmp_path / "page.html").symlink_to("weights.pth")
    assert main(["inspect", "weights.pth", "--html", "page.html"]) == 2
    assert "is the file that is read; name another" in capsys.readouterr().err
    assert (tmp_path / "weights.pth").read_text() == "mine"


def test_page_and_output_cannot_be_the_same_file(tmp_path):
    page = tmp_path / "both.html"
    with page.open("w") as output:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "prunekit", *SMALL, "--json", "--html", str(page)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert "the command's output goes to the same file; name another" in done.stderr
    assert page.read_text() == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_closed_folder_is_one_line(tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        assert main([*SMALL, "--html", str(tmp_path / "page.html")]) == 2
    finally:
        tmp_path.chmod(0o700)
    assert "is closed for writing" in capsys.readouterr().err


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch, capsys):
    page = tmp_path / "page.html"
    page.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    assert main([*SMALL, "--html", str(page)]) == 2
    out, err = capsys.readouterr()
    assert f"--html {page}: cannot be written: No space left on device" in err
    assert out == ""
    assert page.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["page.html"]


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    command = f"{sys.executable} -m prunekit inspect edsr --arguments blocks=1 | true"
    done = subprocess.run(  # noqa: S602 (a shell makes the pipe)
        command,
        shell=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_network_prints_stays_out_of_the_json(tmp_path):
    (tmp_path / "chatty.py").write_text(
        "import torch\n"
        "class Chatty(torch.nn.Conv2d):\n"
        "    def __init__(self):\n"
        "        super().__init__(3, 3, 3, padding=1)\n"
        "    def forward(self, x):\n"
        "        print('here I am')\n"
        "        return super().forward(x)\n"
    )
    done = run("inspect", "chatty:Chatty", "--json", cwd=tmp_path)

    assert done.returncode == 0
    assert json.loads(done.stdout)["operators"] > 0
    assert "here I am" in done.stderr
