"""Reading one image file as 8-bit RGB, or saying why it cannot be used."""

from __future__ import annotations

__all__ = ["SUFFIXES", "Image", "read_image"]

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from prunekit.errors import DataError

Image = NDArray[np.uint8]
"""`(H, W, 3)`, RGB."""

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_BITS, _OPAQUE = 8, 255
_BITS_PER_SAMPLE = 258  # the tag of a TIFF file
_FAULTS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    PIL.Image.DecompressionBombError,
    PIL.Image.DecompressionBombWarning,
)
"""What Pillow raises on a file that is truncated, corrupt, foreign or absurdly large."""


def read_image(path: Path) -> Image:
    """Read a still 8-bit image as `(H, W, 3)` RGB, turned upright as its EXIF data says.

    Palettes, grey and CMYK are converted, colour profiles are ignored, a fully opaque alpha
    channel is dropped. Raises `DataError` for anything else.
    """
    try:
        with warnings.catch_warnings():
            # Damaged EXIF data does not touch the pixels; an image of absurd size is refused.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=_FORMATS) as image:
                _check_kind(path, image)
                return _upright_rgb(path, image)
    except _FAULTS as error:
        message = f"image {path} cannot be read: {_reason(error)}; replace it or leave it out"
        raise DataError(message) from error


def _check_kind(path: Path, image: PIL.Image.Image) -> None:
    """Refuse what has no single 8-bit picture, before it is decoded."""
    if _has_deep_samples(image):
        message = f"image {path} has more than 8 bits a channel; save it as an 8-bit image"
        raise DataError(message)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # the first picture of an MPO file is the photograph
        message = f"image {path} holds {frames} pictures; save the one to use as its own file"
        raise DataError(message)


def _has_deep_samples(image: PIL.Image.Image) -> bool:
    """Tell 16-bit colour too, which Pillow cuts down to 8 bits without a word."""
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        return True
    if image.format == "TIFF":
        return any(bits > _BITS for bits in getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ()))
    return image.format == "PNG" and ";16" in str(getattr(image, "tile", ""))


def _upright_rgb(path: Path, image: PIL.Image.Image) -> Image:
    upright = PIL.ImageOps.exif_transpose(image)
    if upright.has_transparency_data:
        upright = upright.convert("RGBA")
        if np.asarray(upright)[..., 3].min() < _OPAQUE:
            message = f"image {path} has transparent pixels; save it flattened, without alpha"
            raise DataError(message)
    return np.array(upright.convert("RGB"))


def _reason(error: BaseException) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"it is no whole {', '.join(_FORMATS)} file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
