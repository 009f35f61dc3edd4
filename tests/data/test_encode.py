"""Pictures of 8 and 16 bits are written whole, or refused."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from prunekit.data.encode import encode_picture
from prunekit.data.image import Picture, read_picture
from prunekit.errors import DataError


def noise(*shape, dtype=np.uint16):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


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


@pytest.mark.parametrize(("suffix", "side"), [(".webp", 16384), (".jpg", 65501)])
def test_a_picture_that_a_kind_of_file_cannot_hold_is_refused(suffix, side):
    flat = np.zeros((1, side, 3), np.uint8)
    with pytest.raises(DataError, match=f"{side}x1 pixels cannot be written as {suffix} .*png$"):
        encode_picture(Picture(flat), suffix)
    assert encode_picture(Picture(flat), ".png")


@pytest.mark.parametrize("suffix", [".bmp", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".PNG"])
def test_8_bits_are_written_as_the_suffix_tells(tmp_path, suffix):
    file = tmp_path / f"image{suffix}"
    flat = np.full((16, 16, 3), 90, np.uint8)
    file.write_bytes(encode_picture(Picture(flat), suffix))
    assert np.abs(read_picture(file).pixels.astype(int) - 90).max() <= 2
