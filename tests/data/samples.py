"""Small images, folders and clips to read."""

import numpy as np
import PIL.Image

from prunekit.data.resize import downscale, modcrop


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
