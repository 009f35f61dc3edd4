"""Clips fed to networks of video: what they are given, and figures worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from prunekit.data.pairs import ClipPair, Clips, ImagePair, find_clips
from prunekit.errors import DataError, MeasureError
from prunekit.measure.evaluate import evaluate, evaluate_bicubic
from prunekit.measure.feed import PADDINGS, Feed, choose_feed, window
from prunekit.measure.protocol import PROTOCOLS
from prunekit.progress import Silent

RGB = PROTOCOLS["reds4"]


def enlarged(frames):
    return frames.repeat_interleave(2, -2).repeat_interleave(2, -1)


class Counts(nn.Module):
    """Adds as many grey levels to every frame as there are frames, and 0.4 that are rounded off."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, clip):
        self.given.append(clip.shape[1])
        return enlarged(clip) + (clip.shape[1] + 0.4) / 255


class First(nn.Module):
    """Gives back the first frame of a window, where the one in the middle is asked for."""

    def forward(self, clip):
        return enlarged(clip[:, 0])


def clip(name, frames, size=(12, 14)):
    """Frame `t` is grey of `10 t` levels."""
    lr = np.arange(0, 10 * frames, 10, dtype=np.uint8)[:, None, None, None]
    lr = np.broadcast_to(lr, (frames, *size, 3)).copy()
    return ClipPair(name, lr, lr.repeat(2, axis=1).repeat(2, axis=2))


def scored(model, clips, feed=None, **options):
    feed = Feed() if feed is None else feed
    return evaluate(model, clips, RGB, feed=feed, progress=Silent(), **options)


def off_by(levels):
    """PSNR of an image that is everywhere so many levels too bright."""
    return 20 * math.log10(255 / levels)


def test_whole_clips_are_given_at_once_and_each_clip_counts_as_much():
    net, outputs = Counts(), {}
    scores = scored(net, [clip("walk", 4), clip("city", 2)], take=outputs.__setitem__)
    assert net.given == [4, 2]
    walk, city = scores.clips
    assert (walk.name, walk.frames, city.name, city.frames) == ("walk", 4, "city", 2)
    assert (walk.psnr, city.psnr) == (pytest.approx(off_by(4)), pytest.approx(off_by(2)))
    assert scores.psnr == pytest.approx((off_by(4) + off_by(2)) / 2)  # not over six frames
    assert scores.ssim == pytest.approx((walk.ssim + city.ssim) / 2)
    assert [image.name for image in scores.images][3:5] == ["walk/00000003", "city/00000000"]
    assert list(outputs) == [image.name for image in scores.images]
    assert (outputs["walk/00000003"] == 34).all()  # 30 + 4.4, rounded
    assert scores.over == "the 6 frames of 2 clips, clip by clip (whole clips at once)"
    assert str(scores.protocol) == "RGB, border 0, modcrop 2"


def test_a_frame_has_its_share_of_the_time_of_its_clip():
    scores = scored(Counts(), [clip("walk", 3)])
    assert len({image.seconds for image in scores.images}) == 1
    assert scores.seconds == pytest.approx(scores.images[0].seconds)
    assert scores.seconds > 0


def test_parts_bound_what_is_given_and_it_is_said():
    net = Counts()
    scores = scored(net, [clip("walk", 7)], Feed(3))
    assert net.given == [2, 2, 3]
    assert scores.psnr == pytest.approx((4 * off_by(2) + 3 * off_by(3)) / 7)
    assert scores.over.endswith(
        "of 1 clip, clip by clip (parts of at most 3 frames, each by itself)"
    )


@pytest.mark.parametrize(
    ("padding", "first", "last"),
    [
        ("replicate", [0, 0, 0, 1, 2], [7, 8, 9, 9, 9]),
        ("reflection", [2, 1, 0, 1, 2], [7, 8, 9, 8, 7]),
        ("reflection_circle", [4, 3, 0, 1, 2], [7, 8, 9, 6, 5]),
        ("circle", [3, 4, 0, 1, 2], [7, 8, 9, 5, 6]),
    ],
)
def test_windows_at_the_ends_of_a_clip_are_those_of_basicsr(padding, first, last):
    feed = Feed(5, "centre", padding)
    assert window(0, 10, feed) == first
    assert window(9, 10, feed) == last
    assert window(4, 10, feed) == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("padding", "levels"), [("reflection", 10), ("reflection_circle", 20), ("circle", 20)]
)
def test_networks_of_windows_are_given_one_around_every_frame(padding, levels):
    scores = scored(First(), [clip("walk", 4)], Feed(3, "centre", padding))
    # The frame before is 10 levels darker; the one that stands before the first is brighter.
    expected = [off_by(levels), off_by(10), off_by(10), off_by(10)]
    assert [image.psnr for image in scores.images] == pytest.approx(expected)
    assert f"windows of 3 frames, padding {padding}" in scores.over


def test_bicubic_goes_frame_by_frame():
    scores = evaluate_bicubic([clip("walk", 3)], PROTOCOLS["vid4"])
    assert (scores.psnr, scores.clips[0].frames) == (math.inf, 3)
    assert scores.over.endswith("(each frame by itself)")


def test_images_called_after_clips_count_by_clip():
    frames = [
        ImagePair(f"{each.name}/{t}", each.lr[t], each.hr[t])
        for each in (clip("walk", 3), clip("city", 1))
        for t in range(len(each.lr))
    ]

    class Brighter(nn.Module):
        def forward(self, image):
            return enlarged(image) + (1 + image[0, 0, 0, 0] * 255 / 10) / 255

    scores = evaluate(Brighter(), frames, RGB, progress=Silent())  # off by 1, 2, 3; 1
    walk = (off_by(1) + off_by(2) + off_by(3)) / 3
    assert scores.clips[0].psnr == pytest.approx(walk)
    assert scores.psnr == pytest.approx((walk + off_by(1)) / 2)


@pytest.mark.parametrize(
    ("model", "feed", "why"),
    [
        (
            First(),
            Feed(),
            r"a clip of 4 RGB frames into \(1, 3, 24, 28\) where \(1, 4, 3, height, ",
        ),
        (First(), Feed(), "the frame in the middle, set target centre"),
        (Counts(), Feed(3, "centre"), r"into \(1, 3, 3, 24, 28\) where \(1, 3, height, width\)"),
        (Counts(), Feed(3, "centre"), "every frame, set target all"),
        (nn.Flatten(), Feed(), "wrap it in a module that returns the frames alone"),
        (nn.Conv2d(3, 3, 1), Feed(), r"'walk': the network fails on a clip of 4 frames of 14x12 "),
        (nn.Identity(), Feed(), "turns 14x12 pixels into 14x12 where scale 2 asks for 28x24"),
    ],
)
def test_what_a_network_gives_back_instead_is_told(model, feed, why):
    with pytest.raises(MeasureError, match=why):
        scored(model, [clip("walk", 4)], feed)


def test_a_frame_that_is_not_finite_is_refused():
    class Spotted(Counts):
        def forward(self, lr):
            sr = super().forward(lr)
            sr[0, 2, 1, 3, 4] = math.nan
            return sr

    with pytest.raises(MeasureError, match=r"clip 'walk': .* not finite"):
        scored(Spotted(), [clip("walk", 4)])


@pytest.mark.parametrize("padding", ["reflection", "reflection_circle", "circle"])
def test_a_clip_too_short_for_its_padding_is_named(padding):
    why = f"clip 'walk': its 2 frames are too few for windows of 5 with padding {padding}; take pad"
    with pytest.raises(DataError, match=why):
        scored(First(), [clip("walk", 2)], Feed(5, "centre", padding))
    assert scored(First(), [clip("walk", 2)], Feed(5, "centre", "replicate")).clips[0].frames == 2


def test_a_network_keeps_its_mode_and_runs_in_its_own_dtype():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones((), dtype=torch.float64))
            self.drop = nn.Dropout(0.5)

        def forward(self, lr):
            assert lr.dtype == torch.float64
            return self.drop(enlarged(lr * self.weight))

    net = Half().train()
    assert scored(net, [clip("walk", 3)]).psnr == math.inf
    assert net.drop.training


def test_what_is_said_of_clips_is_put_together():
    assert choose_feed() is None
    assert choose_feed("whole") == Feed() == Feed(None, "all")
    assert choose_feed(10) == Feed(10)
    assert choose_feed(5, target="centre") == Feed(5, "centre", "reflection_circle")
    for padding in PADDINGS:
        assert choose_feed(7, target="centre", padding=padding) == Feed(7, "centre", padding)


@pytest.mark.parametrize(
    ("frames", "target", "padding", "why"),
    [
        (None, "centre", None, "target 'centre' is of networks that are given several 'frames'"),
        (None, None, "circle", "padding 'circle' is of networks that are given several 'frames'"),
        ("whole", "centre", None, "needs an odd number of frames, which whole is not"),
        (4, "centre", None, "needs an odd number of frames, which 4 is not"),
        (0, None, None, "frames '0' is no number of frames; name 1 or more, or 'whole'"),
        ("all", None, None, "frames 'all' is no number of frames"),
        (5, "center", None, "there is no target 'center'; did you mean 'centre'"),
        (5, "centre", "reflect", "there is no padding 'reflect'; did you mean 'reflection'"),
        (5, "all", "circle", "padding 'circle' is of windows, which target 'centre' has"),
        ("whole", None, "circle", "padding 'circle' is of windows"),
    ],
)
def test_what_does_not_fit_together_is_refused(frames, target, padding, why):
    with pytest.raises(MeasureError, match=why):
        choose_feed(frames, target=target, padding=padding)


VID4 = {
    "calendar": (20.24, 0.5612),
    "city": (25.31, 0.6059),
    "foliage": (23.50, 0.5716),
    "walk": (26.09, 0.7909),
}


@pytest.mark.data
def test_bicubic_has_its_figures_on_the_first_frames_of_vid4(shared_data):
    vid4 = shared_data / "video" / "Vid4"
    clips = find_clips(Clips(vid4 / "GT", lr=vid4 / "BIx4"), 4)
    scores = evaluate_bicubic(clips, PROTOCOLS["vid4"])
    found = {each.name: (each.psnr, each.ssim) for each in scores.clips}
    assert list(found) == list(VID4)
    for name, figures in VID4.items():
        assert found[name][0] == pytest.approx(figures[0], abs=0.005)
        assert found[name][1] == pytest.approx(figures[1], abs=0.00005)
