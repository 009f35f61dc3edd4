"""Decoded pairs on disk, memory-mapped read-only, so that an image is decoded once and not again.

A pair is a file, named by a digest of where its images are, their size and times, and of what was
made of them: an image that is written anew, and every other setting, has another name, so nothing
old is ever read. (Times are cheap where hashing a whole data set at every start is not; the time
of the last change of a file is among them, which no tool sets back.) A file is written aside and
renamed, so it is whole or not there: interrupted work goes on where it was, and processes that
decode the same pair at once write the same bytes. Files are not locked; one that somebody deletes
is decoded again when it is next read.

What a network made of images, its outputs, is kept beside them in the same way. Their names come
of whatever facts the maker gives: the content of the image and of the network, not where they are.
"""

from __future__ import annotations

__all__ = ["GIB", "Cache", "Output", "default_folder"]

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
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray

from prunekit.data.decode import PairFiles, PairOptions
from prunekit.data.image import Image
from prunekit.errors import CacheError, DataError
from prunekit.files import write_atomic
from prunekit.progress import Progress

GIB = 1 << 30
"""Bytes."""

Output = NDArray[np.float16]
"""`(H, W, 3)`, what a network made of an image, from 0 to 1 as far as the network keeps to that."""


@dataclass(frozen=True)
class _Kind:
    """One kind of file in a cache."""

    folder: str
    suffix: str
    magic: bytes
    arrays: tuple[str, ...]  # in the order that they are in the file
    what: str  # in errors
    without: str  # how to do without


_PAIR = _Kind(
    "pairs", ".pair", b"prunekit pair 1\n", ("lr", "hr"), "decoded images", "set 'cache: false'"
)
_OUTPUT = _Kind(
    "outputs",
    ".output",
    b"prunekit output 1\n",
    ("sr",),
    "outputs of the teacher",
    "leave 'cache_teacher' out",
)
_KINDS = (_PAIR, _OUTPUT)
_HEAD = 512  # bytes before the pixels
_ALIGNED = 64  # bytes that LR and HR begin at a multiple of
_TYPES = {"uint8": np.uint8, "uint16": np.uint16, "float16": np.float16}
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
    """A folder of decoded pairs and outputs. It may be deleted at any time, whole or in part."""

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
        return self._place(_PAIR, facts)

    def output_path(self, facts: Mapping[str, object]) -> Path:
        """Say where an output is or will be; all that it depends on has to be among the facts."""
        return self._place(_OUTPUT, facts)

    def write(self, path: Path, lr: Image, hr: Image) -> None:
        """Put a pair in its place. Raises `CacheError` if the disk does not take it."""
        self._write(_PAIR, path, (lr, hr))

    def write_output(self, path: Path, sr: Output) -> None:
        """Put an output in its place. Raises `CacheError` if the disk does not take it."""
        self._write(_OUTPUT, path, (sr,))

    def read(self, path: Path) -> tuple[Image, Image] | None:
        """Map a pair read-only; None if it is not there or not whole."""
        arrays = _read(_PAIR, path)
        return None if arrays is None else (arrays[0], arrays[1])

    def read_output(self, path: Path) -> Output | None:
        """Map an output read-only; None if it is not there or not whole."""
        arrays = _read(_OUTPUT, path)
        return None if arrays is None else arrays[0]

    def mark_used(self, path: Path) -> None:
        """Note that a file is in use, at most once an hour; a folder of others' stays as it is."""
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _HOUR:
                os.utime(path)

    def trim(self, keep: Collection[Path]) -> None:
        """Delete what was not used for longest until the limit is kept, but nothing of `keep`.

        Outputs of a teacher that were used in the last two hours stay: a training may be using
        them, which could not make them anew.

        What a killed process left half written is deleted after a day.
        """
        kept = set(keep)
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        for used, size, path in entries:
            aside, age = not _is_whole(path), time.time() - used
            in_use = path in kept or (path.suffix == _OUTPUT.suffix and age < 2 * _HOUR)
            if (aside and age > _DAY) or (not aside and total > self.limit and not in_use):
                with contextlib.suppress(OSError):
                    path.unlink()
                    total -= size

    def keep_limit(self, used: Collection[Path], what: str, *, progress: Progress) -> None:
        """Trim, and warn if what is used, such as `these images`, needs more than the limit."""
        self.trim(keep=used)
        size = self.size()
        if size > self.limit:
            progress.warn(
                f"the cache {self.folder} holds {size / GIB:.1f} GiB where its limit is "
                f"{self.limit / GIB:.1f} GiB, since {what} need as much"
            )

    def size(self) -> int:
        """Bytes of all pairs and outputs."""
        return sum(size for _, size, path in self._entries() if _is_whole(path))

    def _place(self, kind: _Kind, facts: Mapping[str, object]) -> Path:
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]
        return self.folder / kind.folder / digest[:2] / f"{digest[2:]}{kind.suffix}"

    def _write(self, kind: _Kind, path: Path, arrays: Sequence[NDArray[Any]]) -> None:
        named = zip(kind.arrays, arrays, strict=True)
        facts = {name: [array.dtype.name, array.shape] for name, array in named}
        head = (kind.magic + json.dumps(facts).encode()).ljust(_HEAD)
        content: list[bytes | memoryview] = [head]
        for array in arrays:
            content += [np.ascontiguousarray(array).data, b"\0" * (-array.nbytes % _ALIGNED)]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, b"".join(content))
        except OSError as error:
            message = (
                f"{kind.what} cannot be kept in {self.folder}: {error.strerror or error}; name "
                f"another folder by PRUNEKIT_CACHE or 'data.cache.folder', or {kind.without}"
            )
            raise CacheError(message) from error

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of last use, bytes and path of every file of ours."""
        for kind in _KINDS:
            for path in (self.folder / kind.folder).glob("??/*"):
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    yield facts.st_mtime, facts.st_size, path


def _is_whole(path: Path) -> bool:
    """Whether a file has its name already, or is one that is being written."""
    return path.suffix in {kind.suffix for kind in _KINDS}


def _facts(path: Path) -> tuple[str, int, int, int]:
    """Tell one state of a file from another."""
    try:
        found = path.stat()
    except OSError as error:
        message = f"image {path} cannot be read: {error.strerror}; replace it or leave it out"
        raise DataError(message) from error
    return str(path.absolute()), found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _read(kind: _Kind, path: Path) -> list[NDArray[Any]] | None:
    """Map the arrays of a file read-only; None if it is not there or not whole."""
    arrays, after = [], _HEAD
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        head = content[:_HEAD]
        if not head.startswith(kind.magic):
            return None
        facts = json.loads(head[len(kind.magic) :])
        for name in kind.arrays:
            array, after = _array(content, facts[name], after)
            arrays.append(array)
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return arrays if after == len(content) else None


def _array(
    content: mmap.mmap, facts: tuple[str, Sequence[int]], offset: int
) -> tuple[NDArray[Any], int]:
    """Return a view of an array in a file, and where the next one begins."""
    name, shape = facts
    array: NDArray[Any] = np.frombuffer(content, _TYPES[name], math.prod(shape), offset)
    return array.reshape(shape), offset + array.nbytes + -array.nbytes % _ALIGNED
