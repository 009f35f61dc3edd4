"""Checkpoints of a training: whole folders or none, with the digest of every file in them."""

from __future__ import annotations

__all__ = ["Checkpoint", "CheckpointFolder"]

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from prunekit.errors import FileFormatError, brief
from prunekit.files import sync_folder, write_atomic

_FORMAT = "prunekit-checkpoint/1"
_MANIFEST = "manifest.json"
_PREFIX = "step-"
_PARTIAL = ".partial-"

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands after some steps."""

    step: int
    """Steps that are done."""
    parts: Mapping[str, Tensors]
    """Tensors by what they belong to, such as `model` and `optimizer`."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Everything else; JSON keeps it."""
    score: float | None = None
    """What the best is chosen by, higher is better."""


class CheckpointFolder:
    """The checkpoints of one training. Only one process writes.

    Each is a folder `step-00001000` with a safetensors file a part and a manifest, which appears
    under its name when all of it is on the disk.
    """

    def __init__(self, folder: Path, *, keep_last: int = 2) -> None:
        self.folder = folder
        self._keep_last = keep_last

    def commit(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint, then remove those that need not stay.

        Those of later steps are void: a training that went on from an earlier one left them.
        Raises `OSError` with all earlier ones intact.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left, ignore_errors=True)
        partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=self.folder))
        target = self.folder / f"{_PREFIX}{checkpoint.step:08d}"
        try:
            self._fill(partial, checkpoint)
            partial.chmod(0o755)
            if target.exists():  # of a run that went on from an earlier one
                shutil.rmtree(target)
            partial.replace(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        sync_folder(self.folder)
        self._prune(target)
        return target

    def latest(self) -> tuple[Checkpoint | None, tuple[str, ...]]:
        """The newest checkpoint that is whole, and what is wrong with newer ones."""
        faults: list[str] = []
        for path in reversed(self._paths()):
            try:
                return self.read(path), tuple(faults)
            except FileFormatError as error:  # noqa: PERF203 (a few)
                faults.append(str(error))
        return None, tuple(faults)

    def best(self) -> Checkpoint | None:
        """The one of the highest score, the earliest of equal ones; None if none has a score."""
        path = self._best_path()
        return None if path is None else self.read(path)

    def read(self, path: Path) -> Checkpoint:
        """Read and check a checkpoint. Raises `FileFormatError` if it is not whole."""
        manifest = _manifest(path)
        parts = {}
        for name, digest in manifest["files"].items():
            try:
                content = (path / name).read_bytes()
            except OSError as error:
                message = f"{path / name}: cannot be read ({error.strerror}); it is damaged"
                raise FileFormatError(message) from error
            if hashlib.sha256(content).hexdigest() != digest:
                message = f"{path / name}: the content does not match its digest; it is damaged"
                raise FileFormatError(message)
            parts[name.removesuffix(".safetensors")] = load(content)
        return Checkpoint(manifest["step"], parts, manifest["facts"], manifest["score"])

    def clear(self) -> None:
        """Remove all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fill(self, folder: Path, checkpoint: Checkpoint) -> None:
        digests = {}
        for part, tensors in checkpoint.parts.items():
            content = save({name: tensor.contiguous() for name, tensor in tensors.items()})
            name = f"{part}.safetensors"
            write_atomic(folder / name, content)
            digests[name] = hashlib.sha256(content).hexdigest()
        manifest = {
            "format": _FORMAT,
            "step": checkpoint.step,
            "score": checkpoint.score,
            "files": digests,
            "facts": checkpoint.facts,
        }
        manifest["digest"] = _digest(manifest)
        write_atomic(folder / _MANIFEST, json.dumps(manifest))

    def _paths(self) -> list[Path]:
        """Folders of checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob(f"{_PREFIX}*") if path.is_dir())

    def _best_path(self) -> Path | None:
        best, highest = None, -math.inf
        for path in self._paths():
            try:
                score = _manifest(path)["score"]
            except FileFormatError:
                continue
            if score is not None and score > highest:
                best, highest = path, score
        return best

    def _prune(self, newest: Path) -> None:
        paths = self._paths()
        for void in paths[paths.index(newest) + 1 :]:
            shutil.rmtree(void)
        best = self._best_path()
        for path in self._paths()[: -self._keep_last]:
            if path != best:
                shutil.rmtree(path)


def _manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a checkpoint and check its own digest."""
    file = path / _MANIFEST
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        found = manifest["format"]
        if found != _FORMAT:
            message = f"{file}: has format {found!r}; this version reads {_FORMAT!r}"
            raise FileFormatError(message)
        digest = manifest.pop("digest")
        whole = digest == _digest(manifest) and isinstance(manifest["step"], int)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        message = f"{file}: not the manifest of a checkpoint ({brief(error)}); it is damaged"
        raise FileFormatError(message) from error
    if not whole:
        message = f"{file}: the content does not match its digest; it is damaged"
        raise FileFormatError(message)
    return dict(manifest)


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
