"""What the command line promises: exit status, one line an error, streams, no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from prunekit.cli import engine, main
from prunekit.errors import PlanError, VerificationError
from prunekit.recipe import load_recipe
from prunekit.version import __version__

RECIPE = """\
name: small
model: {network: edsr}
prune:
  method: filter
  target: {channel_ratio: 0.5}
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Stand in a folder that holds `r.yaml`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def error_of(capsys):
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def raising(error):
    def act(*_, **__):
        raise error

    return act


def test_the_version_is_printed(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"prunekit {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["recipes"], ["run", "-h"]])
@pytest.mark.parametrize("columns", ["40", "120"])
def test_help_is_no_error(arguments, columns, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", columns)

    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "Usage: prunekit" in out
    assert err == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run"], "see 'prunekit run --help'"),
        (["run", "r.yaml", "--overwrit"], "--overwrit"),
        (["run", "r.yaml", "more.yaml"], "more.yaml"),
        (["run", "r.yaml", "--set"], "--set"),
        (["prun", "r.yaml"], "No such command 'prun'"),
        (["frobnicate"], "No such command 'frobnicate'; see 'prunekit --help'"),
        (["recipes", "check"], "No such command 'check'; see 'prunekit recipes --help'"),
        (["recipes", "validate"], "see 'prunekit recipes validate --help'"),
        (["inspect"], "see 'prunekit inspect --help'"),
    ],
)
@pytest.mark.usefixtures("here")
def test_a_wrong_command_line_is_one_line_and_status_2(arguments, words, capsys):
    assert main(arguments) == 2
    assert words in error_of(capsys)


# run


def test_run_needs_a_network(here, capsys):
    (here / "r.yaml").write_text(RECIPE.replace("model: {network: edsr}\n", ""), encoding="utf-8")

    assert main(["run", "r.yaml"]) == 2
    assert "r.yaml: the recipe has no 'model' section" in error_of(capsys)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (PlanError("the target [bold] cannot\nbe reached"), 2, "target [bold] cannot be reached"),
        (VerificationError("the outputs differ"), 1, "the outputs differ"),
        (ValueError("\x1b[31mred"), 1, "unexpected ValueError: \\x1b[31mred; run again with"),
        (OSError(28, "No space left"), 1, "No space left; run again with --debug"),
        (SystemExit(0), 1, "unexpected SystemExit"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
@pytest.mark.usefixtures("here")
def test_what_stops_a_run_decides_its_status(error, status, words, monkeypatch, capsys):
    monkeypatch.setattr(engine, "run", raising(error))

    assert main(["run", "r.yaml", "--quiet"]) == status
    line = error_of(capsys)
    assert words in line
    assert "Traceback" not in line


@pytest.mark.parametrize(
    ("environment", "who"),
    [
        ({}, ""),
        ({"RANK": "0", "LOCAL_RANK": "0"}, ""),
        ({"RANK": "3"}, ""),  # some cluster's, and nobody else's to write
        ({"RANK": "3", "LOCAL_RANK": "1"}, "process 3: "),
    ],
)
@pytest.mark.usefixtures("here")
def test_one_of_several_processes_writes_and_each_says_which_it_is(
    environment, who, monkeypatch, capsys
):
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine, "follow" if who else "run", raising(PlanError("too much")))
    assert main(["run", "r.yaml", "--quiet"]) == 2
    assert capsys.readouterr().err == f"error: {who}too much\n"


@pytest.mark.parametrize("command", [["run", "r.yaml"], ["inspect", "edsr"]])
@pytest.mark.usefixtures("here")
def test_debug_prints_the_traceback_and_keeps_the_status(command, monkeypatch, capsys):
    monkeypatch.setattr(engine, "run", raising(PlanError("too much")))
    monkeypatch.setattr(engine, "trace_model", raising(PlanError("too much")))

    assert main([*command, "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: too much\n")


@pytest.mark.usefixtures("here")
def test_overrides_and_options_reach_the_run(monkeypatch, capsys):
    seen = {}

    def record(recipe, **options):
        seen.update(recipe=recipe, overwrite=options["overwrite"])
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "run", record)
    main(["run", "r.yaml", "--set", "seed=5", "--set", "prune.round_to=16", "-o", "elsewhere"])

    assert (seen["recipe"].seed, seen["recipe"].prune.round_to) == (5, 16)
    assert seen["recipe"].output == Path("elsewhere")
    assert seen["overwrite"] is False
    main(["run", "r.yaml", "--overwrite"])
    assert seen["overwrite"] is True
    assert seen["recipe"].output == Path("runs")
    capsys.readouterr()


@pytest.mark.usefixtures("here")
def test_output_is_checked_before_the_run(monkeypatch, capsys):
    monkeypatch.setattr(engine, "run", raising(AssertionError("must not run")))

    assert main(["run", "r.yaml", "--output", "r.yaml"]) == 2
    assert "'output' is r.yaml, which is not a folder" in error_of(capsys)


# recipes


def test_validate_says_which_files_are_fine_and_goes_on_after_a_mistake(here, capsys):
    (here / "bad.yaml").write_text("prune: 1\n", encoding="utf-8")

    assert main(["recipes", "validate", "r.yaml", "bad.yaml", "nowhere.yaml", "r.yaml"]) == 2
    out, err = capsys.readouterr()
    assert out == "r.yaml: fine\nr.yaml: fine\n"
    assert [line.split(":")[1].split(",")[0] for line in err.splitlines()] == [
        " bad.yaml",
        " recipe nowhere.yaml cannot be read",
    ]
    assert main(["recipes", "validate", "r.yaml"]) == 0


def test_show_prints_a_recipe_that_reads_back_equal(here, capsys):
    assert main(["recipes", "show", "r.yaml", "--set", "seed=9"]) == 0
    (here / "shown.yaml").write_text(capsys.readouterr().out, encoding="utf-8")

    assert load_recipe("shown.yaml") == load_recipe("r.yaml", ["seed=9"])


def test_show_prints_foreign_text_as_it_is(here, capsys):
    (here / "r.yaml").write_text(RECIPE + "  protect: ['[bold]*', 'ü']\n", encoding="utf-8")

    assert main(["recipes", "show", "r.yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["prune"]["protect"] == ["[bold]*", "ü"]


def test_schema_prints_json(capsys):
    assert main(["recipes", "schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "prunekit recipe"


# as a process


def run_process(*arguments, cwd):
    return subprocess.run(  # noqa: S603 (our own command)
        [sys.executable, "-m", "prunekit", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_module_is_the_command(here):
    done = run_process("recipes", "show", "r.yaml", "--set", "seed=[1]", cwd=here)

    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "error: --set seed=[1]: 'seed' is a list of 1; "
        "allowed: a whole number, at least 0 and below 4294967296\n"
    )


def test_a_factory_beside_the_recipe_is_found(here):
    (here / "mynet.py").write_text("class Net: ...\n", encoding="utf-8")
    text = RECIPE.replace("network: edsr", "factory: 'mynet:Net'")
    (here / "r.yaml").write_text(text, encoding="utf-8")

    done = run_process("recipes", "validate", "r.yaml", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (0, "r.yaml: fine\n", "")


def test_a_reader_that_has_seen_enough_is_no_error(here):
    with subprocess.Popen(
        [sys.executable, "-m", "prunekit", "recipes", "schema"],
        cwd=here,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.close()
        err = process.stderr.read()
    assert b"Traceback" not in err
    assert b"Exception" not in err
