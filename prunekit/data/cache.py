"""Decoded pairs on disk, memory-mapped read-only, so that an image is decoded once and not again.

A pair is a file, named by a digest of where its images are, their size and times, and of what was
made of them: an image that is written anew, and every other setting, has another name, so nothing
old is ever read. (Times are cheap where hashing a whole data set at every start is not; the time
of the last change of a file is among them, which no tool sets back.) A file is written aside and
renamed, so it is whole or not there: interrupted work goes on where it was, and processes that
decode the same pair at once write the same bytes. Files are not locked; one that somebody deletes
is decoded again when it is next read.
"""

from __future__ import annotations

__all__ = ["GIB", "Cache", "default_folder"]

import contextlib
import hashlib
import json
import math
import mmap
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import PIL

from prunekit.data.decode import PairFiles, PairOptions
from prunekit.data.image import Image
from prunekit.errors import CacheError, DataError
from prunekit.files import write_atomic

GIB = 1 << 30
"""Bytes."""

_MAGIC = b"prunekit pair 1\n"
_HEAD = 512  # bytes before the pixels
_ALIGNED = 64  # bytes that LR and HR begin at a multiple of
_TYPES: Mapping[str, type[np.uint8 | np.uint16]] = {"uint8": np.uint8, "uint16": np.uint16}
_SUFFIX = ".pair"
_HOUR, _DAY = 3600.0, 86400.0


def default_folder() -> Path:
    """Return `$PRUNEKIT_CACHE`, else the folder for caches that the system gives every user.

    Raises `CacheError` if the user has no home.
    """
    named = os.environ.get("PRUNEKIT_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else _home() / "AppData" / "Local") / "prunekit" / "Cache"
    if sys.platform == "darwin":
        return _home() / "Library" / "Caches" / "prunekit"
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else _home() / ".cache") / "prunekit"


def _home() -> Path:
    try:
        return Path.home()
    except RuntimeError as error:
        message = (
            "there is no home folder to keep decoded images in; name a folder by PRUNEKIT_CACHE or "
            "'data.cache.folder', or set 'cache: false'"
        )
        raise CacheError(message) from error


@dataclass(frozen=True)
class Cache:
    """A folder of decoded pairs. It may be deleted at any time, whole or in part."""

    folder: Path = field(default_factory=default_folder)
    limit: int = 64 * GIB  # bytes; what was not used for longest goes first

    def path(self, files: PairFiles, options: PairOptions) -> Path:
        """Say where the pair of these files is or will be. Raises `DataError` if one is gone."""
        facts = {
            "pillow": PIL.__version__,
            "options": asdict(options),
            "clip": files.clip,
            "hr": [_facts(path) for path in files.hr],
            "lr": files.lr and [_facts(path) for path in files.lr],
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
        return self.folder / "pairs" / digest[:2] / f"{digest[2:]}{_SUFFIX}"

    def write(self, path: Path, lr: Image, hr: Image) -> None:
        """Put a pair in its place. Raises `CacheError` if the disk does not take it."""
        arrays = [("lr", lr), ("hr", hr)]
        facts = {name: [array.dtype.name, array.shape] for name, array in arrays}
        content: list[bytes | memoryview] = [(_MAGIC + json.dumps(facts).encode()).ljust(_HEAD)]
        for _, array in arrays:
            content += [np.ascontiguousarray(array).data, b"\0" * (-array.nbytes % _ALIGNED)]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, b"".join(content))
        except OSError as error:
            message = (
                f"decoded images cannot be kept in {self.folder}: {error.strerror or error}; name "
                "another folder by PRUNEKIT_CACHE or 'data.cache.folder', or set 'cache: false'"
            )
            raise CacheError(message) from error

    def read(self, path: Path) -> tuple[Image, Image] | None:
        """Map a pair read-only; None if it is not there or not whole."""
        try:
            with path.open("rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            head = content[:_HEAD]
            if not head.startswith(_MAGIC):
                return None
            facts = json.loads(head[len(_MAGIC) :])
            lr, after = _array(content, facts["lr"], _HEAD)
            hr, after = _array(content, facts["hr"], after)
        except (OSError, ValueError, LookupError, TypeError):
            return None
        return (lr, hr) if after == len(content) else None

    def mark_used(self, path: Path) -> None:
        """Note that a pair is in use, at most once an hour; a folder of others' stays as it is."""
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _HOUR:
                os.utime(path)

    def trim(self, keep: Collection[Path]) -> None:
        """Delete what was not used for longest until the limit is kept, but nothing of `keep`.

        What a killed process left half written is deleted after a day.
        """
        kept = set(keep)
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for used, size, path in entries:
            aside = path.suffix != _SUFFIX
            if (aside and time.time() - used > _DAY) or (
                not aside and total > self.limit and path not in kept
            ):
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def size(self) -> int:
        """Bytes of all pairs."""
        return sum(size for _, size, path in self._entries() if path.suffix == _SUFFIX)

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, bytes and path of every file of ours."""
        for path in (self.folder / "pairs").glob("??/*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                yield facts.st_mtime, facts.st_size, path


def _facts(path: Path) -> tuple[str, int, int, int]:
    """Tell one state of a file from another."""
    try:
        found = path.stat()
    except OSError as error:
        message = f"image {path} cannot be read: {error.strerror}; replace it or leave it out"
        raise DataError(message) from error
    return str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _array(content: mmap.mmap, facts: tuple[str, Sequence[int]], offset: int) -> tuple[Image, int]:
    """Return a view of an array in a file, and where the next one begins."""
    name, shape = facts
    array: Image = np.frombuffer(content, _TYPES[name], math.prod(shape), offset)
    return array.reshape(shape), offset + array.nbytes + -array.nbytes % _ALIGNED
