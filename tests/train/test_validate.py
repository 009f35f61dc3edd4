"""Looks at held-out images."""

import numpy as np
import PIL.Image
from accelerate import Accelerator
from torch import nn

from prunekit.data.pairs import ImagePair
from prunekit.measure.protocol import Protocol
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
