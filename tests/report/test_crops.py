from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.measure.quality import psnr_y
from prunekit.report import cut_crops, preview_images
from tests.report.samples import pair


def test_a_crop_lies_on_the_detail() -> None:
    crop = cut_crops([pair("a", detail_at=(40, 60))], {}, count=1, size=32)[0]
    assert 84 - crop.size <= crop.left <= 60
    assert 64 - crop.size <= crop.top <= 40


def test_every_image_gives_one_before_any_gives_a_second() -> None:
    pairs = [pair("a"), pair("b"), pair("c")]
    names = [crop.image for crop in cut_crops(pairs, {}, count=4, size=24)]
    assert sorted(names[:3]) == ["a", "b", "c"]
    assert len(names) == 4


def test_the_choice_does_not_depend_on_the_networks() -> None:
    pairs = [pair("a"), pair("b", detail_at=(10, 10))]
    bad = {"dense": [np.zeros_like(p.hr) for p in pairs]}
    good = {"dense": [p.hr for p in pairs]}
    places = [
        [(c.image, c.left, c.top) for c in cut_crops(pairs, outputs, count=4, size=24)]
        for outputs in (bad, good)
    ]
    assert places[0] == places[1]


@settings(max_examples=25, deadline=None)
@given(
    count=st.integers(0, 12),
    size=st.integers(8, 60),
    border=st.integers(0, 6),
    top=st.integers(0, 70),
)
def test_crops_never_overlap_and_keep_off_the_border(
    count: int, size: int, border: int, top: int
) -> None:
    crops = cut_crops([pair("a", detail_at=(top, 30))], {}, count=count, size=size, border=border)
    assert len(crops) <= count
    covered = np.zeros((96, 96), int)
    for crop in crops:
        covered[crop.top : crop.top + crop.size, crop.left : crop.left + crop.size] += 1
        assert crop.pictures[0].pixels.shape == (size, size, 3)
    assert covered.max(initial=0) <= 1
    assert covered.sum() == len(crops) * size**2
    inner = covered[border : 96 - border, border : 96 - border]
    assert inner.sum() == covered.sum()


def test_pictures_are_the_same_square_with_hr_first_and_their_own_psnr() -> None:
    image = pair("a")
    darker = image.hr // 2
    outputs = {"bicubic": [darker], "dense": [image.hr]}
    crop = cut_crops([image], outputs, count=1, size=32, border=2)[0]
    square = np.s_[crop.top : crop.top + 32, crop.left : crop.left + 32]
    hr, bicubic, dense = crop.pictures
    assert [p.name for p in crop.pictures] == ["HR", "bicubic", "dense"]
    np.testing.assert_array_equal(hr.pixels, image.hr[square])
    np.testing.assert_array_equal(bicubic.pixels, darker[square])
    assert hr.psnr is None
    assert bicubic.psnr == psnr_y(darker[square], image.hr[square], 0)
    assert dense.psnr == math.inf


@pytest.mark.parametrize(("size", "side"), [(200, 92), (92, 92), (91, 91)])
def test_an_image_smaller_than_the_crop_gives_what_is_inside_the_border(
    size: int, side: int
) -> None:
    assert cut_crops([pair("a")], {}, count=1, size=size, border=2)[0].size == side


def test_a_wide_image_limits_the_crop_by_its_height() -> None:
    square = pair("a", detail_at=(10, 60))
    wide = replace(square, lr=square.lr[:25], hr=square.hr[:50])
    (crop,) = cut_crops([wide], {}, count=1, size=96, border=4)
    assert (crop.size, crop.top) == (42, 4)
    assert crop.left <= 60


def test_no_images_or_no_room_give_no_crops() -> None:
    assert cut_crops([], {}, count=4, size=96) == ()
    assert cut_crops([pair("a")], {}, count=4, size=96, border=48) == ()


def test_previews_show_every_image_once_and_keep_its_proportions() -> None:
    large = pair("large", size=700)
    crops = cut_crops([large, pair("unused")], {}, count=3, size=24)
    crops = tuple(crop for crop in crops if crop.image == "large") * 2
    (preview,) = preview_images([large, pair("unused")], crops)
    assert (preview.image, preview.width, preview.height) == ("large", 700, 700)
    assert preview.pixels.shape == (320, 320, 3)
