"""Tiny images for whole runs, and the section of a recipe that names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_images(folder: Path, count: int = 4, side: int = 40) -> Path:
    """Smooth random photographs."""
    folder.mkdir()
    generator = np.random.default_rng(1)
    for number in range(count):
        small = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        large = Image.fromarray(small).resize((side + 4, side), Image.Resampling.BICUBIC)
        large.save(folder / f"{number}.png")
    return folder


def split(images: Path) -> dict[str, object]:
    """A data section: two images to train on, two others to evaluate on."""
    return {
        "train": {"folder": str(images), "names": ["0", "1"]},
        "evaluate": {"folder": str(images), "names": ["2", "3"]},
    }
