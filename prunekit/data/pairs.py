"""Pairs of a low- and a high-resolution image or clip: in memory, or decoded once to disk."""

from __future__ import annotations

__all__ = [
    "ClipPair",
    "Clips",
    "Folder",
    "ImagePair",
    "ImageSource",
    "PairT",
    "Pairs",
    "Photographs",
    "Skipped",
    "find_clips",
    "find_pairs",
    "load_clips",
    "load_pairs",
]

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TypeVar, overload

from prunekit.data.cache import Cache
from prunekit.data.decode import PairFiles, PairOptions, decode
from prunekit.data.image import Alpha, Image
from prunekit.data.sources import (
    Clips,
    Folder,
    ImageSource,
    Listed,
    Photographs,
    list_clips,
    list_images,
)
from prunekit.errors import DataError
from prunekit.progress import Progress

_GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it are spread evenly between whole numbers."""

_OPEN = 128
"""Files that one process holds open at most for one set of pairs."""

_NAMED = 5
"""Images that a message names at most."""


@dataclass(frozen=True)
class ImagePair:
    """An image and its reduced copy, both `(H, W, 3)` RGB, 8-bit unless 16 bits are kept."""

    name: str  # the file's name without suffix, unique in its source; `clip/frame` of a clip
    lr: Image
    hr: Image  # cut at the bottom and right to exactly `scale` times the size of `lr`

    @property
    def scale(self) -> int:
        """How many times larger `hr` is than `lr`."""
        return int(self.hr.shape[0] // self.lr.shape[0])


@dataclass(frozen=True)
class ClipPair:
    """A clip and its reduced copy, `(T, H, W, 3)` with as many frames each; else as `ImagePair`."""

    name: str
    lr: Image
    hr: Image

    @property
    def scale(self) -> int:
        """How many times larger the frames of `hr` are than those of `lr`."""
        return int(self.hr.shape[1] // self.lr.shape[1])


@dataclass(frozen=True)
class Skipped:
    """An image or clip that was left out."""

    name: str
    reason: str  # what the error would have said


T = TypeVar("T")
PairT = TypeVar("PairT", bound=ImagePair | ClipPair)


class Pairs(Sequence[PairT]):
    """Pairs in natural order of their names, and what was left out of them."""

    def __init__(self, pairs: Sequence[PairT], skipped: Sequence[Skipped] = ()) -> None:
        self._pairs: Sequence[PairT] = pairs
        self.skipped = tuple(skipped)

    def __len__(self) -> int:
        return len(self._pairs)

    @overload
    def __getitem__(self, index: int) -> PairT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PairT]: ...
    def __getitem__(self, index: int | slice) -> PairT | Sequence[PairT]:
        return self._pairs[index]

    def __repr__(self) -> str:
        return f"Pairs({len(self)} pairs, {len(self.skipped)} skipped)"

    def without(self, reasons: Mapping[int, str], *, why: str, progress: Progress) -> Pairs[PairT]:
        """Leave some out, by place, and say so: why in general, and of the first in particular."""
        if not reasons:
            return self
        skipped = [Skipped(self[place].name, reason) for place, reason in reasons.items()]
        kind = "clips" if isinstance(self[0], ClipPair) else "images"
        progress.warn(
            f"{len(reasons)} of {len(self)} {kind} are left out, since {why} ({skipped[0].reason})"
        )
        rest = [place for place in range(len(self)) if place not in reasons]
        return Pairs(_Chosen(self._pairs, rest), (*self.skipped, *skipped))


class _Chosen(Sequence[PairT]):
    """Some of a sequence of pairs; none is read before it is asked for."""

    def __init__(self, pairs: Sequence[PairT], places: Sequence[int]) -> None:
        self._pairs, self._places = pairs, places

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> PairT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PairT]: ...
    def __getitem__(self, index: int | slice) -> PairT | Sequence[PairT]:
        if isinstance(index, slice):
            return _Chosen(self._pairs, self._places[index])
        return self._pairs[self._places[index]]


def load_pairs(
    source: ImageSource,
    scale: int,
    *,
    progress: Progress,
    purpose: str = "",
    modcrop: int | None = None,
    alpha: Alpha = "refuse",
    deep: bool = False,
    skip_unreadable: bool = False,
    cache: Cache | None = None,
) -> Pairs[ImagePair]:
    """Read the images of a source, or every frame of clips by itself, in natural order.

    Args:
        source: where the images are; LR that is not given is made by MATLAB's bicubic.
        scale: how many times larger HR is than LR.
        progress: told every image.
        purpose: what they are for, such as `training`, to say so.
        modcrop: what the sides of HR are cut to a multiple of; the scale if not given.
        alpha: what becomes of images with transparent pixels.
        deep: keep 16-bit images; otherwise they are rounded to 8 bits.
        skip_unreadable: leave out what cannot be used, with a warning and in `Pairs.skipped`.
        cache: decode to disk, unless that is done, and map from there; None: into memory.

    Raises:
        DataError: there is no image, a name is unknown, or files cannot be used; all are tried
            and counted first.
        CacheError: the cache cannot be written.
    """
    options = PairOptions(scale, modcrop, alpha, deep)
    stage = f"read {purpose} images".replace("  ", " ")
    loader = _Loader(options, progress, stage, skip_unreadable=skip_unreadable)
    return loader.load(list_images(source, scale), ImagePair, cache)


def find_pairs(source: ImageSource, scale: int, *, modcrop: int | None = None) -> Pairs[ImagePair]:
    """Find the images of a source, and read each pair when it is asked for: one is held at a time.

    Raises `DataError` if there is no image or one has no partner; for files that cannot be used,
    when it comes to them.
    """
    return _find(list_images(source, scale), PairOptions(scale, modcrop), ImagePair)


def find_clips(source: Clips, scale: int, *, modcrop: int | None = None) -> Pairs[ClipPair]:
    """Find whole clips, as `find_pairs` finds images: one is held at a time."""
    return _find(list_clips(source, scale), PairOptions(scale, modcrop), ClipPair)


def _find(listed: Listed, options: PairOptions, kind: type[PairT]) -> Pairs[PairT]:
    files = [each for each in listed.entries.values() if isinstance(each, PairFiles)]
    faults = [
        Skipped(name, str(entry))
        for name, entry in listed.entries.items()
        if isinstance(entry, DataError)
    ]
    if faults:
        raise DataError(_refusal(faults, listed, "mend them, or take them out"))
    return Pairs(_Unread(files, options, kind))


def load_clips(
    source: Clips,
    scale: int,
    *,
    progress: Progress,
    purpose: str = "",
    modcrop: int | None = None,
    alpha: Alpha = "refuse",
    deep: bool = False,
    skip_unreadable: bool = False,
    cache: Cache | None = None,
) -> Pairs[ClipPair]:
    """Read whole clips; everything else is as in `load_pairs`."""
    options = PairOptions(scale, modcrop, alpha, deep)
    stage = f"read {purpose} clips".replace("  ", " ")
    loader = _Loader(options, progress, stage, skip_unreadable=skip_unreadable)
    return loader.load(list_clips(source, scale), ClipPair, cache)


@dataclass(frozen=True)
class _Loader:
    """Turns files into pairs, and tells how it goes."""

    options: PairOptions
    progress: Progress
    stage: str
    skip_unreadable: bool

    def load(self, listed: Listed, kind: type[PairT], cache: Cache | None) -> Pairs[PairT]:
        if cache is None:
            pairs, skipped = self._each(
                listed, lambda files: kind(files.name, *decode(files, self.options))
            )
            return Pairs(pairs, skipped)
        # Processes that begin at once begin at different places, and so share the work.
        start = int(os.getpid() * _GOLDEN % 1 * len(listed.entries))
        stored, skipped = self._each(listed, lambda f: _store(f, self.options, cache), start=start)
        used = [each.path for each in stored]
        cache.keep_limit(used, "these images", progress=self.progress)
        return Pairs(_Mapped(cache, self.options, kind, stored), skipped)

    def _each(
        self, listed: Listed, make: Callable[[PairFiles], T], *, start: int = 0
    ) -> tuple[list[T], list[Skipped]]:
        """Make something of every entry, beginning anywhere, and deal with those that fail."""
        names = list(listed.entries)
        self.progress.start(self.stage, len(names))
        made: dict[str, T] = {}
        faults: dict[str, DataError] = {}
        for name in names[start:] + names[:start]:
            try:
                made[name] = make(_usable(listed.entries[name]))
            except DataError as error:
                faults[name] = error
            self.progress.advance()
        skipped = [Skipped(name, str(faults[name])) for name in names if name in faults]
        note = f"{len(made)} {self.stage.split()[-1]}"
        self.progress.finish(f"{note}, {len(skipped)} left out" if skipped else note)
        if skipped and not (self.skip_unreadable and made):
            remedy = "set 'skip_unreadable' to leave them out, or mend them"
            raise DataError(_refusal(skipped, listed, remedy)) from faults[skipped[0].name]
        if skipped:
            self.progress.warn(f"{_counted(skipped, listed)} are left out")
        return [made[name] for name in names if name in made], skipped


class _Unread(Sequence[PairT]):
    """Pairs of files, each read when it is asked for."""

    def __init__(self, files: Sequence[PairFiles], options: PairOptions, kind: type[PairT]) -> None:
        self._files, self._options, self._kind = files, options, kind

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, index: int) -> PairT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PairT]: ...
    def __getitem__(self, index: int | slice) -> PairT | Sequence[PairT]:
        if isinstance(index, slice):
            return _Unread(self._files[index], self._options, self._kind)
        files = self._files[index]
        return self._kind(files.name, *decode(files, self._options))


@dataclass(frozen=True)
class _Stored:
    """A pair in the cache, and what to decode should it vanish."""

    files: PairFiles
    path: Path


class _Mapped(Sequence[PairT]):
    """Pairs of a cache, each mapped when it is asked for; other processes get names alone."""

    def __init__(
        self, cache: Cache, options: PairOptions, kind: type[PairT], stored: Sequence[_Stored]
    ) -> None:
        self._cache, self._options, self._kind, self._stored = cache, options, kind, tuple(stored)
        self._open = lru_cache(maxsize=_OPEN)(self._map)

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> PairT: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[PairT]: ...
    def __getitem__(self, index: int | slice) -> PairT | Sequence[PairT]:
        if isinstance(index, slice):
            return _Mapped(self._cache, self._options, self._kind, self._stored[index])
        return self._open(range(len(self._stored))[index])

    def __reduce__(self) -> tuple[type[_Mapped[PairT]], tuple[object, ...]]:
        return type(self), (self._cache, self._options, self._kind, self._stored)

    def _map(self, index: int) -> PairT:
        stored = self._stored[index]
        arrays = self._cache.read(stored.path) or self._again(stored)
        return self._kind(stored.files.name, *arrays)

    def _again(self, stored: _Stored) -> tuple[Image, Image]:
        """Decode what was deleted from the cache, if the files are still what they were."""
        if self._cache.path(stored.files, self._options) != stored.path:
            message = (
                f"the files of '{stored.files.name}' changed while they were in use; start again"
            )
            raise DataError(message)
        arrays = decode(stored.files, self._options)
        self._cache.write(stored.path, *arrays)
        return self._cache.read(stored.path) or arrays


def _store(files: PairFiles, options: PairOptions, cache: Cache) -> _Stored:
    """Decode a pair to the cache unless it is there."""
    path = cache.path(files, options)
    if cache.read(path) is None:
        lr, hr = decode(files, options)
        if cache.path(files, options) != path:
            message = f"the files of '{files.name}' changed while they were read; start again"
            raise DataError(message)
        cache.write(path, lr, hr)
    else:
        cache.mark_used(path)
    return _Stored(files, path)


def _usable(entry: PairFiles | DataError) -> PairFiles:
    if isinstance(entry, DataError):
        raise entry
    return entry


def _refusal(faults: Sequence[Skipped], listed: Listed, remedy: str) -> str:
    if len(faults) == 1:
        return faults[0].reason
    return f"{_counted(faults, listed)} cannot be used; {remedy}"


def _counted(faults: Sequence[Skipped], listed: Listed) -> str:
    named = ", ".join(f"'{fault.name}'" for fault in faults[:_NAMED])
    more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
    total = len(listed.entries)
    return f"{len(faults)} of {total} in {listed.where} ({named}{more}; {faults[0].reason})"
