"""A whole recipe, and its stages."""

from __future__ import annotations

__all__ = ["Pruning", "Recipe", "Round", "Stage", "Step"]

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from prunekit.measure.protocol import Protocol, choose_protocol
from prunekit.recipe.sections.depth import DepthSection
from prunekit.recipe.sections.evaluation import EvaluateSection, ReportSection
from prunekit.recipe.sections.filters import PruneSection
from prunekit.recipe.sections.images import DataSection, ModelSection
from prunekit.recipe.sections.training import TrainSection
from prunekit.recipe.sections.unstructured import UnstructuredSection
from prunekit.recipe.sections.values import FilePath, Section, Seed, need_one, one_of

Pruning = Annotated[
    PruneSection | DepthSection | UnstructuredSection, Field(discriminator="method")
]
"""What a stage that prunes says; its method tells which."""


class Stage(Section):
    """One step of a run: either prune or train."""

    model_config = one_of("prune", "train")

    prune: Pruning | None = Field(
        default=None, description="Remove channels or blocks, or set weights to zero."
    )
    train: TrainSection | None = Field(default=None, description="Fine-tune on `data.train`.")

    @property
    def filters(self) -> PruneSection | None:
        """What it says if it removes channels."""
        return self.prune if isinstance(self.prune, PruneSection) else None

    @property
    def depth(self) -> DepthSection | None:
        """What it says if it removes blocks."""
        return self.prune if isinstance(self.prune, DepthSection) else None

    @property
    def ranked(self) -> PruneSection | DepthSection | None:
        """What it says if it removes what a criterion ranks last."""
        return self.filters or self.depth

    @model_validator(mode="after")
    def _check(self) -> Stage:
        need_one(self, "prune", "train")
        return self


@dataclass(frozen=True)
class Round:
    """One of several in which a target is reached."""

    number: int
    """From 1."""
    share: float
    """Of the target, that is met after it."""

    @property
    def is_last(self) -> bool:
        """Whether the whole target is met after it."""
        return self.share == 1


@dataclass(frozen=True)
class Step:
    """What is carried out at once: of one stage, or of one round of it."""

    prune: PruneSection | DepthSection | UnstructuredSection | None = None
    train: TrainSection | None = None
    round: Round | None = None
    """Given if its stage prunes in rounds."""

    @property
    def filters(self) -> PruneSection | None:
        """What it says if it removes channels."""
        return self.prune if isinstance(self.prune, PruneSection) else None

    @property
    def ranked(self) -> PruneSection | DepthSection | None:
        """What it says if it removes what a criterion ranks last."""
        return None if isinstance(self.prune, UnstructuredSection) else self.prune


class Recipe(Section):
    """A whole run: which network, which data, how to prune, fine-tune, evaluate and report.

    A key that is null counts as not given, which takes an inherited key away.
    """

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        max_length=100,
        description=(
            "Name of the run and its folder: letters, digits, '-', '_' and '.', not first a '.'."
        ),
    )
    seed: Seed = Field(default=0, description="Seed of everything random.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        examples=["auto", "cpu", "cuda", "cuda:0"],
        description="Where to compute; `auto` takes a GPU if there is one.",
    )
    output: FilePath = Field(
        default=Path("runs"),
        description=(
            "Folder that holds the folders of runs. The one path that is relative to the "
            "current directory, not to the recipe."
        ),
    )
    model: ModelSection | None = Field(
        default=None, description="The network to prune. Needed on the command line."
    )
    data: DataSection | None = Field(default=None, description="Images to train and evaluate on.")
    prune: Pruning | None = Field(
        default=None,
        description="Remove channels or blocks, or set weights to zero, before `train`.",
    )
    train: TrainSection | None = Field(
        default=None, description="Fine-tune on `data.train`, after `prune`."
    )
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] | None = Field(
        default=None, description="Several stages in order, instead of `prune` and `train`."
    )
    evaluate: EvaluateSection | None = Field(
        default=None, description="Measure quality; `{}` takes the defaults. Off if not given."
    )
    report: ReportSection = Field(
        default=ReportSection(), description="Which files the report is written to, and its crops."
    )

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The stages in order, also if they were given as `prune` and `train`."""
        if self.stages is not None:
            return self.stages
        sections = (("prune", self.prune), ("train", self.train))
        return tuple(Stage.model_validate({k: s}) for k, s in sections if s is not None)

    @property
    def unfolded(self) -> tuple[Step, ...]:
        """The steps that the stages are carried out in: one each, or several where in rounds."""
        following = (*self.steps[1:], None)
        return tuple(
            step
            for stage, after in zip(self.steps, following, strict=True)
            for step in _unfolded(stage, after.train if after else None)
        )

    @property
    def protocol(self) -> Protocol:
        """How held-out images are compared, with the crop of `data.evaluate` where it has one."""
        stated = choose_protocol() if self.evaluate is None else self.evaluate.compared
        images = self.data.evaluate if self.data else None
        if stated.modcrop is not None or images is None:
            return stated
        return replace(stated, modcrop=images.modcrop)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.stages is not None and (self.prune is not None or self.train is not None):
            message = (
                "has 'stages' beside 'prune' or 'train', which exclude each other; "
                "keep one, and set an inherited one to null"
            )
            raise ValueError(message)
        if not any(stage.prune is not None for stage in self.steps):
            message = "needs a 'prune' section, or 'stages' with at least one"
            raise ValueError(message)
        trains = any(stage.train is not None for stage in self.steps)
        if trains and (self.data is None or self.data.train is None):
            message = "trains, but has no 'data.train' that names the images to train on"
            raise ValueError(message)
        looks = any(stage.train and stage.train.validate_every for stage in self.steps)
        if looks and (self.data is None or self.data.evaluate is None):
            message = "has 'validate_every', but no 'data.evaluate' that names images to look at"
            raise ValueError(message)
        self._check_measuring()
        if self.evaluate is not None and (self.data is None or self.data.evaluate is None):
            message = "evaluates, but has no 'data.evaluate' that names the images to measure on"
            raise ValueError(message)
        for stage, following in zip(self.steps, (*self.steps[1:], None), strict=True):
            if stage.prune is not None:
                _check_course(stage.prune, following.train if following else None)
        _check_patterns(self.steps)
        self._check_crop()
        return self

    @model_validator(mode="after")
    def _check_cached_teacher(self) -> Recipe:
        terms = [stage.train.distill for stage in self.steps if stage.train is not None]
        clips = self.data is not None and self.data.train is not None and self.data.train.frames
        if clips and any(distill is not None and distill.cache_teacher for distill in terms):
            message = (
                "has 'cache_teacher', which keeps outputs of single images, beside 'frames' of "
                "clips in 'data.train'; leave one of both out"
            )
            raise ValueError(message)
        return self

    def _check_crop(self) -> None:
        """Refuse two crops of the held-out images, and one that the scale does not divide."""
        crop = self.protocol.modcrop
        images = self.data.evaluate if self.data else None
        if images is not None and images.modcrop not in (None, crop):
            message = (
                f"cuts the images of 'data.evaluate' to a multiple of {images.modcrop}, and to one "
                f"of {crop} by 'evaluate'; keep one 'modcrop'"
            )
            raise ValueError(message)
        scale = self.model.scale if self.model else None
        if images is not None and crop is not None and scale is not None and crop % scale:
            message = (
                f"has images to evaluate on cut to a multiple of {crop}, which is none of "
                f"'model.scale' {scale}; take {scale * -(-crop // scale)} as 'modcrop'"
            )
            raise ValueError(message)

    def _check_measuring(self) -> None:
        """Refuse an allocation that measures on images that are not there."""
        for stage in self.steps:
            how = stage.filters.measuring if stage.filters else None
            if how is not None and (self.data is None or getattr(self.data, how.data) is None):
                other = "train" if how.data == "evaluate" else "evaluate"
                message = (
                    f"has 'allocation: sensitivity', which measures on 'data.{how.data}', but no "
                    f"such images; name them, or set 'prune.sensitivity.data: {other}'"
                )
                raise ValueError(message)


def _unfolded(stage: Stage, after: TrainSection | None) -> Iterator[Step]:
    """The steps of a stage; `after` is the training that follows, if one does."""
    course = stage.filters.iterative if stage.filters else None
    if course is None:
        yield Step(stage.prune, stage.train)
        return
    assert after is not None  # it was checked
    between = after.model_copy(
        update={
            "steps": course.steps,
            "schedule": "constant",
            "milestones": (),
            "min_learning_rate": 0.0,
            "warmup": 0,
            "minutes": None,
        }
    )
    for number, share in enumerate(course.shares(), 1):
        yield Step(stage.prune, round=Round(number, share))
        if number < course.rounds:
            yield Step(train=between)


def _check_course(
    section: PruneSection | DepthSection | UnstructuredSection, train: TrainSection | None
) -> None:
    """Refuse what happens in training without one that is long enough."""
    key, until = _course(section)
    if key is None:
        return
    if train is None:
        message = f"prunes with '{key}', which happens in training, but no 'train' comes next"
    elif until > train.steps:
        message = (
            f"prunes with '{key}' until step {until}, but the training that follows has "
            f"{train.steps} steps"
        )
    elif until and train.minutes is not None:
        message = (
            f"prunes with '{key}', which counts steps, in a training with 'minutes', which may end "
            "before; leave one out"
        )
    else:
        return
    raise ValueError(message)


def _course(section: PruneSection | DepthSection | UnstructuredSection) -> tuple[str | None, int]:
    """Which schedule a section has, and the step of the next training that it lasts until."""
    for key in ("gradual", "shrink", "soft", "iterative"):
        course = getattr(section, key, None)
        if course is not None:
            return key, getattr(course, "until", 0)
    return None, 0


def _check_patterns(stages: tuple[Stage, ...]) -> None:
    """Refuse to cut blocks of an N:M pattern apart."""
    patterned = False
    for stage in stages:
        if patterned and isinstance(stage.prune, PruneSection):
            message = (
                "removes channels after a 'pattern', which that would break; prune filters first"
            )
            raise ValueError(message)
        if isinstance(stage.prune, UnstructuredSection):
            patterned |= stage.prune.target.pattern is not None
