"""Pictures of 8 and 16 bits are read and written whole, whatever their filters and order."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from prunekit.data.encode import encode_picture
from prunekit.data.image import Picture, read_picture
from prunekit.errors import DataError

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2))
COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def paeth(a, b, c):
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
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(image, *, interlaced=False, extra=b""):
    height, width, channels = image.shape
    head = struct.pack(">IIBBBBB", width, height, 16, COLOURS[channels], 0, 0, interlaced)
    places = (*ADAM7, (0, 1, 1, 2)) if interlaced else ((0, 0, 1, 1),)
    parts = [image[top::down, left::across] for left, top, across, down in places]
    stream = b"".join(filtered(part, lambda y: y % 5) for part in parts if part.size)
    body = zlib.compress(stream)
    pieces = chunk(b"IDAT", body[:20]) + chunk(b"IDAT", body[20:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + pieces + chunk(b"IEND", b"")


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_read_whole_with_every_filter(tmp_path, channels, interlaced):
    for size in ((13, 17), (1, 1), (3, 2)):
        image = noise(*size, channels)
        file = tmp_path / f"{size}.png"
        file.write_bytes(png(image, interlaced=interlaced))
        assert np.array_equal(read_picture(file).pixels, image)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_what_is_written_is_read_again(tmp_path, channels, dtype):
    image = noise(9, 14, channels, dtype=dtype)
    file = tmp_path / "image.png"
    profile = b"a profile"
    file.write_bytes(encode_picture(Picture(image, profile), ".png"))
    again = read_picture(file)
    assert again.pixels.dtype == dtype
    assert np.array_equal(again.pixels, image)
    assert again.profile == profile


def test_16_bits_that_are_written_open_in_other_programs(tmp_path):
    image = noise(9, 14, 1)
    file = tmp_path / "grey.png"
    file.write_bytes(encode_picture(Picture(image), ".png"))
    with PIL.Image.open(file) as opened:
        assert np.array_equal(np.array(opened), image[..., 0])
    file.write_bytes(encode_picture(Picture(noise(9, 14, 3)), ".png"))
    with PIL.Image.open(file) as opened:
        assert np.array_equal(np.array(opened), noise(9, 14, 3) >> 8)


def test_a_colour_that_is_transparent_becomes_alpha(tmp_path):
    image = noise(4, 5, 3)
    named = chunk(b"tRNS", image[2, 3].astype(">u2").tobytes())
    file = tmp_path / "named.png"
    file.write_bytes(png(image, extra=named))
    pixels = read_picture(file).pixels
    assert np.array_equal(pixels[..., :3], image)
    assert pixels[2, 3, 3] == 0
    assert (pixels[..., 3] == 65535).sum() == 19


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_are_turned_upright_as_pillow_does(tmp_path, orientation, bits):
    image = noise(4, 6, 3, dtype=np.uint8)
    plain = PIL.Image.fromarray(image)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    file = tmp_path / "turned.png"
    if bits == 16:
        told = chunk(b"eXIf", exif.tobytes()[6:])
        file.write_bytes(png(image.astype(np.uint16) * 257, extra=told))
    else:
        plain.save(file, exif=exif)
    buffer = io.BytesIO()
    plain.save(buffer, "PNG", exif=exif)
    expected = np.array(PIL.ImageOps.exif_transpose(PIL.Image.open(buffer)))
    pixels = read_picture(file).pixels
    assert np.array_equal(pixels // 257 if bits == 16 else pixels, expected)


@pytest.mark.parametrize(
    ("mode", "channels"),
    [("1", 1), ("L", 1), ("LA", 2), ("P", 3), ("RGB", 3), ("RGBA", 4), ("CMYK", 3)],
)
def test_modes_become_grey_or_rgb_with_or_without_alpha(tmp_path, mode, channels):
    file = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    PIL.Image.new(mode, (6, 4)).save(file)
    picture = read_picture(file)
    assert (picture.pixels.shape, picture.pixels.dtype) == ((4, 6, channels), np.uint8)


def test_a_palette_with_transparency_has_alpha(tmp_path):
    image = PIL.Image.new("P", (6, 4))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((2, 1), 1)
    image.save(tmp_path / "image.png", transparency=1)
    pixels = read_picture(tmp_path / "image.png").pixels
    assert pixels[1, 2].tolist() == [40, 50, 60, 0]
    assert pixels[0, 0].tolist() == [10, 20, 30, 255]


def test_a_grey_tiff_of_16_bits_is_read_whole(tmp_path):
    image = noise(5, 7)
    PIL.Image.fromarray(image).save(tmp_path / "grey.tif")
    assert np.array_equal(read_picture(tmp_path / "grey.tif").pixels[..., 0], image)


def test_files_that_cannot_be_kept_whole_are_refused(tmp_path):
    whole = png(noise(9, 9, 3))
    bad = {
        "cut.png": whole[:-40],
        "changed.png": whole[:90] + bytes([whole[90] ^ 255]) + whole[91:],
        "text.png": b"not an image",
        "empty.png": b"",
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    PIL.Image.new("F", (4, 4)).save(tmp_path / "float.tif")
    frame = PIL.Image.new("RGB", (4, 4))
    other = PIL.Image.new("RGB", (4, 4), "red")
    frame.save(tmp_path / "moving.png", save_all=True, append_images=[other])
    for name in (*bad, "float.tif", "moving.png", "missing.png"):
        with pytest.raises(DataError, match=rf"^image \S+{name} \w+"):
            read_picture(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "dtype", "suffix"),
    [
        ((4, 4, 3), np.uint16, ".jpg"),
        ((4, 4, 4), np.uint8, ".jpg"),
        ((4, 4, 2), np.uint8, ".bmp"),
        ((4, 4, 3), np.uint8, ".gif"),
    ],
)
def test_a_kind_of_file_that_would_lose_something_is_refused(shape, dtype, suffix):
    with pytest.raises(DataError, match=rf"written as .*{suffix}"):
        encode_picture(Picture(noise(*shape, dtype=dtype)), suffix)


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".PNG"])
def test_8_bits_are_written_as_the_suffix_tells(tmp_path, suffix):
    file = tmp_path / f"image{suffix}"
    flat = np.full((16, 16, 3), 90, np.uint8)
    file.write_bytes(encode_picture(Picture(flat), suffix))
    assert np.abs(read_picture(file).pixels.astype(int) - 90).max() <= 2
