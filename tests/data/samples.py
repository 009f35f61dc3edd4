"""Small images, folders and clips to read."""

import struct
import zlib

import numpy as np
import PIL.Image

from prunekit.data.resize import downscale, modcrop

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""Left, top, and steps to the right and down of every pass of an interlaced PNG."""


def noise(seed, size=(13, 18)):
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def write(path, pixels):
    """Write pixels to a file, and the folder around it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path)


def write_pair(hr, lr, seed, scale, size=(13, 18)):
    """Write an image and its reduction."""
    pixels = noise(seed, size)
    write(hr, pixels)
    write(lr, downscale(modcrop(pixels, scale), scale))


def paeth(a, b, c):
    """Whichever of left, above and above left is nearest to a plane through them."""
    nearest = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))
    return nearest[2]


def filtered(image, kind_of_row):
    """Rows of a PNG by its specification, slowly; `kind_of_row` tells the filter of each."""
    rows = [list(row.astype(">u2").tobytes()) for row in image]
    step, stream = 2 * image.shape[2], bytearray()
    for y, row in enumerate(rows):
        kind = kind_of_row(y)
        stream.append(kind)
        for x, value in enumerate(row):
            a = row[x - step] if x >= step else 0
            b = rows[y - 1][x] if y else 0
            c = rows[y - 1][x - step] if y and x >= step else 0
            guess = (0, a, b, (a + b) // 2, paeth(a, b, c))[kind]
            stream.append((value - guess) % 256)
    return bytes(stream)


def chunk(kind, body):
    """A part of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def deep_png(samples, *chunks, interlaced=False):
    """A PNG file of 16 bits with every filter, by the standard: Pillow writes no such colour."""
    height, width, channels = samples.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, interlaced)
    parts = [samples[y::down, x::right] for x, y, right, down in ADAM7 if interlaced] or [samples]
    stream = b"".join(filtered(part, lambda y: y % 5) for part in parts if part.size)
    body = zlib.compress(stream)
    content = [(b"IHDR", head), *chunks, (b"IDAT", body[:20]), (b"IDAT", body[20:]), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in content)


def deep_tiff(samples):
    """A little TIFF file of one strip."""
    height, width, channels = samples.shape
    data = samples.astype("<u2").tobytes()
    after = 8 + len(data)
    tags = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, channels, after),
        (259, 3, 1, 1),
        (262, 3, 1, 2),
        (273, 4, 1, 8),
        (277, 3, 1, channels),
        (278, 4, 1, height),
        (279, 4, 1, len(data)),
    ]
    directory = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    bits = struct.pack("<3H", 16, 16, 16)
    head = struct.pack("<2sHI", b"II", 42, after + len(bits))
    return head + data + bits + struct.pack("<H", len(tags)) + directory + struct.pack("<I", 0)
