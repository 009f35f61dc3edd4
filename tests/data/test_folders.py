"""Pairs out of folders: which files belong together, and what is told where they do not."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from prunekit.data.folders import find_pairs, read_pair
from prunekit.data.image import read_image
from prunekit.data.resize import downscale, modcrop
from prunekit.errors import DataError


def save(path, height=8, width=10):
    path.parent.mkdir(exist_ok=True)
    PIL.Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    ).save(path)


@pytest.fixture
def folders(tmp_path):
    for name in ("img2", "img10"):
        save(tmp_path / "hr" / f"{name}.png", 9, 11)
    return tmp_path / "hr", tmp_path / "lr"


@pytest.mark.parametrize("pattern", ["{}.png", "{}x2.png", "{}_x2.png", "{}-X2.bmp", "{}_LR.png"])
def test_lr_is_called_as_hr_or_has_the_scale_behind(folders, pattern):
    hr, lr = folders
    for name in ("img2", "img10"):
        save(lr / pattern.format(name), 4, 5)
    found = find_pairs(hr, lr, 2)
    assert [each.name for each in found] == ["img2", "img10"]
    assert [each.lr.name for each in found] == [pattern.format(n) for n in ("img2", "img10")]
    pair = read_pair(found[0], 2)
    assert (pair.lr.shape, pair.hr.shape) == ((4, 5, 3), (8, 10, 3))


def test_hr_may_have_a_mark_too(tmp_path):
    save(tmp_path / "hr" / "img_001_SRF_2_HR.png")
    save(tmp_path / "lr" / "img_001_SRF_2_LR.png", 4, 5)
    (found,) = find_pairs(tmp_path / "hr", tmp_path / "lr", 2)
    assert found.lr.name == "img_001_SRF_2_LR.png"


def test_the_same_name_comes_before_a_name_with_the_scale(folders):
    hr, lr = folders
    for name in ("img2.png", "img10.png", "img10x2.png"):
        save(lr / name, 4, 5)
    assert [each.lr.name for each in find_pairs(hr, lr, 2)] == ["img2.png", "img10.png"]


def test_without_lr_it_is_made_as_matlab_does(folders):
    hr, _ = folders
    pair = read_pair(find_pairs(hr, None, 2)[0], 2)
    whole = modcrop(read_image(hr / "img2.png"), 2)
    assert np.array_equal(pair.hr, whole)
    assert np.array_equal(pair.lr, downscale(whole, 2))


def test_a_missing_partner_is_told_before_any_file_is_read(folders):
    hr, lr = folders
    (hr / "img2.png").write_text("no image")
    save(lr / "img2x2.png", 4, 5)
    save(lr / "img10x3.png", 3, 3)
    why = r"no LR image of 'img10': looked for 'img10' and 'img10x2'; there is 'img10x3', of anoth"
    with pytest.raises(DataError, match=why):
        find_pairs(hr, lr, 2)


def test_a_wrong_scale_is_told_with_the_sizes(folders):
    hr, lr = folders
    for name in ("img2.png", "img10.png"):
        save(lr / name, 3, 3)
    with pytest.raises(DataError, match=r"has 3x3 pixels where scale 2 of \S+ with 11x9 asks for "):
        read_pair(find_pairs(hr, lr, 2)[0], 2)


@pytest.mark.parametrize(
    ("name", "why"),
    [("empty", "holds no image"), ("none", "cannot be read from"), ("file", "cannot be read from")],
)
def test_a_folder_without_images_is_told(tmp_path, name, why):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=why):
        find_pairs(tmp_path / name, None, 2)


def test_hr_that_is_smaller_than_the_scale_is_refused(tmp_path):
    save(tmp_path / "hr" / "dot.png", 1, 9)
    (files,) = find_pairs(tmp_path / "hr", None, 2)
    with pytest.raises(DataError, match="of 9x1 pixels is too small for scale 2"):
        read_pair(files, 2)
