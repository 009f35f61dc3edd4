"""Pictures of 8 or 16 bits with alpha, read and written without loss, one file each."""

from __future__ import annotations

__all__ = ["Picture", "WRITTEN", "encode_picture", "read_picture"]

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
from numpy.typing import NDArray

from prunekit.data.image import SUFFIXES
from prunekit.errors import DataError

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

WRITTEN = SUFFIXES
"""Suffixes of files that can be written; 16 bits and alpha not in all of them."""

_FORMATS = ("BMP", "JPEG", "PNG", "TIFF", "WEBP")
_MODES = ("L", "LA", "RGB", "RGBA")
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels of the colour types of PNG."""
_COLOUR_TYPES = {channels: colour for colour, channels in _CHANNELS.items()}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PASSES = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Of an interlaced PNG: first column and row, and steps to the next."""
_BYTE, _DEEP = 8, 16  # bits
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


@dataclass(frozen=True)
class Picture:
    """One still picture."""

    pixels: Pixels
    """`(H, W, C)` of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGB, alpha) channels."""
    profile: bytes | None = None
    """Its ICC colour profile."""


def read_picture(path: Path) -> Picture:
    """Read a still image of 8 or 16 bits, upright, with what alpha it has.

    Palettes and CMYK become RGB. Raises `DataError` for anything that cannot be kept whole.
    """
    try:
        with warnings.catch_warnings():
            # Damaged EXIF data does not touch the pixels; an image of absurd size is refused.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(path, formats=_FORMATS) as image:
                return _read(path, image)
    except _FAULTS as error:
        message = f"image {path} cannot be read: {_reason(error)}; replace it or leave it out"
        raise DataError(message) from error


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """Return the content of a file of a kind told by its suffix, such as `.png`.

    JPEG and WebP are written with quality 95. Raises `DataError` for a kind that would lose alpha
    or bits.
    """
    channels = picture.pixels.shape[2]
    kind = suffix.lower()
    if picture.pixels.dtype == np.uint16:
        if kind != ".png":
            message = f"a picture of 16 bits is written as .png, not as {suffix}; name it so"
            raise DataError(message)
        return _encode_deep(picture)
    if kind not in WRITTEN:
        message = f"no picture is written as '{suffix}'; there is {', '.join(WRITTEN)}"
        raise DataError(message)
    if channels in (2, 4) and kind in (".jpg", ".jpeg", ".bmp"):
        message = f"a picture with alpha is written as .png, not as {suffix}; name it so"
        raise DataError(message)
    plane = picture.pixels[..., 0] if channels == 1 else picture.pixels
    image = PIL.Image.fromarray(plane, _MODES[channels - 1])
    options = {"quality": 95} if kind in (".jpg", ".jpeg", ".webp") else {}
    buffer = io.BytesIO()
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    image.save(buffer, kinds.get(kind, kind[1:].upper()), icc_profile=picture.profile, **options)
    return buffer.getvalue()


def _read(path: Path, image: PIL.Image.Image) -> Picture:
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # the first picture of an MPO file is the photograph
        message = f"image {path} holds {frames} pictures; save the one to use as its own file"
        raise DataError(message)
    profile = image.info.get("icc_profile") if image.mode != "CMYK" else None
    if image.format == "PNG" and _is_deep(path):
        orientation = image.getexif().get(_ORIENTATION, 1)
        return Picture(_turned(_decode_deep(path), orientation), profile)
    if image.mode.startswith("I;16"):
        upright = PIL.ImageOps.exif_transpose(image)
        return Picture(np.array(upright).astype(np.uint16)[..., None], profile)
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ()) if image.format == "TIFF" else ()
    if image.mode in {"I", "F"} or any(sample > _BYTE for sample in np.atleast_1d(bits)):
        message = f"image {path} has samples that are not read whole; save it as PNG of 16 bits"
        raise DataError(message)
    return Picture(_shallow(PIL.ImageOps.exif_transpose(image)), profile)


def _shallow(image: PIL.Image.Image) -> NDArray[np.uint8]:
    """Return 8-bit pixels; what has a palette or transparency is converted."""
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


def _is_deep(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(25)
    return head[:8] == _SIGNATURE and len(head) == 25 and head[24] == _DEEP  # noqa: PLR2004


def _decode_deep(path: Path) -> NDArray[np.uint16]:
    """Decode a PNG of 16 bits, which Pillow cuts down to 8.

    The filters of PNG work on every byte of a pixel by itself. So the upper bytes of all samples
    are the stream of a PNG of 8 bits, and the lower bytes that of another: Pillow decodes both.
    """
    chunks = dict(_chunks(path.read_bytes()))
    width, height, _, colour, *_, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"][:13])
    channels = _CHANNELS[colour]
    _check_size(width, height)
    blocks = list(_blocks(width, height)) if interlaced else [(width, height)]
    expected = sum(rows * (1 + 2 * channels * columns) for columns, rows in blocks)
    stream = zlib.decompressobj().decompress(chunks[b"IDAT"], expected)
    if len(stream) < expected:
        message = "it ends too early"
        raise ValueError(message)
    data = np.frombuffer(stream, np.uint8)
    halves: tuple[list[bytes], list[bytes]] = ([], [])
    for columns, rows in blocks:
        size = rows * (1 + 2 * channels * columns)
        lines, data = data[:size].reshape(rows, -1), data[size:]
        filters, bytes_ = lines[:, :1], lines[:, 1:]
        for half, place in zip(halves, (0, 1), strict=True):
            half.append(np.hstack([filters, bytes_[:, place::2]]).tobytes())
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, interlaced)
    high, low = (_decode_half(header, b"".join(half)) for half in halves)
    samples = (high.astype(np.uint16) * 256 + low).astype(np.uint16)
    pixels = samples.reshape(height, width, channels)
    return _with_transparency(pixels, chunks.get(b"tRNS"))


def _decode_half(header: bytes, stream: bytes) -> NDArray[np.uint8]:
    content = _png([(b"IHDR", header), (b"IDAT", zlib.compress(stream, 0)), (b"IEND", b"")])
    with PIL.Image.open(io.BytesIO(content), formats=["PNG"]) as image:
        return np.array(image)


def _with_transparency(pixels: NDArray[np.uint16], colour: bytes | None) -> NDArray[np.uint16]:
    """Add alpha where a file names one colour as transparent."""
    if colour is None or pixels.shape[2] not in (1, 3):
        return pixels
    named = np.frombuffer(colour, ">u2")
    alpha = np.where((pixels == named).all(2, keepdims=True), 0, 65535)
    return np.concatenate([pixels, alpha.astype(np.uint16)], 2)


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Read the chunks of a PNG that are wanted, its pixels in one piece."""
    place, pixels = len(_SIGNATURE), []
    while place + 8 <= len(content):
        (size,) = struct.unpack_from(">I", content, place)
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + size]
        if content[place + 8 + size : place + 12 + size] != _checksum(kind, body):
            message = "a part of it is damaged or missing"
            raise ValueError(message)
        if kind == b"IDAT":
            pixels.append(body)
        else:
            yield kind, body
        place += size + 12
    yield b"IDAT", b"".join(pixels)


def _blocks(width: int, height: int) -> Iterator[tuple[int, int]]:
    """Columns and rows of every pass of an interlaced PNG that has any."""
    for left, top, across, down in _PASSES:
        columns, rows = -(-(width - left) // across), -(-(height - top) // down)
        if columns > 0 and rows > 0:
            yield columns, rows


def _encode_deep(picture: Picture) -> bytes:
    """Write a PNG of 16 bits, every row as its difference to the one above."""
    height, width, channels = picture.pixels.shape
    rows = np.ascontiguousarray(picture.pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    up = np.full((height, 1), 2, np.uint8)
    stream = np.hstack([up, rows - above]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, _DEEP, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if picture.profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.profile)))
    return _png([*chunks, (b"IDAT", zlib.compress(stream, 6)), (b"IEND", b"")])


def _png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [_SIGNATURE]
    for kind, body in chunks:
        parts += [struct.pack(">I", len(body)), kind, body, _checksum(kind, body)]
    return b"".join(parts)


def _checksum(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(kind + body))


def _check_size(width: int, height: int) -> None:
    """Refuse what Pillow refuses."""
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and width * height > limit:
        message = f"it has {width}x{height} pixels"
        raise PIL.Image.DecompressionBombError(message)


def _reason(error: BaseException) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"it is no whole {', '.join(_FORMATS)} file"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return next(iter(str(error).splitlines()), "") or type(error).__name__
