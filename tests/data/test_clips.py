"""Clips: folders of frames, as whole clips or frame by frame."""

import numpy as np
import pytest

from prunekit.data.pairs import ClipPair, Clips, find_clips, load_clips, load_pairs
from prunekit.data.resize import downscale
from prunekit.errors import DataError
from prunekit.progress import Silent
from tests.data.samples import noise, write, write_pair


@pytest.fixture
def roots(tmp_path):
    """Two clips of three and four frames, HR and LR x2."""
    for clip, frames in (("walk", 3), ("city", 4)):
        for frame in range(frames):
            name = f"{clip}/{frame:08}.png"
            write_pair(tmp_path / "GT" / name, tmp_path / "LR" / name, len(clip) + frame, 2)
    return tmp_path / "GT", tmp_path / "LR"


def load(roots, names=None, scale=2, read=load_clips, **options):
    return read(Clips(roots[0], names, roots[1]), scale, progress=Silent(), **options)


def test_a_clip_is_its_frames_in_order(roots):
    city, walk = load(roots)
    assert isinstance(city, ClipPair)
    assert (city.name, city.scale, city.lr.shape, city.hr.shape) == (
        "city",
        2,
        (4, 6, 9, 3),
        (4, 12, 18, 3),
    )
    assert len(walk.lr) == 3
    for index, (lr, hr) in enumerate(zip(walk.lr, walk.hr, strict=True)):
        assert np.array_equal(hr, noise(4 + index)[:12])
        assert np.array_equal(lr, downscale(hr, 2))


def test_lr_is_made_where_it_is_not_given(roots):
    for made, given in zip(load((roots[0], None)), load(roots), strict=True):
        assert np.array_equal(made.lr, given.lr)


def test_frames_can_be_taken_one_by_one(roots):
    pairs = load(roots, ("walk",), read=load_pairs)
    assert [pair.name for pair in pairs] == [f"walk/{frame:08}" for frame in range(3)]
    assert pairs[1].hr.shape == (12, 18, 3)


def test_clips_that_are_found_are_read_when_they_are_asked_for(roots):
    found = find_clips(Clips(roots[0], lr=roots[1]), 2)
    for clip, same in zip(found, load(roots), strict=True):
        assert isinstance(clip, ClipPair)
        assert clip.name == same.name
        assert np.array_equal(clip.lr, same.lr)
        assert np.array_equal(clip.hr, same.hr)
    (roots[0] / "walk" / "00000000.png").write_bytes(b"")
    late = find_clips(Clips(roots[0], lr=roots[1]), 2)
    assert len(late) == 2
    with pytest.raises(DataError, match=r"00000000\.png cannot be read"):
        late[1]
    (roots[1] / "walk" / "00000001.png").unlink()
    with pytest.raises(DataError, match=r"walk: 1 without LR, first frame '00000001'"):
        find_clips(Clips(roots[0], lr=roots[1]), 2)


def test_an_unknown_clip_gets_a_suggestion(roots):
    with pytest.raises(DataError, match=r"no clip 'wolk' in folder .*; did you mean 'walk'"):
        load(roots, ("wolk",))


def test_a_folder_without_clips_is_refused(roots):
    with pytest.raises(DataError, match="holds no clip; a clip is a folder of frames in it"):
        load((roots[0] / "walk", None))


def test_a_clip_without_frames_is_named(roots):
    (roots[0] / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty holds no image"):
        load((roots[0], None))


def test_a_missing_clip_and_a_missing_frame_are_named(roots):
    (roots[1] / "walk" / "00000001.png").unlink()
    with pytest.raises(DataError, match=r"walk: 1 without LR, first frame '00000001'"):
        load(roots)
    write(roots[0] / "new" / "0.png", noise(0))
    with pytest.raises(DataError, match=r"2 of 3 .*'new', 'walk'; clip .*new has no LR"):
        load(roots)
    assert [clip.name for clip in load(roots, skip_unreadable=True)] == ["city"]
    (roots[0] / "walk" / "00000002.png").unlink()
    with pytest.raises(DataError, match=r"walk: 1 without LR"):
        load(roots, ("walk",))


def test_frames_of_two_sizes_are_named(roots):
    write(roots[0] / "city" / "00000002.png", noise(0, (13, 20)))
    with pytest.raises(
        DataError, match=r"clip 'city': frame 00000002\.png has 20x12 .* 00000000\.png has 18x12"
    ):
        load((roots[0], None))


@pytest.mark.data
def test_vid4_is_reproduced_from_its_frames(shared_data):
    vid4 = shared_data / "video" / "Vid4"
    (given,) = load((vid4 / "GT", vid4 / "BIx4"), ("city",), 4)
    (made,) = load((vid4 / "GT", None), ("city",), 4)
    assert given.lr.shape == (10, 144, 176, 3)
    assert np.array_equal(made.lr, given.lr)
