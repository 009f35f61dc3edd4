"""Writing pictures without loss of bits or alpha, or saying why a kind of file cannot take them."""

from __future__ import annotations

__all__ = ["WRITTEN", "encode_picture"]

import io

import numpy as np
import PIL.Image

from prunekit.data.image import SUFFIXES, Picture
from prunekit.data.png import encode_deep_png
from prunekit.errors import DataError, brief

WRITTEN = SUFFIXES
"""Suffixes of files that can be written; 16 bits and alpha not in all of them."""

_MODES = ("L", "LA", "RGB", "RGBA")


def encode_picture(picture: Picture, suffix: str) -> bytes:
    """Return the content of a file of a kind told by its suffix, such as `.png`.

    JPEG and WebP are written with quality 95. Raises `DataError` for a kind that would lose alpha
    or bits, or takes no picture so large.
    """
    channels = picture.pixels.shape[2]
    kind = suffix.lower()
    pixels = picture.pixels
    if pixels.dtype == np.uint16:
        if kind != ".png":
            message = f"a picture of 16 bits is written as .png, not as {suffix}; name it so"
            raise DataError(message)
        return encode_deep_png(pixels.astype(np.uint16, copy=False), picture.profile)
    if kind not in WRITTEN:
        message = f"no picture is written as '{suffix}'; there is {', '.join(WRITTEN)}"
        raise DataError(message)
    if channels in (2, 4) and kind in (".jpg", ".jpeg", ".bmp"):
        message = f"a picture with alpha is written as .png, not as {suffix}; name it so"
        raise DataError(message)
    plane = pixels[..., 0] if channels == 1 else pixels
    image = PIL.Image.fromarray(plane, _MODES[channels - 1])
    options = {"quality": 95} if kind in (".jpg", ".jpeg", ".webp") else {}
    buffer = io.BytesIO()
    kinds = {".jpg": "JPEG", ".tif": "TIFF"}
    name = kinds.get(kind, kind[1:].upper())
    try:
        image.save(buffer, name, icc_profile=picture.profile, **options)
    except (OSError, ValueError) as error:  # JPEG ends at 65500 pixels, WebP at 16383
        message = (
            f"a picture of {image.width}x{image.height} pixels cannot be written as {suffix} "
            f"({brief(error)}); name it .png"
        )
        raise DataError(message) from error
    return buffer.getvalue()
