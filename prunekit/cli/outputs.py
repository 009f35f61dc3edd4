"""A file that a command writes: refused before any work, written whole or not at all."""

from __future__ import annotations

__all__ = ["check_output", "check_page", "write_output"]

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prunekit.errors import RecipeError
from prunekit.files import write_atomic

_PAGES = (".html", ".htm")


def check_page(path: Path, *, option: str, inputs: Sequence[Path] = ()) -> None:
    """Raise `RecipeError` where no page can be written, as `check_output` or by its name."""
    check_output(path, option=option, inputs=inputs)
    if path.suffix.lower() not in _PAGES:
        message = f"{option} {path}: a page ends in {' or '.join(_PAGES)}; name it so"
        raise RecipeError(message)


def check_output(path: Path, *, option: str, inputs: Sequence[Path] = ()) -> None:
    """Raise `RecipeError` where no file can be written, or where something else would be lost.

    Args:
        path: where the file is to be.
        option: what asks for it on the command line.
        inputs: files that the command reads.
    """
    try:
        why = _objection(path, inputs)
    except (OSError, ValueError) as error:  # a name too long, a loop of links, a null byte
        why = f"cannot be used: {getattr(error, 'strerror', None) or error}"
    if why:
        message = f"{option} {path}: {why}"
        raise RecipeError(message)


def write_output(path: Path, content: str, *, option: str) -> None:
    """Write a file. Raises `RecipeError` with an older file intact."""
    try:
        write_atomic(path, content)
    except OSError as error:
        message = f"{option} {path}: cannot be written: {error.strerror or error}"
        raise RecipeError(message) from error


def _objection(path: Path, inputs: Sequence[Path]) -> str:
    """Say why no file can be written here; empty if it can."""
    if path.is_dir():
        return "is a folder; name a file in it"
    if not path.parent.is_dir():
        return f"there is no folder '{path.parent}'; make it first"
    if not os.access(path.parent, os.W_OK):
        return f"the folder '{path.parent}' is closed for writing"
    return _loss(path, inputs) if path.exists() else ""


def _loss(path: Path, inputs: Sequence[Path]) -> str:
    """Say what would be lost with the file that is there."""
    if not path.is_file():
        return "is no file that can be replaced"
    if any(file.is_file() and path.samefile(file) for file in inputs):
        return "is the file that is read; name another"
    if _is_output(path):
        return "the command's output goes to the same file; name another"
    return ""


def _is_output(path: Path) -> bool:
    """Whether the shell sends what we print into this file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # nothing that has a number
        return False
