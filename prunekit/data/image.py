"""Reading one image file as RGB, or saying why it cannot be used."""

from __future__ import annotations

__all__ = [
    "SUFFIXES",
    "Alpha",
    "ByteImage",
    "Image",
    "Picture",
    "read_image",
    "read_picture",
    "to_8_bits",
]

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from prunekit.errors import DataError

ByteImage = NDArray[np.uint8]
"""`(H, W, 3)`, RGB of 8 bits."""

Image = NDArray[np.uint8 | np.uint16]
"""`(H, W, 3)`, RGB of 8 or 16 bits; 8 where nothing else is said."""

Alpha = Literal["refuse", "drop"]
"""What becomes of an image with transparent pixels: an error, or its colours alone."""

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
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


_HALVES = {"RGB;16B": ("RGB;16B", "RGB;16L"), "RGBA;16B": ("RGBA;16B", "RGBA;16L")}
"""How Pillow is made to read the upper, then the lower 8 of 16 bits, which it does not keep."""

_GREY = {"1", "L", "LA"}


@dataclass(frozen=True, eq=False)
class Picture:
    """Everything that a file says of its pixels."""

    pixels: Image  # of 16 bits if the file has more than 8
    alpha: NDArray[np.uint8 | np.uint16] | None  # (H, W), of as many bits; None without any
    grey: bool  # the file has one colour channel, which `pixels` has three times

    @property
    def opaque(self) -> bool:
        """Whether no pixel is transparent in the least."""
        return self.alpha is None or bool(self.alpha.min() == np.iinfo(self.alpha.dtype).max)


def read_picture(path: Path) -> Picture:
    """Read a still image with its depth and its alpha, turned upright as its EXIF data says.

    8 bits: RGB, grey, bilevel, palettes and CMYK, with alpha or a transparent colour; 16 bits:
    grey (PNG, TIFF), and colour and alpha (PNG). Colour profiles are ignored. Raises `DataError`
    for anything else.
    """
    try:
        with _stern_pillow(), PIL.Image.open(path, formats=_FORMATS) as image:
            _check_kind(path, image)
            if _has_deep_samples(image):
                return _read_deep(path, image)
            return _read_8_bits(image)
    except _FAULTS as error:
        message = f"image {path} cannot be read: {_reason(error)}; replace it or leave it out"
        raise DataError(message) from error


def read_image(path: Path, *, alpha: Alpha = "refuse", deep: bool = False) -> Image:
    """Read the RGB of a still image as `read_picture` does; 8 bits unless `deep` keeps 16.

    An opaque alpha channel is dropped. Raises `DataError` also for transparent pixels, whose
    colours need not mean anything, unless `alpha` is `drop`.
    """
    picture = read_picture(path)
    if alpha == "refuse" and not picture.opaque:
        message = (
            f"image {path} has transparent pixels; save it flattened, without alpha, or ask for "
            "alpha to be dropped"
        )
        raise DataError(message)
    return picture.pixels if deep else to_8_bits(picture.pixels)


def to_8_bits(image: Image) -> ByteImage:
    """Round 16 bits to 8, white to white; an 8-bit image is returned as it is."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


@contextmanager
def _stern_pillow() -> Iterator[None]:
    """Damaged EXIF data does not touch the pixels; an image of absurd size is refused."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
        yield


def _check_kind(path: Path, image: PIL.Image.Image) -> None:
    """Refuse what has no single picture of 8 or 16 bits, before it is decoded."""
    if image.mode in {"I", "F"}:
        message = f"image {path} has more than 16 bits a channel; save it as an 8- or 16-bit image"
        raise DataError(message)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # the first picture of an MPO file is the photograph
        message = f"image {path} holds {frames} pictures; save the one to use as its own file"
        raise DataError(message)


def _has_deep_samples(image: PIL.Image.Image) -> bool:
    """Tell 16-bit colour too, which Pillow cuts down to 8 bits without a word."""
    if image.mode.startswith("I;"):
        return True
    if image.format == "TIFF":
        return any(bits > 8 for bits in getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ()))  # noqa: PLR2004
    return image.format == "PNG" and ";16" in _raw_mode(image)


def _read_8_bits(image: PIL.Image.Image) -> Picture:
    grey = image.mode in _GREY
    upright = PIL.ImageOps.exif_transpose(image)
    if not upright.has_transparency_data:
        return Picture(np.array(upright.convert("RGB")), None, grey)
    rgba = np.array(upright.convert("RGBA"))
    return Picture(np.ascontiguousarray(rgba[..., :3]), rgba[..., 3].copy(), grey)


def _read_deep(path: Path, image: PIL.Image.Image) -> Picture:
    if "transparency" in image.info:
        message = f"image {path} has 16 bits and a transparent colour; save it with alpha instead"
        raise DataError(message)
    if image.mode.startswith("I;"):
        plane = np.array(PIL.ImageOps.exif_transpose(image)).astype(np.uint16)
        return Picture(plane[..., None].repeat(3, axis=-1), None, grey=True)
    raw = _raw_mode(image) if image.format == "PNG" else ""
    if raw == "LA;16B":
        pairs = _decode(path, "RGBA")  # four bytes a pixel, as RGBA has
        samples = _joined(pairs[..., 0::2], pairs[..., 1::2])
        return Picture(samples[..., :1].repeat(3, axis=-1), samples[..., 1].copy(), grey=True)
    if raw not in _HALVES:
        message = f"image {path} has 16 bits a channel in a form that is not read; save it as PNG"
        raise DataError(message)
    samples = _joined(*(_decode(path, half) for half in _HALVES[raw]))
    alpha = samples[..., 3].copy() if raw.startswith("RGBA") else None
    return Picture(np.ascontiguousarray(samples[..., :3]), alpha, grey=False)


def _joined(upper: ByteImage, lower: ByteImage) -> NDArray[np.uint16]:
    return np.left_shift(upper, 8, dtype=np.uint16) | lower


def _decode(path: Path, raw: str) -> ByteImage:
    """Decode a PNG file as if its samples lay in another way."""
    with PIL.Image.open(path, formats=("PNG",)) as image:
        image.tile = [(*tile[:3], raw) for tile in image.tile]
        return np.array(PIL.ImageOps.exif_transpose(image))


def _raw_mode(image: PIL.Image.Image) -> str:
    """Name the way in which samples lie in the file."""
    arguments = image.tile[0][3] if image.tile else ""  # type: ignore[attr-defined]
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _reason(error: BaseException) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"it is no whole {', '.join(_FORMATS)} file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
