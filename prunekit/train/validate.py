"""Looks at held-out images while training goes on."""

from __future__ import annotations

__all__ = ["Validation"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import PIL.Image
from torch import nn

from prunekit.data.image import Image
from prunekit.data.pairs import ImagePair
from prunekit.measure.evaluate import evaluate
from prunekit.measure.protocol import Protocol
from prunekit.progress import Silent
from prunekit.train.processes import Processes


@dataclass(frozen=True)
class Validation:
    """What is looked at; the images are shared out to the processes."""

    pairs: Sequence[ImagePair]
    protocol: Protocol
    """How they are compared."""
    samples: Path | None = None
    """Folder that what the network makes of the images is written to, a folder a look."""

    def run(self, model: nn.Module, step: int, processes: Processes) -> float:
        """Mean PSNR in dB over all images, the same in every process."""
        mine = self.pairs[processes.index :: processes.count]
        scores: list[tuple[int, float]] = []
        if mine:
            found = evaluate(
                model,
                mine,
                self.protocol,
                progress=Silent(),
                take=lambda name, sr: self._write(step, name, sr),
            )
            places = range(processes.index, len(self.pairs), processes.count)
            scores = [
                (place, image.psnr) for place, image in zip(places, found.images, strict=True)
            ]
        together = sorted(score for part in processes.gathered(scores) for score in part)
        return fmean(psnr for _, psnr in together)

    def _write(self, step: int, name: str, sr: Image) -> None:
        if self.samples is not None:
            # A frame of a clip is in a folder.
            file = self.samples / f"step-{step:08d}" / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(sr).save(file)
