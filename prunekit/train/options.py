"""The settings of fine-tuning."""

from __future__ import annotations

__all__ = ["Distill", "LossName", "Schedule", "TrainOptions"]

import math
from dataclasses import dataclass
from typing import Literal

from prunekit.errors import TrainError

LossName = Literal["l1", "charbonnier", "mse"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True)
class Distill:
    """Pull the output of the network towards that of a teacher."""

    weight: float = 1.0  # of the L1 distance to the teacher's output, added to the loss


@dataclass(frozen=True)
class TrainOptions:
    """How to fine-tune. Raises `TrainError` for values that cannot be trained with."""

    steps: int
    batch_size: int = 16  # patches a step, over all processes together
    patch_size: int = 48  # side of an LR patch in pixels
    learning_rate: float = 2e-4  # of Adam, at its highest
    schedule: Schedule = "cosine"  # down to 0 at the last step, or constant
    warmup: int = 0  # first steps, with a learning rate that rises from 0
    loss: LossName = "l1"
    distill: Distill | None = None
    clip_norm: float | None = None  # limit of the gradient's norm

    def __post_init__(self) -> None:
        _demand("steps", self.steps, self.steps >= 1, "1 or more")
        _demand("batch_size", self.batch_size, self.batch_size >= 1, "1 or more")
        _demand("patch_size", self.patch_size, self.patch_size >= 1, "1 or more")
        _demand("learning_rate", self.learning_rate, _positive(self.learning_rate), "above 0")
        _demand("warmup", self.warmup, 0 <= self.warmup < self.steps, "less than steps")
        if self.distill is not None:
            weight = self.distill.weight
            _demand("distill.weight", weight, _positive(weight), "above 0")
        if self.clip_norm is not None:
            _demand("clip_norm", self.clip_norm, _positive(self.clip_norm), "above 0")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _demand(name: str, value: float, fits: bool, range_: str) -> None:  # noqa: FBT001
    if not fits:
        message = f"{name} of training is {value}, and it has to be {range_}; change it"
        raise TrainError(message)
