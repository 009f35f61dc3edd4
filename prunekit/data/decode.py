"""From the files of one pair to its pixels: read, check against each other, crop, reduce."""

from __future__ import annotations

__all__ = ["PairFiles", "PairOptions", "decode"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prunekit.data.image import Alpha, Image, read_image, size_of
from prunekit.data.resize import downscale, modcrop
from prunekit.errors import DataError


@dataclass(frozen=True)
class PairFiles:
    """What one pair is made of."""

    name: str
    hr: tuple[Path, ...]  # one image, or the frames of a clip in order
    lr: tuple[Path, ...] | None = None  # as many; None: made from `hr`
    clip: bool = False  # pixels are (T, H, W, 3), of one frame too


@dataclass(frozen=True)
class PairOptions:
    """What is made of the files. Raises `DataError` for a crop that no pair can have."""

    scale: int
    modcrop: int | None = None  # HR is cut to a multiple of this; None: the scale
    alpha: Alpha = "refuse"
    deep: bool = False  # keep 16-bit images as they are; else they are rounded to 8 bits

    def __post_init__(self) -> None:
        if self.multiple % self.scale:
            message = (
                f"modcrop is {self.modcrop}, which is no multiple of the scale {self.scale}, so LR "
                f"would have parts of pixels; take {self.scale * -(-self.multiple // self.scale)}"
            )
            raise DataError(message)

    @property
    def multiple(self) -> int:
        """What the sides of HR are a multiple of."""
        return self.scale if self.modcrop is None else self.modcrop


def decode(files: PairFiles, options: PairOptions) -> tuple[Image, Image]:
    """Return LR and HR, `(H, W, 3)` or of a clip `(T, H, W, 3)`, HR exactly `scale` times LR.

    LR is cut together with HR where it is given. Raises `DataError` for files that cannot be
    read, are too small or do not fit each other.
    """
    lr_paths = files.lr or (None,) * len(files.hr)
    frames = [_decode_image(hr, lr, options) for hr, lr in zip(files.hr, lr_paths, strict=True)]
    if not files.clip:
        ((lr, hr),) = frames
        return lr, hr
    hr = _stack([hr for _, hr in frames], files)
    return _stack([lr for lr, _ in frames], files), hr


def _decode_image(path: Path, lr_path: Path | None, options: PairOptions) -> tuple[Image, Image]:
    whole = read_image(path, alpha=options.alpha, deep=options.deep)
    if min(whole.shape[:2]) < options.multiple:
        why = f"scale {options.scale}" if options.modcrop is None else f"modcrop {options.modcrop}"
        message = f"image {path} of {size_of(whole)} pixels is too small for {why}; leave it out"
        raise DataError(message)
    hr = modcrop(whole, options.multiple)
    if lr_path is None:
        return downscale(hr, options.scale), hr
    lr = read_image(lr_path, alpha=options.alpha, deep=options.deep)
    rows, columns = (side // options.scale for side in hr.shape[:2])
    if lr.shape[:2] not in (_reduced(whole, options.scale), (rows, columns)):
        raise DataError(_misfit(path, whole, lr_path, lr, options.scale))
    return lr[:rows, :columns], hr


def _misfit(path: Path, hr: Image, lr_path: Path, lr: Image, scale: int) -> str:
    rows, columns = _reduced(hr, scale)
    fitting = [s for s in range(1, 17) if _reduced(hr, s) == lr.shape[:2]]
    hint = f"; it would fit scale {fitting[0]}" if fitting else "; they may not be the same picture"
    return (
        f"image {lr_path} of {size_of(lr)} pixels is not the {columns}x{rows} that scale {scale} "
        f"makes of {path} of {size_of(hr)}{hint}"
    )


def _reduced(image: Image, scale: int) -> tuple[int, int]:
    height, width = image.shape[:2]
    return height // scale, width // scale


def _stack(frames: Sequence[Image], files: PairFiles) -> Image:
    for path, frame in zip(files.hr, frames, strict=True):
        if (frame.shape, frame.dtype) != (frames[0].shape, frames[0].dtype):
            message = (
                f"clip '{files.name}': frame {path.name} has {size_of(frame)} pixels of "
                f"{frame.dtype} where {files.hr[0].name} has {size_of(frames[0])} of "
                f"{frames[0].dtype}; frames of a clip are alike"
            )
            raise DataError(message)
    return np.stack(frames)
