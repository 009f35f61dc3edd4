"""Choosing the squares that show the difference, and cutting them from every output."""

from __future__ import annotations

__all__ = ["cut_crops", "preview_images"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from prunekit.data.image import Image
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import upscale
from prunekit.measure.protocol import Channels, psnr_of
from prunekit.measure.quality import luma
from prunekit.report.content import HR, Crop, Picture, Preview

_PREVIEW_SIDE = 320
_STEPS_PER_CROP = 4  # candidates lie a quarter of a crop apart


@dataclass(frozen=True)
class _Place:
    """A candidate: where it lies and how much it shows."""

    pair: int
    left: int
    top: int
    size: int
    detail: float

    def meets(self, other: _Place) -> bool:
        """Whether two squares of one image share a pixel."""
        across = abs(self.left - other.left) < max(self.size, other.size)
        down = abs(self.top - other.top) < max(self.size, other.size)
        return self.pair == other.pair and across and down


def cut_crops(
    pairs: Sequence[ImagePair],
    outputs: Mapping[str, Sequence[Image]],
    *,
    count: int,
    size: int,
    border: int = 0,
    channels: Channels = "y",
) -> tuple[Crop, ...]:
    """Cut up to `count` squares of `size` HR pixels from HR and from every method's outputs.

    They lie where bicubic interpolation errs most, the detail that a network has to bring back:
    the choice depends on the images alone and favours no network. They never overlap, keep off
    the border, and every image gives one before any gives a second. An image smaller than
    `size` gives a smaller square. Their PSNR is of `channels`.
    """
    places = _choose(pairs, count=count, size=size, border=border)
    return tuple(_cut(pairs[place.pair], place, outputs, channels) for place in places)


def preview_images(pairs: Sequence[ImagePair], crops: Sequence[Crop]) -> tuple[Preview, ...]:
    """Reduce every image that a crop comes from, once, in the order of the crops."""
    images = {pair.name: pair.hr for pair in pairs}
    names = dict.fromkeys(crop.image for crop in crops)
    return tuple(_preview(name, images[name]) for name in names)


def _choose(pairs: Sequence[ImagePair], *, count: int, size: int, border: int) -> list[_Place]:
    """Take the best place of every image, the best image first, then the second best places."""
    ranked = [
        _best_places(number, pair, count=count, size=size, border=border)
        for number, pair in enumerate(pairs)
    ]
    places: list[_Place] = []
    for rank in zip_longest(*ranked):
        places += sorted(filter(None, rank), key=lambda place: -place.detail)
    return places[:count]


def _best_places(
    number: int, pair: ImagePair, *, count: int, size: int, border: int
) -> list[_Place]:
    """Return places of one image that do not meet, the most detailed first."""
    chosen: list[_Place] = []
    for place in sorted(_candidates(number, pair, size, border), key=lambda p: -p.detail):
        if len(chosen) == count:
            break
        if not any(place.meets(other) for other in chosen):
            chosen.append(place)
    return chosen


def _candidates(number: int, pair: ImagePair, size: int, border: int) -> Iterator[_Place]:
    height, width = pair.hr.shape[:2]
    side = min(size, height - 2 * border, width - 2 * border)
    if side < 1:
        return
    sums = _integral(np.abs(luma(pair.hr) - luma(upscale(pair.lr, pair.scale))))
    for top in _offsets(height, side, border):
        for left in _offsets(width, side, border):
            bottom, right = top + side, left + side
            total = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
            yield _Place(number, left, top, side, float(total) / side**2)


def _offsets(length: int, side: int, border: int) -> list[int]:
    last = length - border - side
    return sorted({*range(border, last + 1, max(1, side // _STEPS_PER_CROP)), last})


def _integral(plane: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of everything above and to the left, with a row and a column of zeros before."""
    return np.pad(plane.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))


def _cut(
    pair: ImagePair,
    place: _Place,
    outputs: Mapping[str, Sequence[Image]],
    channels: Channels,
) -> Crop:
    rows = slice(place.top, place.top + place.size)
    columns = slice(place.left, place.left + place.size)
    hr = pair.hr[rows, columns].copy()
    pictures = [Picture(HR, hr, None)]
    for name, images in outputs.items():
        sr = images[place.pair][rows, columns].copy()
        pictures.append(Picture(name, sr, psnr_of(sr, hr, channels)))
    return Crop(pair.name, place.left, place.top, place.size, tuple(pictures))


def _preview(name: str, image: Image) -> Preview:
    height, width = image.shape[:2]
    small = PIL.Image.fromarray(image)
    small.thumbnail((_PREVIEW_SIDE, _PREVIEW_SIDE), PIL.Image.Resampling.LANCZOS)
    return Preview(name, width, height, np.array(small))
