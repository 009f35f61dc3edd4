"""The images that the stages of a recipe train on, look at and are judged by."""

from __future__ import annotations

__all__ = ["Images", "calibration_for", "load_images", "probe_for"]

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

import torch

from prunekit.data.image import Image, to_8_bits
from prunekit.data.pairs import ClipPair, ImagePair, Pairs, Skipped
from prunekit.data.patches import Window
from prunekit.errors import DataError, MeasureError, RecipeError
from prunekit.measure.feed import Feed
from prunekit.measure.infer import infer
from prunekit.measure.mode import placement
from prunekit.measure.sensitivity import Probe
from prunekit.pipeline import stages
from prunekit.pipeline.job import Job, feed_of, scale_of, takes_images
from prunekit.recipe import (
    CalibrationSection,
    DataSection,
    DepthSection,
    HeldOutSection,
    PruneSection,
    TrainImagesSection,
)
from prunekit.score import CRITERIA, Calibration


@dataclass(frozen=True, eq=False)
class Images:
    """What the stages train and evaluate on; None where none does."""

    training: stages.EitherPairs | None = None
    window: Window | None = None
    """Given if `training` are clips."""
    held_out: stages.EitherPairs | None = None
    feed: Feed | None = None
    """Given if `held_out` are clips."""

    @property
    def skipped(self) -> dict[str, tuple[Skipped, ...]]:
        """What was left out, by purpose."""
        purposes = {"training": self.training, "held-out": self.held_out}
        return {name: pairs.skipped for name, pairs in purposes.items() if pairs is not None}


def load_images(job: Job) -> Images:
    """Read the images that some stage needs."""
    recipe, scale = job.recipe, scale_of(job)
    data = recipe.data
    measured = {s.filters.measuring.data for s in recipe.steps if s.filters and s.filters.measuring}
    reads = any(stage.train or _reads_images(job, stage.ranked) for stage in recipe.steps)
    train = data.train if data and (reads or "train" in measured) else None
    looks = any(stage.train and stage.train.validate_every for stage in recipe.steps)
    looks = looks or "evaluate" in measured or (recipe.evaluate is not None and job.evaluates)
    held_out = data.evaluate if data and looks else None
    if data is None or (train is None and held_out is None):
        return Images()
    if scale is None:
        message = (
            "the network's output is no whole multiple of its input, so there are no image pairs "
            "to train or evaluate it on; leave these sections out"
        )
        raise RecipeError(message)
    if scale == 1:
        _check_lr_is_given(data)
    if measured:
        _check_measuring(job, train if "train" in measured else None)
    if held_out is not None:
        _check_evaluation(job, held_out)
    if (train and not train.frames) or (held_out and held_out.feed is None):
        _check_takes_images(job)
    told, cache = job.journal, data.cache
    images = Images(
        None
        if train is None
        else stages.load_training(
            train, scale, cache, patch_size=_largest_patch(job), progress=told
        ),
        Window(train.frames, train.target) if train and train.frames else None,
        None
        if held_out is None
        else stages.load_held_out(
            held_out,
            scale,
            cache,
            modcrop=recipe.protocol.modcrop,
            border=recipe.protocol.border_at(scale),
            progress=told,
        ),
        held_out.feed if held_out else None,
    )
    _check_held_out(images)
    return images


def calibration_for(
    job: Job, section: PruneSection | DepthSection, images: Images
) -> Calibration | None:
    """What the criterion of a stage looks at, if it does."""
    if job.criterion is None and not section.looks_at_images:
        return None
    if job.calibration is not None:
        asked = section.calibration or CalibrationSection()
        return Calibration.taken(job.calibration, batches=asked.batches)
    if images.training is None:
        return None
    return stages.calibrate(section, images.training, window=images.window, seed=job.recipe.seed)


def probe_for(job: Job, section: PruneSection, images: Images) -> Probe | None:
    """What sensitivity is measured on, if the section asks for that."""
    how = section.measuring
    if how is None:
        return None
    pairs = images.training if how.data == "train" else images.held_out
    assert pairs is not None  # a recipe that measures says on what
    assert job.recipe.data is not None
    assert job.graph.scale is not None  # else there were none
    return stages.probe_on(
        cast("Pairs[ImagePair]", pairs),  # clips were refused
        how,
        job.recipe.data.cache,
        border=job.recipe.protocol.border_at(job.graph.scale),
        progress=job.journal,
    )


def _largest_patch(job: Job) -> int:
    """Side in pixels of LR of the largest patch that is cut from what is trained on."""
    trained = [stage.train.patch_size for stage in job.recipe.steps if stage.train]
    looked_at = [
        (stage.ranked.calibration or CalibrationSection()).patch_size
        for stage in job.recipe.steps
        if stage.ranked and _reads_images(job, stage.ranked)
    ]
    return max([*trained, *looked_at, 1])  # sensitivity cuts none


def _reads_images(job: Job, section: PruneSection | DepthSection | None) -> bool:
    """Whether a stage takes calibration data from the images of the recipe."""
    if section is None or job.calibration is not None:
        return False
    criterion = job.criterion or CRITERIA.get(section.criterion)
    return bool(criterion and (criterion.needs or criterion.takes))


def _check_measuring(job: Job, train: TrainImagesSection | None) -> None:
    """Refuse to measure sensitivity on anything but single images."""
    if not takes_images(job):
        message = (
            "'allocation: sensitivity' measures on single images, and the network takes "
            f"{job.graph.input_shapes[0]}; name another allocation, such as 'knapsack'"
        )
        raise RecipeError(message)
    if train is not None and train.frames:
        message = (
            "'allocation: sensitivity' measures on single images, and data.train.frames gives "
            "clips; leave 'frames' out, or set 'prune.sensitivity.data: evaluate'"
        )
        raise RecipeError(message)


def _check_lr_is_given(data: DataSection) -> None:
    """Refuse to make LR for a network that keeps the size, as one that takes noise away."""
    for name in ("train", "evaluate"):
        section = getattr(data, name)
        if section is not None and section.lr_folder is None:
            message = (
                f"the network keeps the size of an image, so LR cannot be made from HR, and "
                f"data.{name} names none; name the folder of what it takes as 'lr_folder'"
            )
            raise RecipeError(message)


def _timeable(job: Job) -> bool:
    return takes_images(job) or feed_of(job) is not None


def _check_takes_images(job: Job) -> None:
    """Try a network that was traced with anything but one RGB image on one."""
    if takes_images(job) or feed_of(job) is not None:
        return
    device, dtype = placement(job.dense)
    height, width = job.graph.input_shapes[0][-2:]
    try:
        infer(job.dense, torch.full((1, 3, height, width), 0.5, device=device, dtype=dtype))
    except MeasureError as error:
        given = ", ".join(map(str, job.graph.input_shapes))
        message = (
            "images are given to a network as (N, 3, H, W), one tensor and no more; this one was "
            f"traced with {given}, and {error}; or leave training and evaluating out, and take a "
            "criterion that looks at weights alone"
        )
        raise RecipeError(message) from error


def _check_evaluation(job: Job, held_out: HeldOutSection) -> None:
    """Refuse, before any training, what the network cannot be evaluated on."""
    (shape, *_) = job.graph.input_shapes
    section = job.recipe.evaluate
    if section is not None and section.latency is not None and not _timeable(job):
        message = (
            f"evaluate.latency is that of one RGB image or clip, and the network takes {shape}; "
            "leave 'latency' out"
        )
        raise RecipeError(message)
    if held_out.feed is None and len(shape) == len(("N", "T", "C", "H", "W")):
        message = (
            f"the network takes {shape}, which is no image, and data.evaluate names single images; "
            "name 'clips' there, with 'frames', such as whole"
        )
        raise RecipeError(message)
    if held_out.feed is not None and takes_images(job):
        message = (
            f"the network takes {shape}, which is an image, and data.evaluate.frames gives it "
            "clips; leave 'frames' out to evaluate every frame by itself"
        )
        raise RecipeError(message)


def _check_held_out(images: Images) -> None:
    """Refuse to evaluate on an image that is trained or measured on, under whatever name."""
    held_out = {_digest(image): name for name, image in _pictures(images.held_out or ())}
    sizes = {image.shape for _, image in _pictures(images.held_out or ())}
    for name, image in _pictures(images.training or ()):
        seen = held_out.get(_digest(image)) if image.shape in sizes else None
        if seen is not None:
            message = (
                f"data.evaluate: image '{seen}' is also trained on (as '{name}'), so its figures "
                "would mean nothing; take it out of one of both"
            )
            raise DataError(message)


def _pictures(pairs: Iterable[ImagePair | ClipPair]) -> Iterator[tuple[str, Image]]:
    """Take clips apart."""
    for pair in pairs:
        frames = pair.hr if isinstance(pair, ClipPair) else pair.hr[None]
        yield from ((pair.name, frame) for frame in frames)


def _digest(image: Image) -> bytes:
    """Tell pictures from one another as they are compared, with 8 bits."""
    return hashlib.sha256(to_8_bits(image).tobytes()).digest()
