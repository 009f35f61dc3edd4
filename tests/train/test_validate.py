"""Looks at held-out images."""

import math

import numpy as np
import PIL.Image
import pytest
from accelerate import Accelerator
from torch import nn

from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.measure.feed import Feed
from prunekit.measure.protocol import PROTOCOLS, Protocol
from prunekit.train.processes import Processes
from prunekit.train.validate import Validation


def test_what_becomes_of_frames_of_clips_is_kept_in_folders_of_them(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    pairs = [ImagePair(name, pixels, pixels) for name in ("walk/1", "walk/2", "still")]
    Validation(pairs, Protocol("y", 1), tmp_path).run(
        nn.Identity(), 5, Processes(Accelerator(cpu=True))
    )
    for name in ("walk/1", "walk/2", "still"):
        with PIL.Image.open(tmp_path / "step-00000005" / f"{name}.png") as image:
            assert np.array_equal(np.array(image), pixels)


class Brighter(nn.Module):
    """Adds as many grey levels to a clip as it has frames."""

    def forward(self, clip):
        return clip + clip.shape[1] / 255


def test_clips_are_given_whole_and_count_as_much_each(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 200, (4, 20, 20, 3), dtype=np.uint8)
    clips = [ClipPair("walk", pixels, pixels), ClipPair("city", pixels[:2], pixels[:2])]
    validation = Validation(clips, PROTOCOLS["reds4"].at(1), tmp_path, Feed())
    found = validation.run(Brighter(), 5, Processes(Accelerator(cpu=True)))
    assert found == pytest.approx((20 * math.log10(255 / 4) + 20 * math.log10(255 / 2)) / 2)
    with PIL.Image.open(tmp_path / "step-00000005" / "walk" / "00000003.png") as image:
        assert np.array_equal(np.array(image), pixels[3] + 4)
