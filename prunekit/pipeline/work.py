"""The hidden folder beside a run's own, which a run that was killed goes on from."""

from __future__ import annotations

__all__ = ["keep_logs", "remove_work", "work_folder", "work_path"]

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from prunekit.errors import PrunekitError
from prunekit.files import write_atomic
from prunekit.train.state import FREE

_RECIPE = "recipe.yaml"
_CHECKPOINTS = "*/step-*"
_KEPT = ("steps.jsonl", "samples", "tensorboard")
"""What of a stage is worth keeping when the run is over."""


def work_path(folder: Path) -> Path:
    """Where the checkpoints of a run are."""
    folder = Path(os.path.realpath(folder))
    return folder.parent / f".{folder.name}.work"


@contextmanager
def work_folder(folder: Path, recipe: str, *, overwrite: bool, resume: bool) -> Iterator[Path]:
    """Give the folder to work in; it stays after a failure if there are checkpoints in it.

    Raises:
        PrunekitError: it is left of a run that was not finished, and neither `overwrite` nor
            `resume` is on; or that run had another recipe; or the disk took no more.
    """
    work = work_path(folder)
    if overwrite and not resume:
        remove_work(folder)
    if work.exists() and any(work.glob(_CHECKPOINTS)):
        _check(work, folder, recipe, resume=resume)
    else:
        remove_work(folder)
        work.mkdir(parents=True)
        write_atomic(work / _RECIPE, recipe)
    try:
        yield work
    except BaseException as error:
        if not any(work.glob(_CHECKPOINTS)):
            remove_work(folder)
        elif isinstance(error, OSError):  # the disk is full, or gone
            message = (
                f"{folder} cannot be written: {error.strerror or error}; its checkpoints are kept, "
                "so mend that and go on with --resume (resume=True in Python)"
            )
            raise PrunekitError(message) from error
        raise


def _check(work: Path, folder: Path, recipe: str, *, resume: bool) -> None:
    if not resume:
        message = (
            f"a run of the name '{folder.name}' was not finished; pass --resume (resume=True in "
            "Python) to go on with it, or --overwrite to begin anew"
        )
        raise PrunekitError(message)
    file = work / _RECIPE
    if not file.is_file() or _lasting(file.read_text(encoding="utf-8")) != _lasting(recipe):
        message = (
            f"the unfinished run '{folder.name}' has another recipe than this, so it cannot go "
            f"on with it; see {file}, or pass --overwrite instead of --resume to begin anew"
        )
        raise PrunekitError(message)
    write_atomic(file, recipe)


def _lasting(recipe: str) -> object:
    """What a run that goes on has to have in common with the one that began.

    How it is judged and reported comes last, and may be mended; so may what a training lets be
    another.
    """
    content = yaml.safe_load(recipe)
    if not isinstance(content, dict):
        return None
    stages = [stage.get("train") for stage in content.get("stages") or []]
    for section in (content.get("train"), *stages):
        for name in FREE if isinstance(section, dict) else ():
            section.pop(name, None)
    return {name: value for name, value in content.items() if name not in ("evaluate", "report")}


def keep_logs(work: Path, folder: Path) -> None:
    """Copy logs of steps and sample images into the folder of the run."""
    for stage in sorted(work.glob("stage-*")):
        for name in _KEPT:
            source, target = stage / name, folder / "training" / stage.name / name
            if source.is_dir():
                shutil.copytree(source, target)
            elif source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)


def remove_work(folder: Path) -> None:
    """Remove the folder with all checkpoints."""
    shutil.rmtree(work_path(folder), ignore_errors=True)
