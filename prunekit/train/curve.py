"""How the loss went down, in few points."""

from __future__ import annotations

__all__ = ["CurveRecorder", "TrainingCurve", "ValidationPoint"]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from prunekit.measure.protocol import Protocol
from prunekit.train.options import TrainOptions

_POINTS = 50


@dataclass(frozen=True)
class ValidationPoint:
    """What a look at the held-out images found."""

    step: int
    """Steps that were done."""
    psnr: float
    """Mean over the images in dB."""


@dataclass(frozen=True, kw_only=True)
class TrainingCurve:
    """A point stands for the steps since the point before it."""

    stage: int = 0  # place of the training among the stages of a run
    steps: tuple[int, ...]  # steps done at each point; the last one is all of them
    loss: tuple[float, ...]  # mean over the steps of the point, distillation included
    learning_rate: tuple[float, ...]  # of the last step of the point
    seconds: float  # whole training, all its sittings together
    images: int  # that patches were cut from
    batch_size: int
    patch_size: int  # side of an LR patch in pixels
    validation: tuple[ValidationPoint, ...] = ()
    protocol: Protocol | None = None  # of the validation
    out_of_time: bool = False  # the budget of time was over before the steps were


@dataclass
class CurveRecorder:
    """Gathers a `TrainingCurve` while training goes on."""

    options: TrainOptions
    images: int
    protocol: Protocol | None = None
    _steps: list[int] = field(default_factory=list)
    _loss: list[float] = field(default_factory=list)
    _learning_rate: list[float] = field(default_factory=list)
    _pending: list[float] = field(default_factory=list)
    _rate: float = 0.0  # of the newest step
    _validation: list[ValidationPoint] = field(default_factory=list)

    def add(self, step: int, loss: float, learning_rate: float) -> None:
        """Note a step, counted from 0."""
        self._pending.append(loss)
        self._rate = learning_rate
        done = step + 1
        if done % max(1, self.options.steps // _POINTS) == 0 or done == self.options.steps:
            self._close(done)

    def add_validation(self, point: ValidationPoint) -> None:
        """Note a look at the held-out images."""
        self._validation.append(point)

    @property
    def highest(self) -> float:
        """The best look at the held-out images so far, in dB."""
        return max((point.psnr for point in self._validation), default=-math.inf)

    def score_at(self, done: int) -> float | None:
        """What the look after so many steps found; None if there was none."""
        return next((p.psnr for p in reversed(self._validation) if p.step == done), None)

    def end(self, done: int) -> bool:
        """Training ended early, after so many steps; returns whether that makes one more point."""
        if not self._pending:
            return False
        self._close(done)
        return True

    def curve(self, *, seconds: float, out_of_time: bool) -> TrainingCurve:
        """Return what was noted so far."""
        return TrainingCurve(
            steps=tuple(self._steps),
            loss=tuple(self._loss),
            learning_rate=tuple(self._learning_rate),
            seconds=seconds,
            images=self.images,
            batch_size=self.options.batch_size,
            patch_size=self.options.patch_size,
            validation=tuple(self._validation),
            protocol=self.protocol,
            out_of_time=out_of_time,
        )

    def state(self) -> dict[str, Any]:
        """All of it, as JSON keeps it."""
        return {
            "steps": self._steps,
            "loss": self._loss,
            "learning_rate": self._learning_rate,
            "pending": self._pending,
            "rate": self._rate,
            "validation": [[point.step, point.psnr] for point in self._validation],
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        self._steps, self._loss = list(state["steps"]), list(state["loss"])
        self._learning_rate, self._pending = list(state["learning_rate"]), list(state["pending"])
        self._rate = state["rate"]
        self._validation = [ValidationPoint(step, psnr) for step, psnr in state["validation"]]

    def _close(self, done: int) -> None:
        self._steps.append(done)
        self._loss.append(fmean(self._pending))
        self._learning_rate.append(self._rate)
        self._pending.clear()
