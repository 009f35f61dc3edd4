"""Pairs of a low- and a high-resolution image, made from photographs by MATLAB's bicubic."""

from __future__ import annotations

__all__ = ["Folder", "ImagePair", "ImageSource", "Photographs", "load_pairs"]

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.data.image import SUFFIXES, Image, read_image
from prunekit.data.photographs import PHOTOGRAPHS, photograph_folder
from prunekit.data.resize import downscale, modcrop
from prunekit.errors import DataError, did_you_mean
from prunekit.progress import Progress


@dataclass(frozen=True)
class Folder:
    """The image files right in a folder; folders in it, hidden and other files are passed over."""

    path: Path
    names: tuple[str, ...] | None = None  # file names without suffix; None: all of them


@dataclass(frozen=True)
class Photographs:
    """Photographs of the installed scikit-image package."""

    names: tuple[str, ...] | None = None  # keys of `PHOTOGRAPHS`; None: all of them


ImageSource = Folder | Photographs


@dataclass(frozen=True)
class ImagePair:
    """An image and its reduced copy, both `(H, W, 3)` 8-bit RGB."""

    name: str  # the file's name without suffix, unique in its source
    lr: Image
    hr: Image  # cut at the bottom and right to exactly `scale` times the size of `lr`

    @property
    def scale(self) -> int:
        """How many times larger `hr` is than `lr`."""
        return int(self.hr.shape[0] // self.lr.shape[0])


def load_pairs(
    source: ImageSource, scale: int, *, progress: Progress, purpose: str = ""
) -> list[ImagePair]:
    """Read every image of a source and reduce it, in natural order of the names.

    The progress says what they are for, such as `training`. Raises `DataError` if there is no
    image, a name is unknown, or a file cannot be used.
    """
    files = _files(source)
    progress.start(f"read {purpose} images".replace("  ", " "), len(files))
    pairs = []
    for name, path in files.items():
        pairs.append(_make_pair(name, path, scale))
        progress.advance()
    progress.finish(f"{len(pairs)} images")
    return pairs


def _make_pair(name: str, path: Path, scale: int) -> ImagePair:
    image = read_image(path)
    height, width = image.shape[:2]
    if min(height, width) < scale:
        message = (
            f"image {path} of {width}x{height} pixels is too small for scale {scale}; leave it out"
        )
        raise DataError(message)
    hr = modcrop(image, scale)
    return ImagePair(name=name, lr=downscale(hr, scale), hr=hr)


def _files(source: ImageSource) -> dict[str, Path]:
    """Return the path of every image of a source by its name, in natural order of the names."""
    if isinstance(source, Photographs):
        folder = photograph_folder()
        known = {name: folder / photograph.file for name, photograph in PHOTOGRAPHS.items()}
        where = "the photographs of scikit-image"
    else:
        known = _images_in(source.path)
        where = f"folder {source.path}"
    chosen = known if source.names is None else _only(source.names, known, where)
    return {name: chosen[name] for name in sorted(chosen, key=_natural_order)}


def _images_in(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(_entries(folder)):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
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


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError as error:
        reason = error.strerror or type(error).__name__
        message = f"images cannot be read from {folder}: {reason}; name a folder that holds them"
        raise DataError(message) from error


def _only(names: Iterable[str], known: Mapping[str, Path], where: str) -> dict[str, Path]:
    chosen = {}
    for name in names:
        if name not in known:
            message = f"there is no image '{name}' in {where}{did_you_mean(name, known)}"
            raise DataError(message)
        chosen[name] = known[name]
    if not chosen:
        message = f"no image of {where} is chosen; give at least one name, or leave the names out"
        raise DataError(message)
    return chosen


def _natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort `2` before `10` and letters without regard to case; ties by the name itself."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(int(number or -1), word.lower()) for number, word in parts], name
