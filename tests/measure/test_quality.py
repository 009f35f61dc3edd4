"""PSNR-Y and SSIM against figures worked by hand, a scalar version, and published ones."""

import math

import numpy as np
import pytest

from prunekit.data.image import read_image
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import modcrop
from prunekit.measure.evaluate import evaluate_bicubic
from prunekit.measure.protocol import PROTOCOLS
from prunekit.measure.quality import luma, psnr_rgb, psnr_y, ssim_rgb, ssim_y


def flat(value, size=(16, 16)):
    return np.full((*size, 3), value, np.uint8)


def noise(seed, size=(14, 15)):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def test_luma_is_that_of_bt601():
    primaries = np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]])
    expected = [16.0, 81.481, 144.553, 40.966, 235.0]
    assert np.allclose(luma(primaries.astype(np.uint8))[0], expected, rtol=0, atol=1e-9)


def test_psnr_of_a_constant_error():
    # Grey moves luma by 219/255 of itself: an error of 10 is 8.588 on Y.
    assert psnr_y(flat(110), flat(100), 0) == pytest.approx(20 * math.log10(255 * 255 / 2190))


def test_psnr_of_an_error_in_one_pixel():
    sr = flat(100)
    sr[8, 8] = (110, 100, 100)  # 2.567882 on Y, in one of 256 pixels
    expected = 10 * math.log10(255**2 / ((65.481 * 10 / 255) ** 2 / 256))
    assert psnr_y(sr, flat(100), 0) == pytest.approx(expected)


def test_equal_images_have_no_finite_psnr_and_ssim_1():
    assert psnr_y(noise(0), noise(0), 2) == math.inf
    assert ssim_y(noise(0), noise(0), 1) == pytest.approx(1.0)


def test_the_border_is_left_out():
    sr = flat(100)
    sr[:2], sr[-2:], sr[:, :2], sr[:, -2:] = 0, 0, 0, 0
    assert psnr_y(sr, flat(100), 2) == math.inf
    assert ssim_y(sr, flat(100), 2) == pytest.approx(1.0)
    assert psnr_y(sr, flat(100), 1) < 30


def test_ssim_of_two_flat_images_compares_their_means():
    x, y = (16 + 219 * value / 255 for value in (100, 110))
    c1 = (0.01 * 255) ** 2
    expected = (2 * x * y + c1) / (x * x + y * y + c1)
    assert ssim_y(flat(100), flat(110), 0) == pytest.approx(expected)


@pytest.mark.parametrize("border", [0, 1])
def test_ssim_agrees_with_a_scalar_version(border):
    sr, hr = noise(1), noise(2)
    expected = ssim_scalar(luma(sr), luma(hr), border)
    assert ssim_y(sr, hr, border) == pytest.approx(expected, abs=1e-12)


def test_psnr_rgb_is_that_of_one_mean_over_the_three_channels():
    sr = flat(100)
    sr[..., 0] = 109  # a mean square of 81 in one channel of three
    assert psnr_rgb(sr, flat(100), 0) == pytest.approx(10 * math.log10(255**2 / 27), abs=1e-12)
    assert psnr_rgb(sr, sr, 0) == math.inf


def test_ssim_rgb_is_the_mean_over_the_three_channels():
    sr, hr = noise(1), noise(2)
    expected = [
        ssim_scalar(sr[..., c].astype(float), hr[..., c].astype(float), 1) for c in range(3)
    ]
    assert ssim_rgb(sr, hr, 1) == pytest.approx(sum(expected) / 3, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "golden"),
    [
        (psnr_y, 31.2448438198),
        (psnr_rgb, 29.2303212705),
        (ssim_y, 0.9394243543),
        (ssim_rgb, 0.8856920773),
    ],
)
def test_figures_of_a_ramp_and_its_quantisation(metric, golden):
    # two images that need no generator: a ramp of three slopes, and its sixteen grey levels
    rows, columns = np.mgrid[:24, :28]
    ramp = np.stack([rows * 5 + columns, rows + columns * 5, rows * 3 + columns * 4], -1)
    ramp = ramp.astype(np.uint8)
    assert metric(ramp // 16 * 16, ramp, 2) == pytest.approx(golden, abs=1e-9)


@pytest.mark.parametrize("metric", [psnr_y, psnr_rgb, ssim_y, ssim_rgb])
def test_what_is_not_8_bit_is_refused(metric):
    deep = flat(0).astype(np.uint16)
    with pytest.raises(ValueError, match="as 8-bit ones, not as uint16 and uint8"):
        metric(deep, flat(0), 0)


def test_images_of_two_sizes_are_refused():
    with pytest.raises(ValueError, match="equal shape"):
        psnr_y(flat(0), flat(0, (16, 15)), 0)


def test_images_that_the_border_eats_are_refused():
    with pytest.raises(ValueError, match="nothing is left"):
        psnr_y(flat(0, (4, 9)), flat(0, (4, 9)), 2)
    with pytest.raises(ValueError, match="11 pixels a side"):
        ssim_y(flat(0, (12, 30)), flat(0, (12, 30)), 1)


PUBLISHED = {  # bicubic; PSNR-Y, SSIM
    ("Set5", 2): (33.67, 0.9303),
    ("Set5", 3): (30.40, 0.8689),
    ("Set5", 4): (28.43, 0.8111),
    ("Set14", 2): (30.32, 0.8699),
    ("Set14", 3): (27.63, 0.7759),
    ("Set14", 4): (26.09, 0.7048),
}


@pytest.mark.data
@pytest.mark.parametrize(("benchmark", "scale"), PUBLISHED)
def test_bicubic_has_the_published_figures(shared_data, benchmark, scale):
    folder = shared_data / "benchmarks" / benchmark
    pairs = [
        ImagePair(
            path.stem,
            read_image(folder / "LR_bicubic" / f"X{scale}" / f"{path.stem}x{scale}.png"),
            modcrop(read_image(path), scale),
        )
        for path in sorted((folder / "HR").iterdir())
    ]
    scores = evaluate_bicubic(pairs, PROTOCOLS["y"])
    psnr, ssim = PUBLISHED[benchmark, scale]
    assert scores.psnr == pytest.approx(psnr, abs=0.005)
    assert scores.ssim == pytest.approx(ssim, abs=0.00005)


def ssim_scalar(x, y, border):
    """The mean over all windows, each summed one pixel at a time (Wang et al., 2004)."""
    height, width = x.shape
    values = [
        window_similarity(x, y, top, left)
        for top in range(border, height - border - 10)
        for left in range(border, width - border - 10)
    ]
    return sum(values) / len(values)


def window_similarity(x, y, top, left):
    gauss = [math.exp(-((i - 5) ** 2) / (2 * 1.5**2)) for i in range(11)]
    total = sum(gauss) ** 2
    weights = {(i, j): gauss[i] * gauss[j] / total for i in range(11) for j in range(11)}
    mean_x = sum(w * x[top + i, left + j] for (i, j), w in weights.items())
    mean_y = sum(w * y[top + i, left + j] for (i, j), w in weights.items())
    var_x = sum(w * (x[top + i, left + j] - mean_x) ** 2 for (i, j), w in weights.items())
    var_y = sum(w * (y[top + i, left + j] - mean_y) ** 2 for (i, j), w in weights.items())
    covariance = sum(
        w * (x[top + i, left + j] - mean_x) * (y[top + i, left + j] - mean_y)
        for (i, j), w in weights.items()
    )
    c1, c2 = 6.5025, 58.5225
    return ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
