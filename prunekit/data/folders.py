"""Which files of a folder are images or clips, and which low-resolution ones belong to them."""

from __future__ import annotations

__all__ = [
    "NO_CLIP",
    "NO_IMAGE",
    "Matched",
    "clips_in",
    "image_files",
    "images_in",
    "match",
    "natural_order",
    "only",
]

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from prunekit.data.image import SUFFIXES
from prunekit.errors import DataError, did_you_mean

NO_IMAGE = f"holds no image; files ending in {', '.join(SUFFIXES)} are read"
NO_CLIP = "holds no clip; a clip is a folder of frames in it"
"""What is said of a folder that there is nothing to read in."""

T = TypeVar("T")

_MARK = re.compile(r"(?i)(?P<stem>.+?)(?:[_-](?:HR|GT|LR|LQ))?(?:[_-]?x(?P<scale>[0-9]+))?")
"""A name with what tells its part in a pair: `baby`, `babyx2`, `baby_x2`, `img_001_SRF_2_LR`."""


def image_files(folder: Path, *, below: bool = False) -> Iterator[Path]:
    """Find the image files right in a folder or, with `below`, in the folders in it as well.

    They are in order of their paths; hidden and other files are passed over, and so is a link back
    to a folder that it is in; a link that leads nowhere is not. Raises `DataError` for a folder
    that cannot be read.
    """
    return _image_files(folder, frozenset({folder.resolve()}) if below else None)


def _image_files(folder: Path, around: frozenset[Path] | None) -> Iterator[Path]:
    """The same, with the folders that it is in, itself among them, or None to look in no others."""
    for path in sorted(_entries(folder)):
        if path.name.startswith("."):
            continue
        if around is not None and path.is_dir():
            if (real := path.resolve()) not in around:
                yield from _image_files(path, around | {real})
        elif path.suffix.lower() in SUFFIXES and (path.is_file() or _leads_nowhere(path)):
            yield path


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def images_in(folder: Path) -> dict[str, Path]:
    """Return the image files right in a folder by their names without suffix, in natural order.

    Folders in it, hidden and other files are passed over. Raises `DataError` if there is none, or
    two have one name.
    """
    found: dict[str, Path] = {}
    for path in image_files(folder):
        if path.stem in found:
            message = (
                f"folder {folder} holds both {found[path.stem].name} and {path.name}, and a name "
                "stands for one image; rename one of them"
            )
            raise DataError(message)
        found[path.stem] = path
    if not found:
        message = f"folder {folder} {NO_IMAGE}"
        raise DataError(message)
    return _ordered(found)


def clips_in(folder: Path) -> dict[str, Path]:
    """Return the folders right in a folder by name, in natural order; hidden ones are passed over.

    Raises `DataError` if there is none.
    """
    found = {
        path.name: path
        for path in _entries(folder)
        if path.is_dir() and not path.name.startswith(".")
    }
    if not found:
        message = f"folder {folder} {NO_CLIP}"
        raise DataError(message)
    return _ordered(found)


def only(names: Iterable[str], known: Mapping[str, T], where: str, what: str) -> dict[str, T]:
    """Choose by name, in the order of `known`; `what` says in errors what is chosen."""
    chosen = set()
    for name in names:
        if name not in known:
            message = f"there is no {what} '{name}' in {where}{did_you_mean(name, known)}"
            raise DataError(message)
        chosen.add(name)
    if not chosen:
        message = f"no {what} of {where} is chosen; give at least one name, or leave the names out"
        raise DataError(message)
    return {name: value for name, value in known.items() if name in chosen}


@dataclass(frozen=True)
class Matched(Generic[T]):
    """What belongs to what by name."""

    partners: dict[str, T]  # of LR, by the name of HR
    missing: tuple[str, ...]  # names of HR without LR
    left: tuple[str, ...]  # names of LR without HR
    others: tuple[str, ...]  # names of LR of these HR at other scales

    def other_scale(self, name: str) -> str | None:
        """Return the name of LR of an image at another scale."""
        stems = {name, _parts(name)[0]}
        return next((other for other in self.others if _parts(other)[0] in stems), None)


def match(hr: Iterable[str], lr: Mapping[str, T], scale: int) -> Matched[T]:
    """Find the LR of the same name, else of the name with `x2` (the scale) or `_LR` behind it.

    `baby` goes with `baby`, `babyx2`, `baby_x2`, `baby_LR`, `baby_LRx2`, and `baby_HR` does too.
    """
    names = list(hr)
    taken = {name: name for name in names if name in lr}
    free: dict[tuple[str, int | None], str] = {}
    for other in lr:
        if other not in taken:
            free.setdefault(_parts(other), other)
    for name in names:
        stem = _parts(name)[0]
        keys = [(name, scale), (stem, scale), (name, None), (stem, None)]
        if name not in taken and (key := next((key for key in keys if key in free), None)):
            taken[name] = free.pop(key)
    used = set(taken.values())
    unused = [name for name in lr if name not in used]
    stems = {*names, *(_parts(name)[0] for name in names)}
    others = [other for other in unused if _is_of(other, stems, scale)]
    return Matched(
        partners={name: lr[taken[name]] for name in names if name in taken},
        missing=tuple(name for name in names if name not in taken),
        left=tuple(name for name in unused if name not in others),
        others=tuple(others),
    )


def _is_of(lr: str, stems: Collection[str], scale: int) -> bool:
    """Whether a name tells of another scale of one of these."""
    stem, own = _parts(lr)
    return own not in (None, scale) and stem in stems


def _parts(name: str) -> tuple[str, int | None]:
    """Take a name apart into what both images of a pair have in common, and the scale."""
    found = _MARK.fullmatch(name)
    if found is None:
        return name, None
    return found["stem"], int(found["scale"]) if found["scale"] else None


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort `2` before `10` and letters without regard to case; ties by the name itself."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(number or -1), word.lower()) for number, word in parts], name


def _ordered(found: Mapping[str, Path]) -> dict[str, Path]:
    return {name: found[name] for name in sorted(found, key=natural_order)}


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"images cannot be read from {folder}: {reason}; name a folder that holds them"
        raise DataError(message) from error
