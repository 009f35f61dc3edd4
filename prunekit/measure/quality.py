"""PSNR and SSIM of 8-bit images, on luma or on RGB, as super-resolution papers state them."""

from __future__ import annotations

__all__ = ["least_side", "luma", "psnr_rgb", "psnr_y", "ssim_rgb", "ssim_y"]

from statistics import fmean

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from prunekit.data.image import Image

Plane = NDArray[np.float64]

_WINDOW = 11
_SIGMA = 1.5


def least_side(border: int) -> int:
    """Pixels that an image must have on each side for both figures, with a border cut off."""
    return _WINDOW + 2 * border


def luma(image: Image) -> Plane:
    """Y of BT.601 (16 to 235, not rounded) of an `(H, W, 3)` 8-bit RGB image."""
    weights = np.array([65.481, 128.553, 24.966]) / 255.0
    return 16.0 + image.astype(np.float64) @ weights


def psnr_y(sr: Image, hr: Image, border: int) -> float:
    """Peak signal-to-noise ratio on Y in dB, `border` pixels cut off every side.

    Returns infinity for equal images. Raises `ValueError` if the shapes differ or nothing is
    left inside the border.
    """
    return _psnr(*map(luma, _inner(sr, hr, border)))


def psnr_rgb(sr: Image, hr: Image, border: int) -> float:
    """Peak signal-to-noise ratio in dB of one mean square over R, G and B; else as `psnr_y`."""
    return _psnr(*map(_exact, _inner(sr, hr, border)))


def ssim_y(sr: Image, hr: Image, border: int) -> float:
    """Structural similarity on Y (Wang et al., 2004), `border` pixels cut off every side.

    An 11x11 Gaussian window of sigma 1.5, without padding; the mean of the map. Raises
    `ValueError` if the shapes differ or fewer than 11 pixels are left on a side.
    """
    return _ssim(*map(luma, _inner(sr, hr, border)))


def ssim_rgb(sr: Image, hr: Image, border: int) -> float:
    """Structural similarity of R, G and B, each by itself, and their mean; else as `ssim_y`."""
    inner = [_exact(image) for image in _inner(sr, hr, border)]
    return fmean(_ssim(*(image[..., channel] for image in inner)) for channel in range(3))


def _psnr(sr: Plane, hr: Plane) -> float:
    mse = float(np.mean((sr - hr) ** 2))
    return float("inf") if mse == 0 else float(10.0 * np.log10(255.0**2 / mse))


def _ssim(x: Plane, y: Plane) -> float:
    if min(x.shape) < _WINDOW:
        message = f"SSIM needs {_WINDOW} pixels a side inside the border; {x.shape} are left"
        raise ValueError(message)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    mean_x, mean_y = _blur(x), _blur(y)
    var_x = _blur(x * x) - mean_x**2
    var_y = _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
    return float(similarity.mean())


def _exact(image: Image) -> Plane:
    return image.astype(np.float64)


def _inner(sr: Image, hr: Image, border: int) -> tuple[Image, Image]:
    if sr.shape != hr.shape:
        message = f"images of equal shape are compared, not {sr.shape} and {hr.shape}"
        raise ValueError(message)
    if sr.dtype != np.uint8 or hr.dtype != np.uint8:
        message = f"images are compared as 8-bit ones, not as {sr.dtype} and {hr.dtype}"
        raise ValueError(message)
    if min(sr.shape[:2]) <= 2 * border:
        message = f"nothing is left of a {sr.shape[:2]} image inside a border of {border} pixels"
        raise ValueError(message)
    inner = slice(border, -border or None)
    return sr[inner, inner], hr[inner, inner]


def _blur(plane: Plane) -> Plane:
    """Separable Gaussian window, valid region only."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    kernel = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    kernel /= kernel.sum()
    rows = sliding_window_view(plane, _WINDOW, axis=0) @ kernel
    return sliding_window_view(rows, _WINDOW, axis=1) @ kernel
