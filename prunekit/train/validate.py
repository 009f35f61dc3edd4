"""Looks at held-out images while training goes on."""

from __future__ import annotations

__all__ = ["Validation"]

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL.Image
from torch import nn

from prunekit.data.image import Image
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.measure.evaluate import evaluate
from prunekit.measure.feed import Feed
from prunekit.measure.protocol import Protocol
from prunekit.measure.scores import ImageScore, Scores
from prunekit.progress import Silent
from prunekit.train.processes import Processes


@dataclass(frozen=True)
class Validation:
    """What is looked at; the images are shared out to the processes."""

    pairs: Sequence[ImagePair] | Sequence[ClipPair]
    protocol: Protocol
    """How they are compared."""
    samples: Path | None = None
    """Folder that what the network makes of the images is written to, a folder a look."""
    feed: Feed | None = None
    """How clips are given to the network; None for images."""

    def run(self, model: nn.Module, step: int, processes: Processes) -> float:
        """Mean PSNR in dB over all images or clips, the same in every process."""
        mine = self.pairs[processes.index :: processes.count]
        images: Sequence[ImageScore] = ()
        if mine:
            images = evaluate(
                model,
                mine,
                self.protocol,
                feed=self.feed,
                progress=Silent(),
                take=lambda name, sr: self._write(step, name, sr),
            ).images
        together = tuple(score for part in processes.gathered(images) for score in part)
        return Scores(self.protocol, self.pairs[0].scale, together).psnr

    def _write(self, step: int, name: str, sr: Image) -> None:
        if self.samples is not None:
            # A frame of a clip is in a folder.
            file = self.samples / f"step-{step:08d}" / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(sr).save(file)
