"""Reading images: what is converted, and what is refused with a sentence."""

import struct
import zlib

import numpy as np
import PIL.Image
import pytest

from prunekit.data.image import read_image
from prunekit.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


@pytest.fixture
def save(tmp_path):
    """Write a Pillow image under a name and return the path."""

    def write(image, name, **options):
        image.save(tmp_path / name, **options)
        return tmp_path / name

    return write


def colour():
    return PIL.Image.fromarray(PIXELS)


@pytest.mark.parametrize("name", ["a.png", "a.bmp", "a.tif", "a.tiff", "a.PNG"])
def test_lossless_formats_keep_every_pixel(save, name):
    image = read_image(save(colour(), name))
    assert image.dtype == np.uint8
    assert np.array_equal(image, PIXELS)


def test_webp_and_jpeg_are_read(save):
    assert np.array_equal(read_image(save(colour(), "a.webp", lossless=True)), PIXELS)
    smooth = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    jpeg = read_image(save(PIL.Image.fromarray(smooth), "a.jpg", quality=95))
    assert np.abs(jpeg.astype(int) - smooth).max() <= 3


def test_grey_is_repeated_three_times(save):
    image = read_image(save(PIL.Image.fromarray(PIXELS[..., 0]), "a.png"))
    assert np.array_equal(image, np.repeat(PIXELS[..., :1], 3, axis=2))


def test_a_palette_is_looked_up(save):
    paletted = PIL.Image.new("P", (2, 1))
    paletted.putpalette([10, 20, 30, 40, 50, 60])
    paletted.putpixel((1, 0), 1)
    assert read_image(save(paletted, "a.png")).tolist() == [[[10, 20, 30], [40, 50, 60]]]


def test_cmyk_becomes_rgb(save):
    image = read_image(save(PIL.Image.new("CMYK", (4, 4), (0, 255, 255, 0)), "a.tif"))
    assert image[0, 0].tolist() == [255, 0, 0]


def test_exif_orientation_is_applied(save):
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # turn clockwise by a quarter to see it upright
    assert np.array_equal(read_image(save(colour(), "a.png", exif=exif)), np.rot90(PIXELS, -1))


def test_an_opaque_alpha_channel_is_dropped(save):
    assert np.array_equal(read_image(save(colour().convert("RGBA"), "a.png")), PIXELS)


def test_transparent_pixels_are_refused(save):
    image = colour().convert("RGBA")
    image.putpixel((3, 4), (1, 2, 3, 254))
    with pytest.raises(DataError, match=r"a\.png has transparent pixels; save it flattened"):
        read_image(save(image, "a.png"))


def test_a_transparent_colour_is_refused(save):
    image = PIL.Image.new("RGB", (4, 4), (1, 2, 3))
    with pytest.raises(DataError, match="transparent pixels"):
        read_image(save(image, "a.png", transparency=(1, 2, 3)))


@pytest.mark.parametrize("colour_type", [0, 2, 4, 6])
def test_16_bit_png_is_refused(tmp_path, colour_type):
    (tmp_path / "deep.png").write_bytes(png_of_16_bits(colour_type))
    with pytest.raises(DataError, match=r"deep\.png has more than 8 bits a channel; save it as"):
        read_image(tmp_path / "deep.png")


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_tiff_is_refused(save, mode):
    with pytest.raises(DataError, match="more than 8 bits"):
        read_image(save(PIL.Image.new(mode, (8, 8)), "deep.tif"))


@pytest.mark.parametrize("name", ["a.tif", "a.webp", "a.png"])
def test_several_pictures_in_one_file_are_refused(save, name):
    path = save(colour(), name, save_all=True, append_images=[colour().rotate(180)])
    with pytest.raises(DataError, match="holds 2 pictures; save the one to use"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "a.webp"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_a_truncated_image_is_refused_by_name(save, name, share):
    path = save(colour(), name)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=rf"{path.name} cannot be read: .*; replace it"):
        read_image(path)


def test_a_foreign_file_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n")
    with pytest.raises(DataError, match=r"a\.png cannot be read: it is no whole BMP, JPEG, PNG"):
        read_image(tmp_path / "a.png")


def test_an_image_of_absurd_size_is_refused(save, monkeypatch):
    path = save(colour(), "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 150)  # a warning to Pillow
    with pytest.raises(DataError, match="cannot be read"):
        read_image(path)
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 50)  # an error to Pillow
    with pytest.raises(DataError, match="cannot be read"):
        read_image(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"none\.png cannot be read: No such file"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_damaged_bytes_give_an_image_or_a_data_error(save, name):
    path = save(colour(), name)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(60):
        damaged = bytearray(content)
        for position in rng.integers(len(damaged), size=4):
            damaged[position] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            assert read_image(path).ndim == 3
        except DataError as error:
            assert name in str(error)  # noqa: PT017 - either outcome is right


def png_of_16_bits(colour_type):
    """Pillow does not write 16-bit colour, so the file is put together here."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    rows = (b"\0" + b"\xff" * (4 * channels * 2)) * 4
    header = struct.pack(">IIBBBBB", 4, 4, 16, colour_type, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
