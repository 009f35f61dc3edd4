"""Patches are aligned, and a function of seed, step and index alone."""

import numpy as np
import pytest
import torch

from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.patches import Patches, Window
from prunekit.errors import DataError


def coded_pair(name="coded", height=9, width=11, scale=2, blue=0):
    """A pair whose pixels tell where they are: red the LR row, green the LR column."""
    lr = np.zeros((height, width, 3), np.uint8)
    lr[..., 0], lr[..., 1], lr[..., 2] = np.arange(height)[:, None], np.arange(width), blue
    return ImagePair(name, lr, lr.repeat(scale, axis=0).repeat(scale, axis=1))


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_hr_patches_lie_over_their_lr_patches(scale):
    patches = Patches([coded_pair(scale=scale)], patch_size=5, seed=1)
    lr, hr = patches.sample(0, range(40))
    assert lr.shape == (40, 3, 5, 5)
    assert lr.dtype == torch.float32
    assert torch.equal(hr, lr.repeat_interleave(scale, 2).repeat_interleave(scale, 3))


def test_pixels_go_from_0_to_1():
    white = ImagePair("white", np.full((4, 4, 3), 255, np.uint8), np.full((8, 8, 3), 255, np.uint8))
    lr, hr = Patches([white], patch_size=4, seed=0).sample(0, range(1))
    assert lr.min() == lr.max() == hr.min() == hr.max() == 1.0


def test_all_eight_turns_and_every_place_come_up():
    lr, _ = Patches([coded_pair(height=6, width=7)], patch_size=5, seed=0).sample(0, range(400))
    rows, columns = (lr * 255).round().long()[:, :2].unbind(1)
    corners = {
        (tuple(r[::4, ::4].flatten().tolist()), tuple(c[::4, ::4].flatten().tolist()))
        for r, c in zip(rows, columns, strict=True)
    }
    assert len(corners) == 8 * 2 * 3


def test_every_image_comes_up():
    pairs = [coded_pair(str(blue), blue=blue) for blue in range(5)]
    lr, _ = Patches(pairs, patch_size=3, seed=0).sample(0, range(200))
    assert set((lr[:, 2, 0, 0] * 255).round().int().tolist()) == set(range(5))


def test_a_patch_depends_on_seed_step_and_index_alone():
    patches = Patches([coded_pair(height=40, width=40)], patch_size=4, seed=3)
    lr, hr = patches.sample(7, range(8))
    torch.rand(3)
    again_lr, again_hr = patches.sample(7, range(4, 8))
    assert torch.equal(lr[4:], again_lr)
    assert torch.equal(hr[4:], again_hr)
    assert not torch.equal(lr, patches.sample(8, range(8))[0])
    other_seed = Patches([coded_pair(height=40, width=40)], patch_size=4, seed=4)
    assert not torch.equal(lr, other_seed.sample(7, range(8))[0])


def test_sampling_leaves_the_global_generators_alone():
    patches = Patches([coded_pair()], patch_size=4, seed=3)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    patches.sample(0, range(4))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_an_image_smaller_than_a_patch_is_named():
    with pytest.raises(
        DataError,
        match=r"image 'small' is 11x9 pixels once reduced, smaller than "
        r"a patch of 10x10; lower patch_size",
    ):
        Patches([coded_pair(height=30, width=30), coded_pair("small")], patch_size=10, seed=0)


def test_a_patch_can_be_the_whole_image():
    lr, _ = Patches([coded_pair(height=6, width=6)], patch_size=6, seed=0).sample(0, range(3))
    assert lr.shape == (3, 3, 6, 6)


def test_pairs_of_two_scales_are_refused():
    with pytest.raises(ValueError, match="one scale"):
        Patches([coded_pair(scale=2), coded_pair(scale=3)], patch_size=4, seed=0)


def coded_clip(name="clip", frames=6, blue=0, scale=2):
    """A clip whose pixels tell where and when they are: blue is the frame."""
    pairs = [coded_pair(blue=blue + frame, scale=scale) for frame in range(frames)]
    lr, hr = (np.stack([getattr(pair, side) for pair in pairs]) for side in ("lr", "hr"))
    return ClipPair(name, lr, hr)


@pytest.mark.parametrize("scale", [2, 4])
def test_samples_of_clips_are_frames_that_follow_one_another(scale):
    patches = Patches([coded_clip(scale=scale)], patch_size=5, seed=1, window=Window(3))
    lr, hr = patches.sample(0, range(40))
    assert lr.shape == (40, 3, 3, 5, 5)
    assert torch.equal(hr, lr.repeat_interleave(scale, 3).repeat_interleave(scale, 4))
    times = (lr[:, :, 2, 0, 0] * 255).round().int()
    assert (times[:, 1:] - times[:, :-1] == 1).all()
    assert torch.equal(lr[:, 0, :2], lr[:, 2, :2])  # one place and one turn for all frames


def test_the_target_can_be_the_centre_alone():
    clips = [coded_clip()]
    lr, hr = Patches(clips, patch_size=5, seed=1, window=Window(3, "centre")).sample(0, range(9))
    assert hr.shape == (9, 3, 10, 10)
    assert torch.equal(hr, lr[:, 1].repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_every_window_of_every_clip_is_as_likely():
    clips = [coded_clip("short", 4), coded_clip("long", 9, blue=100)]
    patches = Patches(clips, patch_size=9, seed=0, window=Window(3))
    first = (patches.sample(0, range(1800))[0][:, 0, 2, 0, 0] * 255).round().int()
    values, counts = first.unique(return_counts=True)
    assert values.tolist() == [0, 1, *range(100, 107)]
    assert counts.min() > 150


def test_a_clip_shorter_than_a_window_is_named():
    with pytest.raises(DataError, match="clip 'brief' has 2 frames, fewer than the 3 of a sample"):
        Patches([coded_clip(), coded_clip("brief", 2)], patch_size=5, seed=0, window=Window(3))


def test_a_clip_smaller_than_a_patch_is_named():
    with pytest.raises(DataError, match=r"clip 'clip' is 11x9 pixels .* leave the clip out"):
        Patches([coded_clip()], patch_size=10, seed=0, window=Window(3))


def test_windows_are_for_clips_and_have_a_centre():
    with pytest.raises(ValueError, match="for clips alone"):
        Patches([coded_pair()], patch_size=5, seed=0, window=Window(3))
    with pytest.raises(ValueError, match="for clips alone"):
        Patches([coded_clip()], patch_size=5, seed=0)
    with pytest.raises(DataError, match="4 frames has no centre; take an odd number"):
        Window(4, "centre")


def test_16_bit_patches_go_from_0_to_1_too():
    deep = np.full((4, 4, 3), 13107, np.uint16)
    pairs = [ImagePair("deep", deep, deep.repeat(2, axis=0).repeat(2, axis=1))]
    lr, hr = Patches(pairs, patch_size=4, seed=0).sample(0, range(2))
    assert (lr == np.float32(0.2)).all()
    assert (hr == np.float32(0.2)).all()


def test_the_patches_of_a_seed_stay_what_they_were():
    # worked out before clips were read: every curve that was published depends on it
    lr, _ = Patches([coded_pair(height=40, width=40)], patch_size=4, seed=3).sample(7, range(3))
    corners = (lr[:, :2, 0, 0] * 255).round().int().tolist()
    assert corners == [[19, 25], [6, 14], [36, 18]]
