"""Run folders: whole or not at all, nothing overwritten, nothing left lying about."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from prunekit.errors import PrunekitError
from prunekit.pipeline import folder as module
from prunekit.pipeline.folder import check_alone, check_free, new_folder


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def partial_of(folder: Path, pid: int, started: int, ending: str = "abc_12") -> Path:
    host = module._host()
    return folder.parent / f".{folder.name}.partial-{host}-{pid}-{started}-{ending}"


def old_run(folder: Path) -> list[str]:
    """Fill a folder with what an earlier run leaves, and name it."""
    folder.mkdir(parents=True)
    for name in ("plan.json", "report.json", "slim.safetensors"):
        (folder / name).touch()
    return entries(folder)


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "runs" / "run"


@pytest.fixture(scope="module")
def dead() -> int:
    """Process id of a process that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_a_folder_appears_when_it_is_complete(folder):
    with new_folder(folder, overwrite=False) as partial:
        (partial / "a").write_text("x", encoding="utf-8")
        assert not folder.exists()
        assert partial.parent == folder.parent
        assert partial.name.startswith(".run.partial-")
    assert entries(folder) == ["a"]
    assert entries(folder.parent) == ["run"]
    assert folder.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, PrunekitError])
def test_a_failure_inside_leaves_nothing(folder, error):
    def failing() -> None:
        with new_folder(folder, overwrite=False) as partial:
            (partial / "a").touch()
            raise error

    with pytest.raises(error):
        failing()
    assert entries(folder.parent) == []


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_inside_leaves_what_was_there(folder, overwrite):
    folder.mkdir(parents=True)
    (folder / "old").touch()
    with pytest.raises((RuntimeError, PrunekitError)), new_folder(folder, overwrite=overwrite):
        raise RuntimeError
    assert entries(folder) == ["old"]
    assert entries(folder.parent) == ["run"]


def test_what_exists_is_not_overwritten(folder):
    folder.mkdir(parents=True)
    (folder / "old").touch()
    with (
        pytest.raises(PrunekitError, match=f"{folder} exists already; pass --overwrite"),
        new_folder(folder, overwrite=False),
    ):
        pytest.fail("nothing may be filled")
    assert entries(folder.parent) == ["run"]


def test_what_exists_is_replaced_as_a_whole_when_told_to(folder):
    old = old_run(folder)
    with new_folder(folder, overwrite=True) as partial:
        (partial / "new").touch()
        assert entries(folder) == old
    assert entries(folder) == ["new"]
    assert entries(folder.parent) == ["run"]


def test_what_exists_is_replaced_also_where_two_folders_cannot_swap_names(folder, monkeypatch):
    monkeypatch.setattr(module, "_exchange", lambda *_: False)
    old_run(folder)
    fill(folder)
    assert entries(folder) == ["a"]
    assert entries(folder.parent) == ["run"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux swaps two names in one step")
def test_there_is_a_run_at_any_moment_while_it_is_replaced(folder, monkeypatch):
    old = old_run(folder)

    def killed(path: Path, **_: object) -> None:
        assert entries(path) == old
        assert entries(folder) == ["a"]
        raise KeyboardInterrupt

    monkeypatch.setattr(module.shutil, "rmtree", killed)
    monkeypatch.setattr(Path, "replace", lambda *_: pytest.fail("it is no single step"))
    with pytest.raises(KeyboardInterrupt):
        fill(folder)
    assert entries(folder) == ["a"]


@pytest.mark.parametrize("name", ["thesis.txt", "plan.json"])
def test_what_is_no_run_is_never_overwritten(folder, name):
    folder.mkdir(parents=True)
    (folder / name).touch()
    with (
        pytest.raises(PrunekitError, match="holds other things than a run"),
        new_folder(folder, overwrite=True),
    ):
        pytest.fail("nothing may be filled")
    assert entries(folder) == [name]


def test_the_folder_that_one_stands_in_is_not_overwritten(folder, monkeypatch):
    old = old_run(folder)
    monkeypatch.chdir(folder)
    with (
        pytest.raises(PrunekitError, match="is where this was started from"),
        new_folder(folder, overwrite=True),
    ):
        pytest.fail("nothing may be filled")
    assert entries(folder) == old


@pytest.mark.parametrize("there", [False, True])
def test_a_link_is_followed_and_kept(folder, tmp_path, there):
    target = tmp_path / "elsewhere" / "real"
    if there:
        old_run(target)
    folder.parent.mkdir()
    folder.symlink_to(target)
    with new_folder(folder, overwrite=there) as partial:
        (partial / "new").touch()
    assert folder.is_symlink()
    assert entries(target) == ["new"]
    assert entries(target.parent) == ["real"]


def test_an_empty_folder_is_free(folder):
    folder.mkdir(parents=True)
    with new_folder(folder, overwrite=False) as partial:
        (partial / "new").touch()
    assert entries(folder) == ["new"]


def test_a_folder_that_another_run_made_in_the_meantime_is_not_overwritten(folder):
    def slow() -> None:
        with new_folder(folder, overwrite=False) as partial:
            (partial / "mine").touch()
            folder.mkdir()
            (folder / "theirs").touch()

    with pytest.raises(PrunekitError, match="exists already"):
        slow()
    assert entries(folder) == ["theirs"]
    assert entries(folder.parent) == ["run"]


def test_a_file_is_never_replaced(folder):
    folder.parent.mkdir()
    folder.write_text("x", encoding="utf-8")
    for overwrite in (False, True):
        with pytest.raises(PrunekitError, match="is a file; choose another name"):
            check_free(folder, overwrite=overwrite)
    assert folder.read_text(encoding="utf-8") == "x"


def test_the_old_folder_comes_back_when_the_new_one_cannot_take_its_place(folder, monkeypatch):
    old = old_run(folder)
    original = Path.replace

    def failing(self: Path, target: Path) -> Path:
        if target == folder and (self / "new").exists():
            raise OSError(5, "Input/output error")
        return original(self, target)

    monkeypatch.setattr(module, "_exchange", lambda *_: False)  # as where the system cannot
    monkeypatch.setattr(Path, "replace", failing)
    with (
        pytest.raises(PrunekitError, match="cannot be written: Input/output error"),
        new_folder(folder, overwrite=True) as partial,
    ):
        (partial / "new").touch()
    assert entries(folder) == old
    assert entries(folder.parent) == ["run"]


@pytest.mark.parametrize("name", ["x" * 300, "file/run"])
def test_a_folder_that_cannot_be_made_is_told(tmp_path, name):
    (tmp_path / "file").touch()
    with (
        pytest.raises(PrunekitError, match=r"cannot be made: .*; choose another output folder"),
        new_folder(tmp_path / name, overwrite=False),
    ):
        pytest.fail("there is no such folder")
    assert entries(tmp_path) == ["file"]


def fill(folder: Path) -> None:
    with new_folder(folder, overwrite=True) as partial:
        (partial / "a").touch()


def test_what_a_dead_process_left_is_swept(folder, dead):
    left = partial_of(folder, dead, 1_700_000_000)
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "a").touch()
    fill(folder)
    assert entries(folder.parent) == ["run"]


def test_what_a_process_left_whose_number_another_now_has_is_swept(folder):
    left = partial_of(folder, os.getpid(), 1_000_000_000)
    left.mkdir(parents=True)
    fill(folder)
    assert entries(folder.parent) == ["run"]


@pytest.mark.parametrize("drift", [-2, 0, 2])
def test_what_a_living_process_fills_is_left_even_if_the_clock_was_set(folder, drift):
    started = int(psutil.Process().create_time()) + drift
    living = partial_of(folder, os.getpid(), started)
    living.mkdir(parents=True)
    fill(folder)
    assert entries(folder.parent) == sorted([living.name, "run"])


def test_what_two_runs_fill_at_a_time_is_left_to_each(folder):
    with new_folder(folder, overwrite=True) as first:
        (first / "first").touch()
        with new_folder(folder, overwrite=True) as second:
            assert first != second
            for name in ("second", "plan.json", "slim.safetensors"):
                (second / name).touch()
        assert (first / "first").exists()
        assert "second" in entries(folder)
    assert entries(folder) == ["first"]


def test_another_process_that_fills_it_is_seen(folder):
    started = int(psutil.Process().create_time())
    with new_folder(folder, overwrite=False) as partial:
        check_alone(partial, folder)
        other = partial_of(folder, os.getpid(), started)
        other.mkdir()
        with pytest.raises(PrunekitError, match=f"is being made by process {os.getpid()} right"):
            check_alone(partial, folder)
        other.rmdir()


@pytest.mark.parametrize(
    "name",
    [
        ".run.partial-",
        ".run.partial-{host}-",
        ".run.partial-{host}-x-y-z",
        ".run.partial-{host}-99999999999999999999-1-a",
        ".run.partial-00000000-{dead}-1-abc",
        ".other.partial-{host}-{dead}-1-abc",
        "run.partial-{host}-{dead}-1-abc",
        ".run2.partial-{host}-{dead}-1-abc",
        ".xrun.partial-{host}-{dead}-1-abc",
    ],
)
def test_what_belongs_to_others_is_left(folder, dead, name):
    other = folder.parent / name.format(host=module._host(), dead=dead)
    other.mkdir(parents=True)
    fill(folder)
    assert entries(folder.parent) == sorted([other.name, "run"])
