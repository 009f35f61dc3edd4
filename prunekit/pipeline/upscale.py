"""Enlarging pictures: one in memory, one file, or a folder that can be gone on with."""

from __future__ import annotations

__all__ = ["TILE", "Enlarged", "upscale", "upscale_files"]

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import nn

from prunekit.data.encode import WRITTEN, encode_picture
from prunekit.data.folders import NO_IMAGE, image_files
from prunekit.data.image import Picture, Pixels, read_picture, size_of
from prunekit.errors import DataError, MeasureError, PrunekitError
from prunekit.files import write_atomic
from prunekit.measure.tiles import find_reach, infer_tiled, tiles
from prunekit.progress import Progress, Silent

TILE = 256
"""Pixels of LR a side that are enlarged at once, unless told otherwise."""

_UNBOUNDED = 32
"""Overlap for a network that looks at the whole image."""


@dataclass(frozen=True)
class Enlarged:
    """What became of the files of a folder."""

    written: int
    kept: int  # were there already


def upscale(
    model: nn.Module,
    image: Pixels,
    *,
    tile: int = TILE,
    overlap: int | None = None,
    progress: Progress | None = None,
) -> Pixels:
    """Enlarge a picture with a network of RGB images from 0 to 1; it keeps its bits and channels.

    Grey goes in as three equal channels, and their mean comes out. Alpha is enlarged apart, by
    bicubic interpolation.

    Args:
        model: runs on its own device and in its own dtype.
        image: `(H, W)` or `(H, W, C)` of 8 or 16 bits: grey, grey and alpha, RGB, RGB and alpha.
        tile: pixels a side that are enlarged at once; 0 for the whole image.
        overlap: pixels that a tile sees beyond its sides; as far as the network looks unless
            given, so that tiles are not seen in the result.
        progress: told of every tile, and warned where tiles may be seen.

    Raises:
        DataError: the picture is of another kind.
        MeasureError: the network gives no usable image.
    """
    pixels = image[..., None] if image.ndim == 2 else image  # noqa: PLR2004
    _check(pixels, tile, overlap)
    told = Silent() if progress is None else progress
    enlarger = _Enlarger(model, tile, overlap, told)
    told.start("upscale", enlarger.steps(pixels))
    result = enlarger.enlarge(pixels, done=told.advance)
    told.finish(f"{size_of(result)} pixels")
    return result[..., 0] if image.ndim == 2 else result  # noqa: PLR2004


def upscale_files(
    model: nn.Module,
    source: Path,
    target: Path,
    *,
    tile: int = TILE,
    overlap: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Enlarged:
    """Enlarge a file, or all images under a folder into the same places under another.

    Every file appears whole or not at all. In a folder, files that are there already are kept
    unless `overwrite`, so that a second run goes on where the first was stopped; an image that
    cannot be used does not stop the others. Images under a folder become PNG.

    Raises:
        DataError: there is no image, a file is in the way, or some could not be used.
        MeasureError: the network gives no usable image.
    """
    told = Silent() if progress is None else progress
    try:
        pairs = _targets(source, target, overwrite=overwrite)
    except OSError as error:  # a name too long, a loop of links, no permission
        message = f"{error.filename} cannot be used: {error.strerror}"
        raise DataError(message) from error
    if source.is_dir():
        todo = {file: out for file, out in pairs.items() if overwrite or not out.exists()}
        _enlarge_all(_Enlarger(model, tile, overlap, told), todo)
        return Enlarged(len(todo), len(pairs) - len(todo))
    picture, out = read_picture(source), pairs[source]
    encode_picture(Picture(picture.pixels[:1, :1]), out.suffix)  # refused before the work
    _check_writable(out)
    result = upscale(model, picture.pixels, tile=tile, overlap=overlap, progress=told)
    _write(out, Picture(result, picture.profile))
    return Enlarged(1, 0)


def _enlarge_all(enlarger: _Enlarger, todo: Mapping[Path, Path]) -> None:
    """Enlarge file by file; those that cannot be used are told, and the first raised at the end."""
    progress = enlarger.progress
    progress.start("upscale", len(todo))
    failures: list[PrunekitError] = []
    for file, out in todo.items():
        try:
            picture = read_picture(file)
            _write(out, Picture(enlarger.enlarge(picture.pixels), picture.profile))
        except MeasureError as error:
            failures.append(MeasureError(f"image {file}: {error}"))
            progress.warn(str(failures[-1]))
        except DataError as error:  # names the file
            failures.append(error)
            progress.warn(str(error))
        progress.advance()
    progress.finish(f"{len(todo) - len(failures)} images")
    if failures:
        message = f"{len(failures)} of {len(todo)} images could not be enlarged: {failures[0]}"
        raise DataError(message) from failures[0]


@dataclass
class _Enlarger:
    """A network with how it is to be applied; looks for its reach once, and only if needed."""

    model: nn.Module
    tile: int
    overlap: int | None
    progress: Progress

    def steps(self, pixels: Pixels) -> int:
        """How many tiles there will be."""
        return len(tiles(*pixels.shape[:2], size=self.tile, overlap=0))

    def enlarge(self, pixels: Pixels, *, done: Callable[[], None] = lambda: None) -> Pixels:
        """Enlarge colour by the network and alpha apart."""
        _check(pixels, self.tile, self.overlap)
        height, width, channels = pixels.shape
        colour = 1 if channels < 3 else 3  # noqa: PLR2004
        rgb = np.broadcast_to(pixels[..., :colour], (height, width, 3))
        top = np.iinfo(pixels.dtype).max
        batch = torch.from_numpy(rgb.astype(np.float32).transpose(2, 0, 1) / np.float32(top))
        overlap = self._reach if self.steps(pixels) > 1 else 0
        cut = tiles(height, width, size=self.tile, overlap=overlap)
        planes = infer_tiled(self.model, batch[None], cut, done=done)[0].numpy() * top
        if colour == 1:
            planes = planes.mean(0, keepdims=True)
        if colour < channels:
            planes = np.concatenate([planes, _bicubic(pixels[..., -1], planes.shape[1:])])
        whole = np.clip(np.rint(planes), 0, top).astype(pixels.dtype)
        return np.ascontiguousarray(whole.transpose(1, 2, 0))

    @cached_property
    def _reach(self) -> int:
        if self.overlap is not None:
            return self.overlap
        reach = find_reach(self.model)
        if reach is None:
            self.progress.warn(
                "the network looks at more than what is near a pixel, so tiles of "
                f"{self.tile} pixels with an overlap of {_UNBOUNDED} may differ from the whole "
                "image; --tile 0 takes it whole"
            )
            return _UNBOUNDED
        return reach


def _bicubic(plane: NDArray[np.generic], size: tuple[int, ...]) -> NDArray[np.float32]:
    image = PIL.Image.fromarray(plane.astype(np.float32))
    large = image.resize((size[1], size[0]), PIL.Image.Resampling.BICUBIC)
    return np.asarray(large, dtype=np.float32)[None]


def _check(pixels: Pixels, tile: int, overlap: int | None) -> None:
    if tile < 0 or (overlap or 0) < 0:
        message = f"tiles of {tile} pixels with an overlap of {overlap} are no sizes; use 0 or more"
        raise DataError(message)
    kinds = (np.dtype(np.uint8), np.dtype(np.uint16))
    shaped = pixels.ndim == 3 and pixels.shape[2] <= 4 and pixels.size  # noqa: PLR2004
    if pixels.dtype in kinds and shaped:
        return
    message = (
        f"a picture is (H, W) or (H, W, C) of 1 to 4 channels of 8 or 16 bits, not {pixels.dtype} "
        f"of {pixels.shape}"
    )
    raise DataError(message)


def _check_writable(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        message = f"there is no folder '{folder}' for {path}; make it first"
        raise DataError(message)
    if not os.access(folder, os.W_OK):
        message = f"the folder '{folder}' is closed for writing; name another for {path}"
        raise DataError(message)


def _write(path: Path, picture: Picture) -> None:
    content = encode_picture(picture, path.suffix)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}"
        raise DataError(message) from error


def _targets(source: Path, target: Path, *, overwrite: bool) -> dict[Path, Path]:
    """Say where every image goes, by where it is."""
    if source.is_dir():
        return _many_targets(source, target)
    return {source: _one_target(source, target, overwrite=overwrite)}


def _one_target(source: Path, target: Path, *, overwrite: bool) -> Path:
    """Say where the picture of one file goes; into a folder by its own name, as PNG."""
    if not source.is_file():
        message = f"there is no file or folder '{source}'; name an image or a folder of images"
        raise DataError(message)
    file = target / f"{source.stem}.png" if target.is_dir() else target
    if file.suffix.lower() not in WRITTEN:
        message = f"{file} has no suffix of an image; name it as one of {', '.join(WRITTEN)}"
        raise DataError(message)
    if file.exists() and file.samefile(source):
        message = f"{file} is the image that is read; name another"
        raise DataError(message)
    if file.exists() and not overwrite:
        message = f"{file} is there already; name another, or replace it with --overwrite"
        raise DataError(message)
    return file


def _many_targets(source: Path, target: Path) -> dict[Path, Path]:
    """Say where every image under a folder goes, in order of their places."""
    inside = source.resolve() in (target.resolve(), *target.resolve().parents)
    if inside:
        message = f"{target} is in the folder that is read; name one beside it"
        raise DataError(message)
    if target.exists() and not target.is_dir():
        message = f"{target} is no folder, and {source} is one; name a folder"
        raise DataError(message)
    found: dict[Path, Path] = {}
    for file in image_files(source, below=True):
        out = (target / file.relative_to(source)).with_suffix(".png")
        if out.is_dir():
            message = f"{out} is a folder, where {file} is to go; name another folder"
            raise DataError(message)
        if out in found:
            message = f"both {found[out]} and {file} become {out}; rename one of them"
            raise DataError(message)
        found[out] = file
    if not found:
        message = f"folder {source} {NO_IMAGE}"
        raise DataError(message)
    return {file: out for out, file in found.items()}
