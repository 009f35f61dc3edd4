"""How the loss went down, in few points."""

from __future__ import annotations

__all__ = ["CurveRecorder", "TrainingCurve"]

import time
from dataclasses import dataclass, field
from statistics import fmean

from prunekit.train.options import TrainOptions

_POINTS = 50


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """A point stands for the steps since the point before it."""

    stage: int = 0  # place of the training among the stages of a run
    steps: tuple[int, ...]  # steps done at each point; the last one is all of them
    loss: tuple[float, ...]  # mean over the steps of the point, distillation included
    learning_rate: tuple[float, ...]  # of the last step of the point
    seconds: float  # whole training
    images: int  # that patches were cut from
    batch_size: int
    patch_size: int  # side of an LR patch in pixels


@dataclass
class CurveRecorder:
    """Gathers a `TrainingCurve` while training goes on; its clock starts when it is made."""

    options: TrainOptions
    images: int
    _steps: list[int] = field(default_factory=list)
    _loss: list[float] = field(default_factory=list)
    _learning_rate: list[float] = field(default_factory=list)
    _pending: list[float] = field(default_factory=list)
    _started: float = field(default_factory=time.perf_counter)

    def add(self, step: int, loss: float, learning_rate: float) -> None:
        """Note a step, counted from 0."""
        self._pending.append(loss)
        done = step + 1
        if done % max(1, self.options.steps // _POINTS) == 0 or done == self.options.steps:
            self._steps.append(done)
            self._loss.append(fmean(self._pending))
            self._learning_rate.append(learning_rate)
            self._pending.clear()

    def curve(self) -> TrainingCurve:
        """Return what was noted so far."""
        return TrainingCurve(
            steps=tuple(self._steps),
            loss=tuple(self._loss),
            learning_rate=tuple(self._learning_rate),
            seconds=time.perf_counter() - self._started,
            images=self.images,
            batch_size=self.options.batch_size,
            patch_size=self.options.patch_size,
        )
