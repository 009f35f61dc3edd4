"""Atomic writing."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from prunekit.files import append_durably, write_atomic


def test_text_is_written_as_utf8_and_bytes_as_they_are(tmp_path):
    write_atomic(tmp_path / "a", "Größe\n")
    write_atomic(tmp_path / "b", b"\0\xff")
    assert (tmp_path / "a").read_bytes() == "Größe\n".encode()
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_bytes_of_a_name_that_are_no_text_are_told_as_they_are(tmp_path):
    write_atomic(tmp_path / "a", f"{os.fsdecode(b'x-')}\udcff\n")
    assert (tmp_path / "a").read_bytes() == b"x-\\udcff\n"


def test_a_file_is_replaced_in_one_step(tmp_path):
    file = tmp_path / "a"
    write_atomic(file, "old")
    with file.open("rb") as opened:
        write_atomic(file, "new")
        assert opened.read() == b"old"  # whoever reads it goes on reading the old one
    assert file.read_text(encoding="utf-8") == "new"


def test_a_new_file_has_the_usual_rights(tmp_path):
    before = os.umask(0o027)
    try:
        write_atomic(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    file = tmp_path / "a"
    write_atomic(file, "old")

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(error):
        write_atomic(file, "new")
    monkeypatch.undo()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert file.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127])
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path, name):
    try:
        (tmp_path / name).touch()
    except OSError:
        pytest.skip("the system takes no such name")
    write_atomic(tmp_path / name, "x")
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_is_added_comes_after_what_was_there(tmp_path):
    for text in ("one\n", "zwölf\n"):
        append_durably(tmp_path / "a", text)
    assert (tmp_path / "a").read_text(encoding="utf-8") == "one\nzwölf\n"


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "no" / "a", "x")
