"""Reading images: what is converted, and what is refused with a sentence."""

import io

import numpy as np
import PIL.Image
import pytest

from prunekit.data.image import read_image, read_picture, to_8_bits
from prunekit.errors import DataError
from tests.data.samples import deep_png, deep_tiff

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


def test_the_colours_under_alpha_are_taken_where_it_is_dropped(save):
    image = colour().convert("RGBA")
    image.putalpha(128)
    assert np.array_equal(read_image(save(image, "a.png"), alpha="drop"), PIXELS)


def test_a_picture_keeps_its_alpha_and_knows_that_it_is_grey(save):
    image = PIL.Image.fromarray(PIXELS[..., 0]).convert("LA")
    image.putalpha(PIL.Image.fromarray(PIXELS[..., 1]))
    picture = read_picture(save(image, "a.png"))
    assert picture.grey
    assert not picture.opaque
    assert np.array_equal(picture.rgb, np.repeat(PIXELS[..., :1], 3, axis=2))
    assert np.array_equal(picture.alpha, PIXELS[..., 1])
    plain = read_picture(save(colour(), "b.png"))
    assert (plain.alpha, plain.grey, plain.opaque) == (None, False, True)


def test_a_palette_with_a_transparent_colour_has_alpha(save):
    paletted = PIL.Image.new("P", (2, 1))
    paletted.putpalette([10, 20, 30, 40, 50, 60])
    paletted.putpixel((1, 0), 1)
    picture = read_picture(save(paletted, "a.png", transparency=1))
    assert picture.alpha.tolist() == [[255, 0]]
    assert picture.rgb.tolist() == [[[10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
def test_pictures_are_turned_upright_as_pillow_does(tmp_path, orientation, bits):
    image = PIXELS[:4, :6]
    plain = PIL.Image.fromarray(image)
    exif = PIL.Image.Exif()
    exif[274] = orientation
    file = tmp_path / "turned.png"
    if bits == 16:
        told = (b"eXIf", exif.tobytes()[6:])
        file.write_bytes(deep_png(image.astype(np.uint16) * 257, told))
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


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_8_bit_mode_is_three_channels_of_8_bits(save, mode):
    image = read_image(save(colour().convert(mode), "a.png"))
    assert (image.shape, image.dtype) == ((12, 16, 3), np.uint8)


@pytest.mark.parametrize("size", [(9, 11), (13, 17), (1, 1), (3, 2)])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("interlaced", [False, True])
def test_16_bit_png_keeps_every_bit_with_every_filter(tmp_path, size, channels, interlaced):
    samples = np.random.default_rng(channels).integers(0, 65536, (*size, channels), np.uint16)
    (tmp_path / "deep.png").write_bytes(deep_png(samples, interlaced=interlaced))
    picture = read_picture(tmp_path / "deep.png")
    assert picture.pixels.dtype == np.uint16
    assert np.array_equal(picture.pixels, samples)
    assert picture.grey == (channels < 3)
    colours = samples[..., :1].repeat(3, axis=-1) if picture.grey else samples[..., :3]
    assert np.array_equal(picture.rgb, colours)
    if channels in {2, 4}:
        assert np.array_equal(picture.alpha, samples[..., -1])
    else:
        assert picture.alpha is None


def test_16_bits_are_rounded_to_8_unless_they_are_asked_for(tmp_path):
    samples = np.array([0, 128, 129, 257, 65535 - 128, 65535 - 129, 65535, 32896], np.uint16)
    (tmp_path / "a.png").write_bytes(deep_png(samples.reshape(2, 4, 1).repeat(3, axis=2)))
    rounded = [[0, 0, 1, 1], [255, 254, 255, 128]]
    assert read_image(tmp_path / "a.png")[..., 1].tolist() == rounded
    deep = read_image(tmp_path / "a.png", deep=True)
    assert deep.dtype == np.uint16
    assert to_8_bits(deep)[..., 2].tolist() == rounded


def test_16_bit_grey_tiff_is_read(save):
    plane = np.random.default_rng(0).integers(0, 65536, (5, 7), np.uint16)
    picture = read_picture(save(PIL.Image.fromarray(plane), "a.tif"))
    assert picture.grey
    assert np.array_equal(picture.rgb, plane[..., None].repeat(3, axis=-1))


def test_a_transparent_colour_of_16_bits_is_alpha(tmp_path):
    samples = np.zeros((4, 4, 3), np.uint16)
    samples[1, 2] = 1
    (tmp_path / "a.png").write_bytes(deep_png(samples, (b"tRNS", b"\0\1" * 3)))
    with pytest.raises(DataError, match=r"a\.png has transparent pixels"):
        read_image(tmp_path / "a.png")
    alpha = read_picture(tmp_path / "a.png").alpha
    assert (alpha == 0).sum() == 1
    assert alpha[1, 2] == 0


def test_16_bit_colour_tiff_is_refused(tmp_path):
    (tmp_path / "a.tif").write_bytes(deep_tiff(np.zeros((4, 5, 3), np.uint16)))
    with pytest.raises(DataError, match=r"a\.tif has 16 bits .* not read; save it as PNG"):
        read_image(tmp_path / "a.tif")


def test_damaged_16_bit_png_is_refused(tmp_path):
    whole = deep_png(np.random.default_rng(0).integers(0, 65536, (9, 9, 3), np.uint16))
    for content in (whole[:-40], whole[:90] + bytes([whole[90] ^ 255]) + whole[91:]):
        (tmp_path / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.png cannot be read: a part of it is damaged"):
            read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_deeper_tiff_is_refused(save, mode):
    with pytest.raises(DataError, match="more than 16 bits"):
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
