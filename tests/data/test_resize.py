"""Bicubic resizing: weights worked by hand, a slow scalar version, and MATLAB's own files."""

import math

import numpy as np
import pytest

from prunekit.data.image import read_image
from prunekit.data.resize import downscale, modcrop, upscale


def striped(columns, height=8):
    """An image whose rows are all `columns`."""
    return np.tile(np.array(columns, np.uint8)[None, :, None], (height, 1, 3))


def test_halving_an_impulse_gives_the_weights_of_the_widened_kernel():
    # Keys at 0.25, 0.75, 1.25, 1.75 is 0.8671875, 0.2265625, -0.0703125, -0.0234375; halved.
    columns = [100] * 16
    columns[4] = 200
    halved = downscale(striped(columns), 2)
    assert halved.shape == (4, 8, 3)
    assert halved[0, :, 0].tolist() == [99, 111, 143, 96, 100, 100, 100, 100]


def test_doubling_an_impulse_gives_the_weights_of_the_kernel():
    columns = [100] * 8
    columns[4] = 200
    doubled = upscale(striped(columns), 2)
    assert doubled.shape == (16, 16, 3)
    assert doubled[0, 5:13, 0].tolist() == [98, 93, 123, 187, 187, 123, 93, 98]


def test_overshoot_is_clipped_to_8_bits():
    columns = [0] * 16
    columns[4] = 255
    assert downscale(striped(columns), 2)[0, :, 0].tolist() == [0, 29, 111, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("pixel", "twice_rounded", "rounded_once"), [(3, 3, 2), (22, 16, 17)])
def test_each_pass_is_rounded_to_8_bits(pixel, twice_rounded, rounded_once):
    # The weight nearest to a pixel is 0.8671875 in either direction.
    assert round(round(pixel * 0.8671875) * 0.8671875) == twice_rounded
    assert round(pixel * 0.8671875**2) == rounded_once
    image = np.zeros((8, 8, 3), np.uint8)
    image[4, 4] = pixel
    assert upscale(image, 2)[8, 8].tolist() == [twice_rounded] * 3


@pytest.mark.parametrize("size", [(12, 18), (13, 17), (5, 4)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_agrees_with_a_scalar_version(size, scale):
    image = np.random.default_rng(scale).integers(0, 256, (*size, 3), dtype=np.uint8)
    assert np.array_equal(downscale(image, scale), imresize_scalar(image, 1 / scale))
    assert np.array_equal(upscale(image, scale), imresize_scalar(image, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_16_bit_images_are_rounded_to_16_bits(scale):
    image = np.random.default_rng(scale).integers(0, 65536, (13, 10, 3), dtype=np.uint16)
    assert np.array_equal(downscale(image, scale), imresize_scalar(image, 1 / scale))
    assert np.array_equal(upscale(image, scale), imresize_scalar(image, scale))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_a_large_image_is_resized_as_its_parts_are(scale):
    # more rows than are summed up at once
    image = np.random.default_rng(0).integers(0, 256, (1200, 40, 3), dtype=np.uint8)
    whole = downscale(image, scale)
    part = downscale(np.ascontiguousarray(image[600:720]), scale)
    inner = slice(3, 120 // scale - 3)
    assert np.array_equal(whole[600 // scale :][inner], part[inner])


def test_scale_1_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (7, 9, 3), dtype=np.uint8)
    assert np.array_equal(downscale(image, 1), image)


def test_modcrop_cuts_bottom_and_right():
    image = np.arange(7 * 8 * 3, dtype=np.uint8).reshape(7, 8, 3)
    assert np.array_equal(modcrop(image, 3), image[:6, :6])
    assert modcrop(image, 1).shape == image.shape


def test_modcrop_to_12_is_that_of_basicsr_and_takes_clips_too():
    assert modcrop(np.zeros((280, 256, 3), np.uint8), 12).shape == (276, 252, 3)
    assert modcrop(np.zeros((5, 576, 704, 3), np.uint8), 12).shape == (5, 576, 696, 3)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_refuses_what_is_no_8_bit_colour_image(image):
    with pytest.raises(ValueError, match="uint8 image is needed"):
        downscale(image, 2)


@pytest.mark.data
@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("benchmark", ["Set5", "Set14"])
def test_lr_is_bit_exact_with_the_files_of_matlab(shared_data, benchmark, scale):
    folder = shared_data / "benchmarks" / benchmark
    for path in sorted((folder / "HR").iterdir()):
        lr = read_image(folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png")
        made = downscale(modcrop(read_image(path), scale), scale)
        assert np.array_equal(made, lr), path.stem


def imresize_scalar(image, factor):
    """The same, one number at a time, by the definition."""
    rows = [
        resize_line(column, factor, np.iinfo(image.dtype).max)
        for column in image.transpose(1, 2, 0).reshape(-1, image.shape[0]).tolist()
    ]
    tall = np.array(rows, image.dtype).reshape(image.shape[1], 3, -1).transpose(2, 0, 1)
    lines = [
        resize_line(row, factor, np.iinfo(image.dtype).max)
        for row in tall.transpose(0, 2, 1).reshape(-1, image.shape[1]).tolist()
    ]
    return np.array(lines, image.dtype).reshape(tall.shape[0], 3, -1).transpose(0, 2, 1)


def resize_line(values, factor, white):
    """Every sample is a weighted mean of its neighbours on the endlessly mirrored line."""
    stretch = max(1.0, 1 / factor)
    line = []
    for index in range(math.ceil(len(values) * factor)):
        centre = (index + 0.5) / factor - 0.5
        total = weights = 0.0
        for position in range(
            math.floor(centre - 2 * stretch), math.ceil(centre + 2 * stretch) + 1
        ):
            weight = keys(abs(centre - position) / stretch)
            total += weight * values[mirror(position, len(values))]
            weights += weight
        line.append(min(white, max(0, math.floor(total / weights + 0.5))))
    return line


def keys(x):
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def mirror(position, length):
    while not 0 <= position < length:
        position = -1 - position if position < 0 else 2 * length - 1 - position
    return position
