"""A checkpoint named on the command line: refused in one sentence where there is none."""

from __future__ import annotations

__all__ = ["CHECKPOINTS", "check_checkpoint", "is_file", "is_folder"]

from pathlib import Path

from prunekit.errors import RecipeError, did_you_mean
from prunekit.recipe.nodes import shown

CHECKPOINTS = (".safetensors", ".pth", ".pt", ".ckpt")
"""Suffixes of files that may hold weights."""


def check_checkpoint(path: Path, *, source: str) -> None:
    """Raise `RecipeError` unless there is such a file, of a kind that can be read.

    `source` says in messages where the path comes from.
    """
    if is_folder(path):
        why = "is a folder; name a file in it"
    elif not is_file(path):
        why = f"is not there{_nearest(path)}"
    elif path.suffix.lower() not in CHECKPOINTS:
        why = f"is of no kind that can be read; there is {', '.join(CHECKPOINTS)}"
    else:
        return
    message = f"{source}: the checkpoint {shown(str(path))} {why}"
    raise RecipeError(message)


def is_file(path: Path) -> bool:
    """Whether there is such a file; none has a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is such a folder; none has a name that no folder can have."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def _nearest(path: Path) -> str:
    """Offer the file next to it that is spelt nearly so."""
    try:
        files = list(path.parent.iterdir())
    except (OSError, ValueError):
        return ""
    hint = did_you_mean(path.name, [f.name for f in files if f.suffix.lower() in CHECKPOINTS])
    return hint if "did you mean" in hint else ""
