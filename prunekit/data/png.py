"""PNG files of 16 bits a sample, which Pillow cuts down to 8 without a word: read and written."""

from __future__ import annotations

__all__ = ["decode_deep_png", "encode_deep_png", "is_deep_png"]

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
from numpy.typing import NDArray

_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Channels of the colour types of PNG."""
_COLOUR_TYPES = {channels: colour for colour, channels in _CHANNELS.items()}
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_DEEP = 16  # bits
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


def is_deep_png(path: Path) -> bool:
    """Whether a PNG file has 16 bits a sample."""
    with path.open("rb") as file:
        head = file.read(25)
    return head[:8] == _SIGNATURE and len(head) == 25 and head[24] == _DEEP  # noqa: PLR2004


def decode_deep_png(path: Path) -> NDArray[np.uint16]:
    """Decode to `(H, W, C)`; a colour that is named as transparent becomes alpha.

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


def encode_deep_png(pixels: NDArray[np.uint16], profile: bytes | None) -> bytes:
    """Return the file of `(H, W, C)` with a colour profile, rows as differences to those above."""
    height, width, channels = pixels.shape
    rows = np.ascontiguousarray(pixels.astype(">u2")).view(np.uint8).reshape(height, -1)
    above = np.vstack([np.zeros_like(rows[:1]), rows[:-1]])
    up = np.full((height, 1), 2, np.uint8)
    stream = np.hstack([up, rows - above]).tobytes()
    header = struct.pack(">IIBBBBB", width, height, _DEEP, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = [(b"IHDR", header)]
    if profile:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(profile)))
    return _png([*chunks, (b"IDAT", zlib.compress(stream, 6)), (b"IEND", b"")])


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
        elif kind == b"IEND":
            break  # what stands behind it is of no concern
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
