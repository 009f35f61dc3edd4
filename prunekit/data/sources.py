"""Where images come from: folders, clips and photographs, listed with the files of every pair."""

from __future__ import annotations

__all__ = ["Clips", "Folder", "ImageSource", "Listed", "Photographs", "list_clips", "list_images"]

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prunekit.data.decode import PairFiles
from prunekit.data.folders import clips_in, images_in, match, natural_order, only
from prunekit.data.photographs import PHOTOGRAPHS, photograph_folder
from prunekit.errors import DataError


@dataclass(frozen=True)
class Folder:
    """The image files right in a folder; folders in it, hidden and other files are passed over."""

    path: Path
    names: tuple[str, ...] | None = None  # file names without suffix; None: all of them
    lr: Path | None = None  # folder of LR, called as `match` tells; None: made


@dataclass(frozen=True)
class Photographs:
    """Photographs of the installed scikit-image package."""

    names: tuple[str, ...] | None = None  # keys of `PHOTOGRAPHS`; None: all of them


@dataclass(frozen=True)
class Clips:
    """A folder of clips, each a folder whose images are its frames in natural order."""

    path: Path
    names: tuple[str, ...] | None = None  # names of clips; None: all of them
    lr: Path | None = None  # folder of clips of the same names with frames of the same names


ImageSource = Folder | Photographs | Clips


@dataclass(frozen=True)
class Listed:
    """What a source holds: the files of every pair by name, or why there is no pair."""

    where: str
    entries: Mapping[str, PairFiles | DataError]


def list_images(source: ImageSource, scale: int) -> Listed:
    """List the files of every image of a source, or of every frame of its clips."""
    if isinstance(source, Clips):
        clips = list_clips(source, scale)
        return Listed(clips.where, dict(_frames(clips.entries)))
    if isinstance(source, Photographs):
        folder = photograph_folder()
        files = {name: folder / photograph.file for name, photograph in PHOTOGRAPHS.items()}
        where = "the photographs of scikit-image"
        return _listed(files, None, source.names, where, scale)
    lr = images_in(source.lr) if source.lr else None
    return _listed(images_in(source.path), lr, source.names, f"folder {source.path}", scale)


def _listed(
    files: Mapping[str, Path],
    lr: Mapping[str, Path] | None,
    names: tuple[str, ...] | None,
    where: str,
    scale: int,
) -> Listed:
    """Pair images by name; what has no partner is a fault of its own."""
    ordered = {name: files[name] for name in sorted(files, key=natural_order)}
    chosen = ordered if names is None else only(names, ordered, where, "image")
    if lr is None:
        return Listed(where, {name: PairFiles(name, (hr,)) for name, hr in chosen.items()})
    found = match(chosen, lr, scale)
    entries: dict[str, PairFiles | DataError] = {
        name: PairFiles(name, (hr,), (found.partners[name],))
        if name in found.partners
        else DataError(_lone(name, hr, found.other_scale(name), scale))
        for name, hr in chosen.items()
    }
    for name in found.left if names is None else ():
        entries.setdefault(name, DataError(f"image {lr[name]} is LR without an HR image"))
    return Listed(where, entries)


def _lone(name: str, path: Path, other: str | None, scale: int) -> str:
    hint = f"; there is '{other}', of another scale" if other else ""
    return f"image {path} has no LR: there is neither '{name}' nor '{name}x{scale}'{hint}"


def list_clips(source: Clips, scale: int) -> Listed:
    """List the frames of every clip of a source."""
    where = f"folder {source.path}"
    clips = clips_in(source.path)
    chosen = clips if source.names is None else only(source.names, clips, where, "clip")
    lr = clips_in(source.lr) if source.lr else None
    return Listed(where, {n: _clip(n, path, lr, scale) for n, path in chosen.items()})


def _clip(
    name: str, folder: Path, lr: Mapping[str, Path] | None, scale: int
) -> PairFiles | DataError:
    try:
        frames = images_in(folder)
        if lr is None:
            return PairFiles(name, tuple(frames.values()), clip=True)
        if name not in lr:
            return DataError(f"clip {folder} has no LR: there is no folder '{name}'")
        found = match(frames, images_in(lr[name]), scale)
    except DataError as error:
        return error
    lone = found.missing or found.left
    if lone:
        kind = "LR" if found.missing else "HR"
        return DataError(f"clip {folder}: {len(lone)} without {kind}, first frame '{lone[0]}'")
    return PairFiles(name, tuple(frames.values()), tuple(found.partners.values()), clip=True)


def _frames(
    clips: Mapping[str, PairFiles | DataError],
) -> Iterator[tuple[str, PairFiles | DataError]]:
    """Take clips apart into images; a clip that cannot be used stays one fault."""
    for clip, files in clips.items():
        if isinstance(files, DataError):
            yield clip, files
            continue
        for index, hr in enumerate(files.hr):
            name = f"{clip}/{hr.stem}"
            yield name, PairFiles(name, (hr,), files.lr and (files.lr[index],))
