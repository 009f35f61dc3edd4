"""Every recipe in `fixtures/bad_recipes` is refused in one clear line, and nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from prunekit.cli import main

FOLDER = Path(__file__).parents[1] / "fixtures" / "bad_recipes"
FIXTURES = sorted(FOLDER.glob("*.yaml"))
MARK = "# expect: "

EXPECTED_OF_UNCOMMENTED = {
    "binary": "line 2: byte 0x80 is not UTF-8; save it as UTF-8",
    "control_character": "line 1: the control character U+0007 cannot stand in YAML",
    "empty": "is empty; a recipe needs at least a 'prune' section",
    "not_utf8": "line 2: byte 0xe9 is not UTF-8; save it as UTF-8",
    "utf16": "line 1: byte 0xff is not UTF-8; save it as UTF-8",
}

COMMANDS = [["run"], ["run", "--dry-run"], ["recipes", "validate"]]


def expected_words(fixture: Path) -> str:
    if fixture.stem in EXPECTED_OF_UNCOMMENTED:
        return EXPECTED_OF_UNCOMMENTED[fixture.stem]
    first = fixture.read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith(MARK), f"{fixture.name} does not say what to expect"
    return first.removeprefix(MARK)


def test_there_are_fixtures_and_each_is_named_after_another_fault():
    assert len(FIXTURES) >= 36
    assert len({expected_words(fixture) + fixture.stem for fixture in FIXTURES}) == len(FIXTURES)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.stem)
def test_a_bad_recipe_is_refused_in_one_line(fixture, command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(FOLDER.iterdir())

    status = main([*command, str(fixture)])

    out, err = capsys.readouterr()
    assert status == 2, err
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert expected_words(fixture) in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []
    assert sorted(FOLDER.iterdir()) == before


@pytest.mark.parametrize("fixture", FIXTURES, ids=lambda fixture: fixture.stem)
def test_a_bad_recipe_is_named_by_its_file(fixture, capsys):
    main(["recipes", "validate", str(fixture)])

    line = capsys.readouterr().err
    assert ".yaml" in line
    assert len(line) < 600
