"""Pairs of images out of folders: HR alone, or HR and LR whose names say which belong together."""

from __future__ import annotations

__all__ = ["PairFiles", "find_pairs", "read_pair"]

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.data.image import SUFFIXES, read_image
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import downscale, modcrop
from prunekit.errors import DataError

_MARK = re.compile(r"(?i)(?P<stem>.+?)(?:[_-]?(?:HR|GT|LR|LQ))?(?:[_-]?x(?P<scale>[0-9]+))?$")
"""A name with what tells its part in a pair: `baby`, `babyx2`, `baby_x2`, `img_001_SRF_LR`."""

_SHOWN = 3
"""Names that a message lists."""


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair."""

    name: str
    hr: Path
    lr: Path | None  # None: made from HR by MATLAB's bicubic


def find_pairs(hr: Path, lr: Path | None, scale: int) -> list[PairFiles]:
    """Pair the images of two folders by their names, in natural order, before any is read.

    An LR image is called as HR, or has the scale behind: `baby.png` goes with `baby.png`,
    `babyx2.png`, `baby_x2.png`. Raises `DataError` for HR without LR, and where there is none.
    """
    high = _images(hr)
    if lr is None:
        return [PairFiles(name, path, None) for name, path in high.items()]
    low = _images(lr)
    found = {name: _partner(name, low, scale) for name in high}
    if missing := [name for name, path in found.items() if path is None]:
        raise DataError(_missing(missing, low, lr, scale))
    return [PairFiles(name, high[name], path) for name, path in found.items()]


def read_pair(files: PairFiles, scale: int) -> ImagePair:
    """Read a pair; HR is cut at the bottom and right to a multiple of the scale.

    Raises `DataError` if a file cannot be used, or if HR is not `scale` times as large as LR.
    """
    image = read_image(files.hr)
    height, width = image.shape[:2]
    if min(height, width) < scale:
        message = (
            f"image {files.hr} of {width}x{height} pixels is too small for scale {scale}; leave it "
            "out"
        )
        raise DataError(message)
    hr = modcrop(image, scale)
    if files.lr is None:
        return ImagePair(files.name, downscale(hr, scale), hr)
    low = read_image(files.lr)
    if (low.shape[0] * scale, low.shape[1] * scale) != hr.shape[:2]:
        message = (
            f"image {files.lr} has {low.shape[1]}x{low.shape[0]} pixels where scale {scale} of "
            f"{files.hr} with {width}x{height} asks for {hr.shape[1] // scale}x"
            f"{hr.shape[0] // scale}; name the folder or the scale that belong together"
        )
        raise DataError(message)
    return ImagePair(files.name, low, hr)


def _images(folder: Path) -> dict[str, Path]:
    """Return the image files right in a folder by name without suffix, in natural order."""
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"images cannot be read from {folder}: {reason}; name a folder that holds them"
        raise DataError(message) from error
    found: dict[str, Path] = {}
    for path in sorted(entries, key=lambda path: _natural_order(path.name)):
        if path.suffix.lower() not in SUFFIXES or not path.is_file():
            continue
        if path.stem in found:
            message = (
                f"folder {folder} holds both {found[path.stem].name} and {path.name}, and a name "
                "stands for one image; rename one of them"
            )
            raise DataError(message)
        found[path.stem] = path
    if not found:
        message = f"folder {folder} holds no image; files ending in {', '.join(SUFFIXES)} are read"
        raise DataError(message)
    return found


def _partner(name: str, low: Mapping[str, Path], scale: int) -> Path | None:
    """Find LR by the same name, else by the same name but for what tells its part."""
    if name in low:
        return low[name]
    stem = _parts(name)[0]
    fitting = [path for other, path in low.items() if _parts(other) == (stem, scale)]
    plain = [path for other, path in low.items() if _parts(other) == (stem, None)]
    return next(iter(fitting or plain), None)


def _parts(name: str) -> tuple[str, int | None]:
    match = _MARK.fullmatch(name)
    if match is None:
        return name, None
    number = match["scale"]
    return match["stem"], int(number) if number else None


def _missing(names: list[str], low: Collection[str], folder: Path, scale: int) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_SHOWN])
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    stem = _parts(names[0])[0]
    others = sorted(other for other in low if _parts(other)[0] == stem)
    hint = f"; there is '{others[0]}', of another scale" if others else ""
    return (
        f"folder {folder} holds no LR image of {shown}{more}: looked for '{stem}' and "
        f"'{stem}x{scale}'{hint}"
    )


def _natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort `2` before `10` and letters without regard to case; ties by the name itself."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(number or -1), word.lower()) for number, word in parts], name
