"""From a folder, or from scikit-image, to pairs."""

import importlib.util
import os
import sys

import numpy as np
import PIL.Image
import pytest

from prunekit.data import photographs
from prunekit.data.pairs import Folder, Photographs, load_pairs
from prunekit.data.photographs import PHOTOGRAPHS
from prunekit.data.resize import downscale
from prunekit.errors import DataError
from prunekit.progress import Silent


@pytest.fixture
def folder(tmp_path):
    """A folder of ten images of odd size, with other things beside them."""
    rng = np.random.default_rng(0)
    for number in (1, 2, 10):
        pixels = rng.integers(0, 256, (13, 15 + number, 3), dtype=np.uint8)
        PIL.Image.fromarray(pixels).save(tmp_path / f"img{number}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._img1.png").write_text("what some systems leave behind")
    (tmp_path / "deeper.png").mkdir()
    return tmp_path


def load(source, scale=2):
    return load_pairs(source, scale, progress=Silent())


def names(pairs):
    return [pair.name for pair in pairs]


def test_hr_is_cut_to_the_scale_and_lr_is_its_reduction(folder):
    for scale in (1, 2, 3, 4):
        for pair in load(Folder(folder), scale):
            assert pair.hr.shape == (pair.lr.shape[0] * scale, pair.lr.shape[1] * scale, 3)
            assert pair.scale == scale
            assert np.array_equal(pair.lr, downscale(pair.hr, scale))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_what_is_no_regular_file_is_passed_over(folder):
    os.mkfifo(folder / "img0.png")
    assert names(load(Folder(folder))) == ["img1", "img2", "img10"]


def test_images_come_in_natural_order(folder):
    assert names(load(Folder(folder))) == ["img1", "img2", "img10"]


def test_names_choose_images_and_keep_the_order(folder):
    assert names(load(Folder(folder, names=("img10", "img2")))) == ["img2", "img10"]


def test_an_unknown_name_gets_a_suggestion(folder):
    with pytest.raises(DataError, match=r"no image 'img11' in folder .*; did you mean 'img1"):
        load(Folder(folder, names=("img1", "img11")))


def test_no_name_at_all_is_refused(folder):
    with pytest.raises(DataError, match=r"no image of folder .* is chosen"):
        load(Folder(folder, names=()))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"holds no image; files ending in \.bmp"):
        load(Folder(tmp_path))


def test_a_missing_folder_and_a_file_are_refused(folder):
    with pytest.raises(DataError, match=r"images cannot be read from .*none: No such file"):
        load(Folder(folder / "none"))
    with pytest.raises(
        DataError, match=r"images cannot be read from .*notes\.txt: Not a directory"
    ):
        load(Folder(folder / "notes.txt"))


def test_two_files_of_one_name_are_refused(folder):
    PIL.Image.new("RGB", (8, 8)).save(folder / "img2.bmp")
    with pytest.raises(DataError, match=r"holds both img2\.bmp and img2\.png"):
        load(Folder(folder))


def test_an_image_without_one_lr_pixel_is_refused(folder):
    PIL.Image.new("RGB", (40, 3)).save(folder / "thin.png")
    with pytest.raises(DataError, match=r"thin\.png of 40x3 pixels is too small for scale 4"):
        load(Folder(folder), 4)


def test_a_corrupt_image_is_named(folder):
    (folder / "img2.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(DataError, match=r"img2\.png cannot be read"):
        load(Folder(folder))


def test_progress_is_told_every_image(folder):
    told = []

    class Told(Silent):
        def start(self, stage, total=None):
            told.append((stage, total))

        def advance(self, **figures):
            told.append(figures)

        def finish(self, note=""):
            told.append(note)

    load_pairs(Folder(folder), 2, progress=Told())
    assert told == [("read images", 3), {}, {}, {}, "3 images"]


def test_photographs_ship_with_scikit_image_and_are_not_downloaded():
    pytest.importorskip("skimage")
    for module in [name for name in sys.modules if name.partition(".")[0] == "skimage"]:
        del sys.modules[module]
    pairs = load(Photographs(names=("chelsea", "camera")))
    assert names(pairs) == ["camera", "chelsea"]
    assert pairs[0].hr.shape == (512, 512, 3)
    assert np.array_equal(pairs[0].hr[..., 0], pairs[0].hr[..., 2])
    assert pairs[1].hr.shape == (300, 450, 3)
    assert "skimage.data" not in sys.modules


def test_every_photograph_of_the_table_is_in_the_package_and_says_its_licence():
    pytest.importorskip("skimage")
    for photograph in PHOTOGRAPHS.values():
        assert (photographs.photograph_folder() / photograph.file).is_file()
        assert photograph.licence.startswith(("CC0, ", "public domain, "))


def test_an_unknown_photograph_gets_a_suggestion():
    pytest.importorskip("skimage")
    with pytest.raises(
        DataError, match="in the photographs of scikit-image; did you mean 'coffee'"
    ):
        load(Photographs(names=("cofee",)))


def test_without_scikit_image_the_error_says_what_to_install(monkeypatch):
    assert photographs.find_spec is importlib.util.find_spec
    monkeypatch.setattr(photographs, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"pip install 'prunekit\[demo\]'"):
        load(Photographs())
