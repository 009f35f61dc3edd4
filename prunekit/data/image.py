"""Reading one image file, as it is or as RGB, or saying why it cannot be used."""

from __future__ import annotations

__all__ = [
    "SUFFIXES",
    "Alpha",
    "ByteImage",
    "Image",
    "Picture",
    "Pixels",
    "read_image",
    "read_picture",
    "size_of",
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

from prunekit.data.png import decode_deep_png, is_deep_png
from prunekit.errors import DataError

ByteImage = NDArray[np.uint8]
"""`(H, W, 3)`, RGB of 8 bits."""

Image = NDArray[np.uint8 | np.uint16]
"""`(H, W, 3)`, RGB of 8 or 16 bits; 8 where nothing else is said."""

Pixels = NDArray[np.uint8 | np.uint16]
"""`(H, W, C)`, colours and alpha of 8 or 16 bits; `(H, W)` of one channel."""

Alpha = Literal["refuse", "drop"]
"""What becomes of an image with transparent pixels: an error, or its colours alone."""

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_ORIENTATION, _BITS_PER_SAMPLE = 274, 258  # tags of EXIF and TIFF
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


@dataclass(frozen=True, eq=False)
class Picture:
    """Everything that a file says of its pixels."""

    pixels: Pixels
    """`(H, W, C)` of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels."""
    profile: bytes | None = None
    """Its ICC colour profile."""

    @property
    def grey(self) -> bool:
        """Whether there is one channel of colour."""
        return bool(self.pixels.shape[2] < 3)  # noqa: PLR2004

    @property
    def rgb(self) -> Image:
        """The colours, `(H, W, 3)`; grey is there three times."""
        colours = self.pixels[..., : 1 if self.grey else 3]
        return np.ascontiguousarray(np.broadcast_to(colours, (*colours.shape[:2], 3)))

    @property
    def alpha(self) -> Pixels | None:
        """How opaque every pixel is, `(H, W)`; None if the file does not say."""
        return None if self.pixels.shape[2] % 2 else self.pixels[..., -1]

    @property
    def opaque(self) -> bool:
        """Whether no pixel is transparent in the least."""
        return self.alpha is None or bool(self.alpha.min() == np.iinfo(self.alpha.dtype).max)


def read_picture(path: Path) -> Picture:
    """Read a still image with its depth and its alpha, turned upright as its EXIF data says.

    8 bits: RGB, grey, bilevel, palettes and CMYK (as RGB), with alpha or a transparent colour; 16
    bits: grey (PNG, TIFF), and colour and alpha (PNG). Raises `DataError` for anything else.
    """
    try:
        with _stern_pillow(), PIL.Image.open(path, formats=_FORMATS) as image:
            _check_kind(path, image)
            # Of CMYK it says nothing of what the pixels become.
            profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
            return Picture(_read_pixels(path, image), profile)
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
            f"image {path} has transparent pixels; save it flattened, without alpha, or set "
            "'alpha: drop' in a recipe"
        )
        raise DataError(message)
    return picture.rgb if deep else to_8_bits(picture.rgb)


def to_8_bits(image: Image) -> ByteImage:
    """Round 16 bits to 8, white to white; an 8-bit image is returned as it is."""
    if image.dtype == np.uint8:
        return image.astype(np.uint8, copy=False)
    return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)


def size_of(pixels: Pixels) -> str:
    """Write the size of an image as `WxH`."""
    return f"{pixels.shape[1]}x{pixels.shape[0]}"


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


def _read_pixels(path: Path, image: PIL.Image.Image) -> Pixels:
    if image.format == "PNG" and is_deep_png(path):
        return _turned(decode_deep_png(path), image.getexif().get(_ORIENTATION, 1))
    if image.mode.startswith("I;"):
        return np.array(PIL.ImageOps.exif_transpose(image)).astype(np.uint16)[..., None]
    if image.format == "TIFF" and _has_deep_samples(image):
        message = f"image {path} has 16 bits a channel in a form that is not read; save it as PNG"
        raise DataError(message)
    return _read_8_bits(PIL.ImageOps.exif_transpose(image))


def _has_deep_samples(image: PIL.Image.Image) -> bool:
    """Tell what Pillow cuts down to 8 bits without a word."""
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    return any(sample > 8 for sample in np.atleast_1d(bits))  # noqa: PLR2004


def _read_8_bits(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Convert palettes and transparent colours."""
    if image.has_transparency_data:
        mode = "LA" if image.mode in {"1", "L", "LA", "La"} else "RGBA"
    else:
        mode = "L" if image.mode in {"1", "L"} else "RGB"
    pixels = np.array(image.convert(mode))
    return pixels[..., None] if pixels.ndim == 2 else pixels  # noqa: PLR2004


def _turned(pixels: NDArray[np.uint16], orientation: int) -> NDArray[np.uint16]:
    """Turn upright as EXIF tells."""
    if orientation in {5, 6, 7, 8}:
        pixels = pixels.transpose(1, 0, 2)
    if orientation in {3, 4, 7, 8}:
        pixels = pixels[::-1]
    if orientation in {2, 3, 6, 7}:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _reason(error: BaseException) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"it is no whole {', '.join(_FORMATS)} file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
