"""The settings of fine-tuning."""

from __future__ import annotations

__all__ = [
    "Distill",
    "LossName",
    "OptimizerName",
    "Precision",
    "Schedule",
    "TrainOptions",
]

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prunekit.errors import TrainError

LossName = Literal["l1", "charbonnier", "mse", "fft"]
OptimizerName = Literal["adam", "adamw", "adamax", "sgd"]
Schedule = Literal["cosine", "constant", "multistep"]
Precision = Literal["fp32", "bf16", "fp16"]


@dataclass(frozen=True)
class Distill:
    """Pull the network towards a teacher. Each weight is of a term that is added to the loss."""

    weight: float = 1.0
    """Of the L1 distance to the teacher's output."""
    laplacian: float = 0.0
    """Of the distance of Laplacian pyramids, of the outputs and of their high frequencies."""
    features: float = 0.0
    """Of the distance of feature affinities (FAKD, ICIP 2020)."""
    matches: int = 4
    """Places within the network that feature affinities are compared at."""
    precision: Precision = "fp32"
    """That the teacher computes in."""
    cache_teacher: bool = False
    """Run the teacher once over every whole training image, keep its outputs beside the decoded
    images, and cut patches from them; it is not run in training then.

    What the network learns from is not quite what a teacher gives that runs on each patch: it sees
    past the borders of a patch, and it sees images upright, so that its outputs are mirrored and
    turned and not its inputs. Outputs are rounded to 16-bit floats: by 2^-12 at most (0.07 of 255),
    what is brighter than white by twice as much. Only outputs, not `features`, and of images, not
    clips, can be had that way."""


@dataclass(frozen=True)
class TrainOptions:
    """How to fine-tune. Raises `TrainError` for values that cannot be trained with."""

    steps: int
    batch_size: int = 16
    """Patches of a step of the optimizer, over all processes together."""
    patch_size: int = 48
    """Side of an LR patch in pixels."""
    learning_rate: float = 2e-4
    """At its highest."""
    optimizer: OptimizerName = "adam"
    betas: tuple[float, float] = (0.9, 0.999)
    """Of the Adam family; the first is the momentum of SGD."""
    weight_decay: float = 0.0
    schedule: Schedule = "cosine"
    """Down along half a cosine, down by `gamma` at every milestone, or constant."""
    min_learning_rate: float = 0.0
    """Where the cosine ends."""
    milestones: tuple[int, ...] = ()
    """Steps after which the learning rate is multiplied by `gamma`."""
    gamma: float = 0.5
    warmup: int = 0
    """First steps, with a learning rate that rises from 0."""
    loss: Mapping[LossName, float] | LossName = "l1"
    """One, or the weight of each of several."""
    distill: Distill | None = None
    clip_norm: float | None = None
    """Limit of the gradient's norm."""
    precision: Precision = "fp32"
    """What autocast computes in; weights stay as they are."""
    ema: float | None = None
    """Decay of the moving average of the weights that becomes the result."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other."""
    channels_last: bool = False
    compile: bool = False
    minutes: float | None = None
    """Budget of time; the schedule then ends with whichever is over first, steps or time."""
    validate_every: int | None = None
    """Steps between two looks at the held-out images."""
    checkpoint_every: int | None = None
    """Steps between two checkpoints."""
    keep_last: int = 2
    """Checkpoints that stay, beside the best."""
    workers: int = 0
    """Processes that cut patches ahead; 0: this one does, when they are needed."""
    timeout: float = 600.0
    """Seconds after which a process that no longer answers ends the others."""

    losses: Mapping[LossName, float] = field(init=False)
    """Weight of each loss."""

    def __post_init__(self) -> None:
        losses = {self.loss: 1.0} if isinstance(self.loss, str) else dict(self.loss)
        object.__setattr__(self, "losses", losses)
        for name in ("steps", "batch_size", "patch_size", "accumulate", "keep_last"):
            _demand(name, getattr(self, name), getattr(self, name) >= 1, "1 or more")
        for name in ("learning_rate", "clip_norm", "minutes", "timeout", "gamma"):
            value = getattr(self, name)
            if value is not None:
                _demand(name, value, _positive(value), "above 0")
        for name in ("validate_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None:
                _demand(name, value, value >= 1, "1 or more")
        _demand("workers", self.workers, self.workers >= 0, "0 or more")
        self._check_schedule()
        self._check_terms()

    def _check_schedule(self) -> None:
        _demand("warmup", self.warmup, 0 <= self.warmup < self.steps, "less than steps")
        least = self.min_learning_rate
        _demand(
            "min_learning_rate", least, 0 <= least <= self.learning_rate, "from 0 to learning_rate"
        )
        _demand("weight_decay", self.weight_decay, self.weight_decay >= 0, "0 or more")
        for name, value in zip(("betas[0]", "betas[1]"), self.betas, strict=True):
            _demand(name, value, 0 <= value < 1, "from 0 to below 1")
        ascending = list(self.milestones) == sorted(set(self.milestones))
        within = all(0 < milestone < self.steps for milestone in self.milestones)
        fits = bool(self.milestones) == (self.schedule == "multistep") and ascending and within
        _demand(
            "milestones",
            self.milestones,
            fits,
            "ascending steps before the last with schedule 'multistep', and empty otherwise",
        )
        if self.ema is not None:
            _demand("ema", self.ema, 0 < self.ema < 1, "between 0 and 1")
        parts = self.batch_size % self.accumulate == 0
        _demand("accumulate", self.accumulate, parts, f"a divisor of batch_size {self.batch_size}")

    def _check_terms(self) -> None:
        _demand("loss", self.loss, bool(self.losses), "at least one loss")
        for loss, weight in self.losses.items():
            _demand(f"loss.{loss}", weight, _positive(weight), "above 0")
        if self.distill is None:
            return
        terms = {n: getattr(self.distill, n) for n in ("weight", "laplacian", "features")}
        for name, weight in terms.items():
            _demand(f"distill.{name}", weight, weight == 0 or _positive(weight), "0 or more")
        _demand("distill", terms, any(terms.values()), "a term with a weight above 0")
        _demand(
            "distill.features",
            terms["features"],
            not (self.distill.cache_teacher and terms["features"]),
            "0 with cache_teacher, which keeps what the teacher returns and not what is inside it",
        )
        _demand("distill.matches", self.distill.matches, self.distill.matches >= 1, "1 or more")


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


def _demand(name: str, value: object, fits: bool, range_: str) -> None:  # noqa: FBT001
    if not fits:
        message = f"{name} of training is {value}, and it has to be {range_}; change it"
        raise TrainError(message)
