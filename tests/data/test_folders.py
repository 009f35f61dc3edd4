"""LR images that are given: found by name, checked against HR, and cut with it."""

import numpy as np
import PIL.Image
import pytest

from prunekit.data.folders import image_files, match
from prunekit.data.pairs import Folder, find_pairs, load_pairs
from prunekit.data.resize import downscale
from prunekit.errors import DataError
from prunekit.progress import Silent
from tests.data.samples import noise, write, write_pair


@pytest.fixture
def roots(tmp_path):
    """HR and LR x2 of three images, by the names of BasicSR."""
    for name in ("a", "b", "c"):
        write_pair(tmp_path / "gt" / f"{name}.png", tmp_path / "lq" / f"{name}.png", ord(name), 2)
    return tmp_path / "gt", tmp_path / "lq"


def load(roots, scale=2, names=None, progress=None, **options):
    source = Folder(roots[0], names, roots[1])
    return load_pairs(source, scale, progress=progress or Silent(), **options)


class Warned(Silent):
    def __init__(self):
        self.told = []

    def warn(self, message):
        self.told.append(message)

    def finish(self, note=""):
        self.told.append(note)


def test_lr_is_taken_as_it_is(roots):
    write(roots[1] / "b.png", 255 - noise(1, (6, 9)))
    pairs = load(roots)
    assert [pair.name for pair in pairs] == ["a", "b", "c"]
    assert np.array_equal(pairs[1].lr, 255 - noise(1, (6, 9)))
    assert np.array_equal(pairs[0].lr, downscale(pairs[0].hr, 2))
    assert pairs[0].hr.shape == (12, 18, 3)


def test_lr_of_another_suffix_and_with_the_scale_in_its_name(tmp_path):
    write_pair(tmp_path / "HR" / "baby.png", tmp_path / "X3" / "babyx3.bmp", 0, 3)
    (pair,) = load((tmp_path / "HR", tmp_path / "X3"), 3)
    assert (pair.name, pair.scale) == ("baby", 3)


def test_names_are_matched_before_suffixes():
    found = match(["a", "ax2", "b"], {"a": 1, "ax2": 2, "bx2": 3, "bx3": 4}, 2)
    assert found.partners == {"a": 1, "ax2": 2, "b": 3}
    assert (found.missing, found.left, found.others) == ((), (), ("bx3",))
    found = match(["a", "ax2"], {"ax2": 1}, 2)  # which is that of the second image
    assert (found.partners, found.missing) == ({"ax2": 1}, ("a",))


@pytest.mark.parametrize("pattern", ["{}", "{}x2", "{}_x2", "{}-X2", "{}_LR", "{}_lq_x2"])
def test_lr_is_called_as_hr_or_has_the_scale_or_a_mark_behind(pattern):
    lr = {pattern.format(name): name for name in ("img2", "img10", "shr")}
    found = match(["img2", "img10", "shr"], lr, 2)
    assert found.partners == {"img2": "img2", "img10": "img10", "shr": "shr"}
    assert found.left == ()


def test_hr_may_have_a_mark_too():
    found = match(["img_001_SRF_2_HR", "b_GT"], {"img_001_SRF_2_LR": 1, "bx2": 2}, 2)
    assert found.partners == {"img_001_SRF_2_HR": 1, "b_GT": 2}


def test_lr_that_names_the_scale_comes_before_lr_that_does_not():
    found = match(["a_HR"], {"a": 1, "a_x2": 2, "c": 3}, 2)
    assert found.partners == {"a_HR": 2}
    assert found.left == ("a", "c")


def test_a_folder_may_hold_lr_of_several_scales(roots):
    for name in ("a", "b", "c"):
        write(roots[1] / f"{name}x3.png", noise(0, (4, 6)))
    assert [pair.scale for pair in load(roots)] == [2, 2, 2]


def test_lr_of_another_scale_is_told_where_one_is_missing(roots):
    (roots[1] / "b.png").rename(roots[1] / "b_x3.png")
    why = r"b\.png has no LR: there is neither 'b' nor 'bx2'; there is 'b_x3', of another scale"
    with pytest.raises(DataError, match=why):
        load(roots)


def test_pairs_that_are_found_are_read_when_they_are_asked_for(roots):
    (roots[0] / "c.png").write_text("no image")
    pairs = find_pairs(Folder(roots[0], lr=roots[1]), 2)
    assert len(pairs) == 3
    loaded = load((roots[0], roots[1]), names=("a", "b"))
    for pair, same in zip(pairs[:2], loaded, strict=True):
        assert pair.name == same.name
        assert np.array_equal(pair.lr, same.lr)
        assert np.array_equal(pair.hr, same.hr)
    with pytest.raises(DataError, match=r"c\.png cannot be read"):
        pairs[2]


def test_missing_partners_are_counted_before_any_file_is_read(roots):
    for name in ("a", "b"):
        (roots[1] / f"{name}.png").unlink()
        (roots[0] / f"{name}.png").write_text("no image")
    with pytest.raises(
        DataError, match=r"^2 of 3 in .* \('a', 'b'; .*; mend them, or take them ou"
    ):
        find_pairs(Folder(roots[0], lr=roots[1]), 2)


@pytest.mark.parametrize(
    ("name", "why"),
    [("empty", "holds no image"), ("none", "cannot be read from"), ("file", "cannot be read from")],
)
def test_a_folder_without_images_is_told(tmp_path, name, why):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=why):
        find_pairs(Folder(tmp_path / name), 2)


def test_files_are_found_in_folders_below_and_links_to_nothing_are_not_lost(tmp_path):
    for name in ("b/2.png", "a.PNG", "b/1.jpg", ".hidden/3.png", "b/.4.png"):
        write(tmp_path / name, noise(0))
    (tmp_path / "c.png").symlink_to("nothing.png")
    (tmp_path / "d.png").mkdir()
    (tmp_path / "notes.txt").touch()
    found = [path.relative_to(tmp_path).as_posix() for path in image_files(tmp_path, below=True)]
    assert found == ["a.PNG", "b/1.jpg", "b/2.png", "c.png"]
    assert [path.name for path in image_files(tmp_path)] == ["a.PNG", "c.png"]
    with pytest.raises(DataError, match=r"c\.png cannot be read: No such file"):
        load((tmp_path, None))


def test_a_link_back_to_a_folder_around_it_is_passed_over(tmp_path):
    for name in ("a/b/x.png", "other/y.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "b" / "again").symlink_to(tmp_path / "a" / "b")
    (tmp_path / "a" / "beside").symlink_to(tmp_path / "other")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        found = [file.relative_to(folder).as_posix() for file in image_files(folder, below=True)]
        assert found == ["a/b/x.png", "a/beside/y.png", "other/y.png"]


def test_hr_that_is_smaller_than_the_scale_is_refused(tmp_path):
    write(tmp_path / "dot.png", noise(0, (1, 9)))
    with pytest.raises(DataError, match="of 9x1 pixels is too small for scale 2"):
        find_pairs(Folder(tmp_path), 2)[0]


def test_hr_without_lr_is_named(roots):
    (roots[1] / "b.png").unlink()
    with pytest.raises(DataError, match=r"b\.png has no LR: there is neither 'b' nor 'bx2'"):
        load(roots)


def test_lr_without_hr_is_named_unless_names_are_chosen(roots):
    (roots[0] / "b.png").unlink()
    with pytest.raises(DataError, match=r"lq/b\.png is LR without an HR image"):
        load(roots)
    assert len(load(roots, names=("a", "c"))) == 2


def test_a_wrong_scale_is_told_with_the_one_that_would_fit(roots):
    with pytest.raises(
        DataError,
        match=r"3 of 3 in folder .*gt \('a', 'b', 'c'; image .*a\.png of 9x6 pixels is not the 6x4 "
        r"that scale 3 makes of .* of 18x13; it would fit scale 2\) cannot be used",
    ):
        load(roots, 3)


def test_another_picture_is_told(roots):
    write(roots[1] / "b.png", noise(0, (7, 9)))
    with pytest.raises(DataError, match=r"9x7 pixels .* may not be the same picture"):
        load(roots)


def test_what_cannot_be_used_is_counted_and_named(roots):
    (roots[0] / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (roots[1] / "c.png").unlink()
    with pytest.raises(
        DataError,
        match=r"^2 of 3 in folder .* \('a', 'c'; image .*a\.png cannot be read: .*\) cannot be "
        "used; set 'skip_unreadable' to leave them out",
    ):
        load(roots)


def test_many_faults_are_counted_and_five_named(tmp_path):
    for number in range(9):
        (tmp_path / f"{number}.png").touch()
    with pytest.raises(DataError, match=r"^9 of 9 .* \('0', '1', '2', '3', '4' and 4 more; "):
        load((tmp_path, None))


def test_what_is_skipped_is_reported(roots):
    (roots[0] / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (roots[1] / "c.png").unlink()
    progress = Warned()
    pairs = load(roots, progress=progress, skip_unreadable=True)
    assert [pair.name for pair in pairs] == ["b"]
    assert [skipped.name for skipped in pairs.skipped] == ["a", "c"]
    assert "cannot be read" in pairs.skipped[0].reason
    assert "has no LR" in pairs.skipped[1].reason
    note, warning = progress.told
    assert note == "1 images, 2 left out"
    assert warning.startswith("2 of 3 in folder ")
    assert warning.endswith(") are left out")


def test_nothing_left_is_an_error_also_when_skipping(roots):
    for path in roots[1].iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match="3 of 3"):
        load(roots, skip_unreadable=True)


def test_modcrop_cuts_both_and_keeps_them_aligned(tmp_path):
    pixels = noise(0, (26, 40))
    write(tmp_path / "gt" / "a.png", pixels)
    whole = np.arange(13 * 20 * 3, dtype=np.uint8).reshape(13, 20, 3)
    write(tmp_path / "lq" / "a.png", whole)
    (pair,) = load((tmp_path / "gt", tmp_path / "lq"), modcrop=12)
    assert np.array_equal(pair.hr, pixels[:24, :36])
    assert np.array_equal(pair.lr, whole[:12, :18])
    write(tmp_path / "lq" / "a.png", whole[:12, :18])  # made of the cropped image
    (pair,) = load((tmp_path / "gt", tmp_path / "lq"), modcrop=12)
    assert np.array_equal(pair.lr, whole[:12, :18])


def test_modcrop_changes_lr_that_is_made(tmp_path):
    write(tmp_path / "a.png", noise(0, (26, 40)))
    (pair,) = load((tmp_path, None), modcrop=12)
    assert pair.hr.shape == (24, 36, 3)
    assert np.array_equal(pair.lr, downscale(pair.hr, 2))


def test_modcrop_that_is_no_multiple_of_the_scale_is_refused(roots):
    with pytest.raises(DataError, match=r"modcrop is 10, which is no multiple of the scale 4.*12"):
        load(roots, 4, modcrop=10)


def test_an_image_smaller_than_the_crop_is_named(roots):
    with pytest.raises(DataError, match="too small for modcrop 14"):
        load(roots, modcrop=14)


def test_transparent_images_are_taken_where_alpha_is_dropped(tmp_path):
    image = PIL.Image.fromarray(noise(0))
    image.putalpha(77)
    image.save(tmp_path / "a.png")
    with pytest.raises(DataError, match="transparent pixels"):
        load((tmp_path, None))
    assert np.array_equal(load((tmp_path, None), alpha="drop")[0].hr, noise(0)[:12])


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_images_of_every_mode_become_pairs_of_rgb(tmp_path, mode):
    if mode == "I;16":
        PIL.Image.fromarray(noise(0)[..., 0].astype(np.uint16) * 257).save(tmp_path / "a.png")
    else:
        PIL.Image.fromarray(noise(0)).convert(mode).save(tmp_path / "a.png")
    (pair,) = load((tmp_path, None))
    assert (pair.hr.shape, pair.hr.dtype) == ((12, 18, 3), np.uint8)
    if mode in {"L", "LA", "I;16"}:
        assert np.array_equal(pair.hr[..., 0], pair.hr[..., 2])
    if mode == "I;16":
        assert np.array_equal(pair.hr[..., 0], noise(0)[:12, :, 0])


@pytest.mark.data
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_folders_of_the_benchmarks_are_paired(shared_data, scale):
    set5 = shared_data / "benchmarks" / "Set5"
    pairs = load((set5 / "HR", set5 / "LR_bicubic" / f"X{scale}"), scale)
    assert [pair.name for pair in pairs] == ["baby", "bird", "butterfly", "head", "woman"]
    for made, given in zip(load((set5 / "HR", None), scale), pairs, strict=True):
        assert np.array_equal(made.lr, given.lr)
