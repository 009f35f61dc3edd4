"""Run folders appear whole or not at all, and replace nothing unless told to."""

from __future__ import annotations

__all__ = ["check_alone", "check_free", "new_folder"]

import ctypes
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from prunekit.errors import PrunekitError
from prunekit.files import sync_folder

_PARTIAL = ".partial-"

_SIGNS = ("plan.json", "slim.safetensors")
"""What every folder of ours holds, and no other that somebody would miss."""

_AT_FDCWD, _EXCHANGE = -100, 2
"""Of Linux' `renameat2`: paths are relative to the current folder; the two swap their names."""

_CLOCK_STEP = 10.0
"""Seconds by which two readings of a start time may differ; process ids come back later."""


@contextmanager
def new_folder(folder: Path, *, overwrite: bool) -> Iterator[Path]:
    """Give a folder to fill, which takes its name when it is complete.

    Until then it is hidden beside its place; after a failure it is removed. What processes that
    no longer run left there is swept first.

    Raises:
        PrunekitError: the folder exists and `overwrite` is off, or it cannot be made.
    """
    try:
        folder = Path(os.path.realpath(folder))
        check_free(folder, overwrite=overwrite)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _sweep(folder)
        partial = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
    except (OSError, ValueError) as error:  # of a null byte in it
        why = getattr(error, "strerror", None) or error
        message = f"{folder} cannot be made: {why}; choose another output folder"
        raise PrunekitError(message) from error
    try:
        partial.chmod(0o755)
        yield partial
        sync_folder(partial)
        check_free(folder, overwrite=overwrite)
        _put_in_place(partial, folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        message = f"{folder} cannot be written: {error.strerror or error}; nothing is left of it"
        raise PrunekitError(message) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def check_free(folder: Path, *, overwrite: bool) -> None:
    """Raise `PrunekitError` if the folder would be overwritten without leave."""
    if folder.exists() and not folder.is_dir():
        message = f"{folder} is a file; choose another name"
        raise PrunekitError(message)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if overwrite and not all((folder / name).is_file() for name in _SIGNS):
        message = (
            f"{folder} holds other things than a run ({' and '.join(_SIGNS)} are not both there), "
            "so it is not overwritten; choose another name"
        )
        raise PrunekitError(message)
    if Path.cwd().is_relative_to(folder):
        message = f"{folder} is where this was started from; start it elsewhere to replace it"
        raise PrunekitError(message)
    if not overwrite:
        message = (
            f"{folder} exists already; pass --overwrite (overwrite=True in Python) to replace it, "
            "or choose another name"
        )
        raise PrunekitError(message)


def check_alone(partial: Path, folder: Path) -> None:
    """Raise `PrunekitError` if another process of this machine fills a folder of the same name."""
    for other, owner in _partials(Path(os.path.realpath(folder))):
        if other.name != partial.name and _runs(*owner):
            message = (
                f"{folder} is being made by process {owner[0]} right now; wait for it, or choose "
                "another name"
            )
            raise PrunekitError(message)


def _put_in_place(partial: Path, folder: Path) -> None:
    """Let it take its name at once, so that there is a folder of that name at any moment."""
    if not folder.is_dir():
        partial.replace(folder)
    elif _exchange(partial, folder):
        shutil.rmtree(partial, ignore_errors=True)
    else:
        old = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        old.rmdir()
        folder.replace(old)
        try:
            partial.replace(folder)
        except OSError:
            old.replace(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync_folder(folder.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders swap their names in one step, where the system can."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if sys.platform == "linux" else None
    if rename is None:
        return False
    here = ctypes.c_int(_AT_FDCWD)
    return not rename(here, os.fsencode(one), here, os.fsencode(other), ctypes.c_uint(_EXCHANGE))


def _prefix(folder: Path) -> str:
    """Name of a partial folder: whose it is, and which process on which machine fills it."""
    started = int(psutil.Process().create_time())
    return f".{folder.name}{_PARTIAL}{_host()}-{os.getpid()}-{started}-"


def _host() -> str:
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def _sweep(folder: Path) -> None:
    """Remove partial folders of this run whose process is gone."""
    for left, owner in _partials(folder):
        if not _runs(*owner):
            shutil.rmtree(left, ignore_errors=True)


def _partials(folder: Path) -> Iterator[tuple[Path, tuple[int, int]]]:
    """Partial folders of this run on this machine, with the process and its start."""
    name = re.escape(f".{folder.name}{_PARTIAL}{_host()}")
    for path in list(folder.parent.iterdir()):
        owner = re.fullmatch(rf"{name}-(\d{{1,10}})-(\d{{1,12}})-\w+", path.name)
        if owner:
            yield path, (int(owner[1]), int(owner[2]))


def _runs(pid: int, started: int) -> bool:
    try:
        # the clock that start times are told by may have been set in between
        return abs(psutil.Process(pid).create_time() - started) < _CLOCK_STEP
    except psutil.NoSuchProcess:
        return False
