"""Sections on fine-tuning."""

from __future__ import annotations

__all__ = ["DistillSection", "LossName", "TrainSection"]

from typing import Annotated, Literal

from pydantic import Field, Strict, model_validator

from prunekit.recipe.sections.values import (
    Count,
    PatchSize,
    Positive,
    Section,
    Share,
    Switch,
    Weight,
    Whole,
)

_GAMMA, _MATCHES = 0.5, 4


class DistillSection(Section):
    """Let the slim network imitate the dense network it was made of. Each term has a weight."""

    weight: Weight = Field(
        default=1.0, description="Weight of the L1 distance between both outputs beside the loss."
    )
    laplacian: Weight = Field(
        default=0.0,
        description=(
            "Weight of the distance between Laplacian pyramids of both outputs, and of their high "
            "frequencies (CDISM). Patches of HR then need sides that are multiples of 16."
        ),
    )
    features: Weight = Field(
        default=0.0,
        description="Weight of the distance between feature affinities inside both (FAKD).",
    )
    matches: Count = Field(
        default=_MATCHES, description="Places inside the networks that `features` compares at."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="What the dense network computes in."
    )
    cache_teacher: Switch = Field(
        default=False,
        description=(
            "Run the dense network once over every whole training image, before the first step, "
            "keep its outputs in `data.cache` as 16-bit floats (rounded by 0.07 of 255 at most, "
            "beyond white by 0.13), and cut patches from them; no step runs it. It sees past the "
            "borders of a patch then, and images upright: its outputs are turned and mirrored, not "
            "its inputs. Not for `features`, nor for `frames` of clips; its time is not part of "
            "`minutes`."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> DistillSection:
        if not (self.weight or self.laplacian or self.features):
            message = "has no term; give 'weight', 'laplacian' or 'features' a number above 0"
            raise ValueError(message)
        if self.matches != _MATCHES and not self.features:
            message = (
                "has 'matches', which only 'features' reads; give that a weight, or leave it out"
            )
            raise ValueError(message)
        if self.cache_teacher and self.features:
            message = (
                "has 'features' beside 'cache_teacher', which keeps what the dense network returns "
                "and not what is inside it; leave one of both out"
            )
            raise ValueError(message)
        return self


LossName = Literal["l1", "charbonnier", "mse", "fft"]


class TrainSection(Section):
    """Fine-tune on random patches."""

    steps: Count = Field(description="Optimiser steps.")
    batch_size: Count = Field(default=16, description="Patches in a step.")
    patch_size: PatchSize = Field(
        default=48, description="Side of a patch in pixels of the low-resolution image."
    )
    learning_rate: Positive = Field(
        default=2e-4, description="Largest learning rate of the schedule."
    )
    optimizer: Literal["adam", "adamw", "adamax", "sgd"] = Field(
        default="adam", description="Which optimizer of torch."
    )
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.999),
        description="Decays of the Adam family; the first is the momentum of `sgd`.",
    )
    weight_decay: Weight = Field(default=0.0, description="Weight decay of the optimizer.")
    schedule: Literal["cosine", "constant", "multistep"] = Field(
        default="cosine", description="How the learning rate goes on after the warm-up."
    )
    min_learning_rate: Weight = Field(
        default=0.0, description="Learning rate that the cosine ends with."
    )
    milestones: tuple[Count, ...] = Field(
        default=(),
        description="Steps at which `multistep` multiplies the learning rate by `gamma`.",
    )
    gamma: Positive = Field(default=_GAMMA, description="Factor of `multistep`.")
    warmup: Whole = Field(
        default=0,
        description="Steps over which the learning rate rises linearly; fewer than `steps`.",
    )
    loss: LossName | Annotated[dict[LossName, Positive], Field(min_length=1)] = Field(
        default="l1",
        description=(
            "Distance between the output and the high-resolution patch, or the weights of several "
            "as in `{l1: 1, fft: 0.05}`."
        ),
    )
    distill: DistillSection | None = Field(
        default=None, description="Learn from the dense network as well. Off if not given."
    )
    clip_norm: Positive | None = Field(
        default=None, description="Largest norm of the gradient; it is scaled down to it."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="What autocast computes in; weights stay as they are."
    )
    ema: Annotated[float, Strict(), Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of the moving average of the weights, which is then the result.",
    )
    accumulate: Count = Field(
        default=1, description="Parts that a batch is computed in, to save memory."
    )
    channels_last: bool = Field(default=False, description="Memory layout with channels last.")
    compile: bool = Field(default=False, description="Compile the network with `torch.compile`.")
    minutes: Positive | None = Field(
        default=None,
        description=(
            "Budget of time; the schedule ends with whichever is over first, `steps` or this."
        ),
    )
    validate_every: Count | None = Field(
        default=None,
        description="Steps between two looks at `data.evaluate`. Never if not given.",
    )
    checkpoint_every: Count = Field(
        default=500, description="Steps between two checkpoints of `prunekit run`."
    )
    keep_last: Count = Field(
        default=2, description="Checkpoints that stay, beside that of the best look."
    )
    workers: Whole = Field(
        default=0, description="Processes that cut patches ahead; the patches are the same."
    )
    tensorboard: bool = Field(
        default=False, description="Write event files for TensorBoard into the run's folder."
    )

    @model_validator(mode="after")
    def _check(self) -> TrainSection:
        if self.warmup >= self.steps:
            message = f"has 'warmup' {self.warmup}, which must be less than 'steps' {self.steps}"
            raise ValueError(message)
        if bool(self.milestones) != (self.schedule == "multistep"):
            message = "needs 'milestones' with 'schedule: multistep', and takes none with others"
            raise ValueError(message)
        ascending = list(self.milestones) == sorted(set(self.milestones))
        if not ascending or any(place >= self.steps for place in self.milestones):
            message = f"has 'milestones' that do not ascend, or are not before step {self.steps}"
            raise ValueError(message)
        if self.batch_size % self.accumulate:
            message = (
                f"has 'batch_size' {self.batch_size}, which must be a multiple of 'accumulate' "
                f"{self.accumulate}"
            )
            raise ValueError(message)
        self._check_read()
        if self.min_learning_rate > self.learning_rate:
            message = "has a 'min_learning_rate' above 'learning_rate'"
            raise ValueError(message)
        return self

    def _check_read(self) -> None:
        """Refuse what nothing would read."""
        if self.gamma != _GAMMA and self.schedule != "multistep":
            message = f"has 'gamma', which 'schedule: {self.schedule}' does not read; leave it out"
            raise ValueError(message)
        if self.min_learning_rate and self.schedule != "cosine":
            message = (
                f"has 'min_learning_rate', which 'schedule: {self.schedule}' does not read; leave "
                "it out"
            )
            raise ValueError(message)
        if self.validate_every is not None and self.validate_every > self.steps:
            message = (
                f"has 'validate_every' {self.validate_every}, which never comes in {self.steps} "
                "steps; lower it"
            )
            raise ValueError(message)
