"""The training loop: patches in, a better network out, on one device or under accelerate."""

from __future__ import annotations

__all__ = ["Session", "finetune"]

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import nn

from prunekit.data.cache import Cache
from prunekit.data.loader import Batch, Batches
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.patches import Patches, Window
from prunekit.errors import TrainError
from prunekit.measure.protocol import Protocol
from prunekit.progress import Progress
from prunekit.train.board import Board
from prunekit.train.checkpoint import CheckpointFolder
from prunekit.train.curve import CurveRecorder, TrainingCurve, ValidationPoint
from prunekit.train.hooks import TrainHook
from prunekit.train.log import StepLog
from prunekit.train.options import TrainOptions
from prunekit.train.schedule import learning_rate_at
from prunekit.train.state import Identity, restore, snapshot
from prunekit.train.teacher import run_once
from prunekit.train.trainer import Part, Trainer, ready
from prunekit.train.validate import Validation

_MINUTE = 60.0


@dataclass(frozen=True)
class Session:
    """What a training has beside network, images and settings."""

    hooks: Sequence[TrainHook] = ()
    matches: Sequence[str] = ()
    """Modules that feature affinities are compared at."""
    validation: Validation | None = None
    folder: Path | None = None
    """For checkpoints and the log of steps. A training goes on from the newest one in there."""
    tensorboard: bool = False
    """Write event files into the folder."""
    cache: Cache | None = None
    """For what a teacher makes of whole images; the user's own if not given."""


@dataclass
class _Course:
    """Where a training stands."""

    trainer: Trainer
    patches: Patches
    recorder: CurveRecorder
    identity: Identity | None
    """Given with a folder: it takes a look at every image."""
    session: Session
    checkpoints: CheckpointFolder | None
    log: StepLog | None
    board: Board | None
    started: float
    done: int = 0
    """Steps."""
    saved: int = 0
    """Steps that the newest checkpoint holds, with all that is known of them."""
    before: float = 0.0
    """Seconds of earlier sittings."""
    learning_rate: float = 0.0
    score: dict[str, float] = field(default_factory=dict)
    """Of the newest look at the held-out images."""

    def note(self, **figures: float) -> None:
        """Put figures of the newest step into the log and on the board."""
        if not self.trainer.processes.is_first:
            return
        for book in (self.log, self.board):
            if book is not None:
                book.add(self.done, **figures)

    @property
    def seconds(self) -> float:
        return self.before + time.perf_counter() - self.started


def finetune(
    model: nn.Module,
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    options: TrainOptions,
    *,
    window: Window | None = None,
    teacher: nn.Module | None,
    seed: int,
    device: torch.device,
    progress: Progress,
    session: Session | None = None,
) -> TrainingCurve:
    """Train a network in place on random patches; the same seed gives the same weights.

    The parameters that require a gradient are trained, in training mode. Afterwards the network
    has the modes it came with, no gradients, and stands on `device`, as does the teacher, which
    is given if and only if `options.distill` is; likewise the window, for clips. Under
    `accelerate launch` every process takes its share of a batch, and its own device.

    A teacher that is to be cached runs before the first step, once over every image that the cache
    has no output of, and not again; that is not part of `options.minutes`.

    With a folder it writes checkpoints, from which a training that was killed goes on to the same
    bits (on a CPU; on a GPU as far as its kernels are deterministic).

    Raises:
        TrainError: the loss or a weight stops being finite, the network fails, or the folder
            holds the checkpoints of another training.
        DataError: an image is smaller than a patch, or a clip shorter than the window.
        CacheError: what the teacher makes of the images cannot be kept.
    """
    session = session or Session()
    _check_images(options, window)
    patches = Patches(pairs, patch_size=options.patch_size, seed=seed, window=window)
    _check_halves(options, pairs[0].scale)
    with ready(
        model,
        teacher,
        options,
        seed=seed,
        device=device,
        hooks=session.hooks,
        matches=session.matches,
    ) as trainer:
        patches = _with_outputs(patches, trainer, session, progress)
        course = _begin(trainer, patches, options, session, seed=seed, progress=progress)
        begun = f" from step {course.done}" if course.done else ""
        progress.start(f"fine-tune{begun}", options.steps - course.done)
        out_of_time = _run(course, options, progress)
        trainer.check_weights()
        trainer.processes.share_buffers(trainer.inner)
        if trainer.average is not None:
            trainer.average.finish()
        for hook in session.hooks:
            hook.at_stage_end(trainer.inner)
        if course.log is not None:
            trainer.processes.first_does(course.log.flush)
        if course.board is not None:
            course.board.close()
    curve = course.recorder.curve(seconds=course.seconds, out_of_time=out_of_time)
    ended = f", out of time after {course.done} steps" if out_of_time else ""
    progress.finish(f"loss {curve.loss[0]:.4f} to {curve.loss[-1]:.4f}{ended}")
    return curve


def _check_images(options: TrainOptions, window: Window | None) -> None:
    if options.distill and options.distill.cache_teacher and window is not None:
        message = (
            "distill.cache_teacher keeps what the teacher makes of single images, and these are "
            "clips; leave it out"
        )
        raise TrainError(message)


def _with_outputs(
    patches: Patches, trainer: Trainer, session: Session, progress: Progress
) -> Patches:
    """Let a teacher that is to be cached run, where that was not done before."""
    distill = trainer.options.distill
    if trainer.distillation is None or distill is None or not distill.cache_teacher:
        return patches
    outputs = run_once(
        trainer.distillation.teacher,
        patches.pairs,
        session.cache or Cache(),
        precision=distill.precision,
        processes=trainer.processes,
        progress=progress,
    )
    return replace(patches, outputs=outputs)


def _check_halves(options: TrainOptions, scale: int) -> None:
    """Refuse patches that no Laplacian pyramid can be made of, before the first step."""
    side = options.patch_size * scale
    if options.distill is None or not options.distill.laplacian or (side % 16 == 0 and side >= 32):  # noqa: PLR2004
        return
    message = (
        f"distill.laplacian halves patches of HR four times, and those of patch_size "
        f"{options.patch_size} at scale {scale} have sides of {side} pixels; make these a multiple "
        "of 16 from 32 on, or leave it out"
    )
    raise TrainError(message)


def _begin(
    trainer: Trainer,
    patches: Patches,
    options: TrainOptions,
    session: Session,
    *,
    seed: int,
    progress: Progress,
) -> _Course:
    """Start from the beginning, or from the newest checkpoint."""
    folder = session.folder
    protocol = session.validation.protocol if session.validation else None
    identity = None
    if folder is not None:
        identity = _identity(trainer, patches, options, seed=seed, protocol=protocol)
    course = _Course(
        trainer=trainer,
        patches=patches,
        started=time.perf_counter(),
        recorder=CurveRecorder(options, images=len(patches.pairs), protocol=protocol),
        identity=identity,
        session=session,
        checkpoints=None
        if folder is None
        else CheckpointFolder(folder, keep_last=options.keep_last),
        log=None if folder is None else StepLog(folder / "steps.jsonl"),
        board=None,
    )
    if course.checkpoints is not None:
        _go_on(course, course.checkpoints, progress)
    if len(set(trainer.processes.gathered(course.done))) > 1:
        message = (
            "the processes do not see the same checkpoints; put the output folder where all "
            "machines can read it"
        )
        raise TrainError(message)
    if folder is not None and course.log is not None and trainer.processes.is_first:
        folder.mkdir(parents=True, exist_ok=True)
        lost = course.log.go_on_from(course.done)
        if lost:
            progress.warn(f"{folder / 'steps.jsonl'}: {lost} of {course.done} steps are lost")
        if session.tensorboard:
            course.board = Board(folder / "tensorboard", done=course.done)
    for hook in session.hooks:
        hook.at_start(trainer.inner)
    return course


def _identity(
    trainer: Trainer,
    patches: Patches,
    options: TrainOptions,
    *,
    seed: int,
    protocol: Protocol | None,
) -> Identity:
    teacher = trainer.distillation
    return Identity.of(
        options,
        [trainer.inner] if teacher is None else [trainer.inner, teacher.teacher],
        patches.pairs,
        seed=seed,
        processes=trainer.processes.count,
        protocol=protocol,
        hooks=trainer.hooks,
    )


def _go_on(course: _Course, checkpoints: CheckpointFolder, progress: Progress) -> None:
    """Take up the newest checkpoint, if there is one."""
    checkpoint, faults = checkpoints.latest()
    instead = "beginning anew" if checkpoint is None else f"going on from step {checkpoint.step}"
    for fault in faults:
        progress.warn(f"{fault}; {instead}")
    if checkpoint is None:
        return
    assert course.identity is not None
    try:
        course.before = restore(checkpoint, course.trainer, course.recorder, course.identity)
    except TrainError as error:
        message = f"{checkpoints.folder}: {error}"
        raise TrainError(message) from error
    course.done = course.saved = checkpoint.step


def _run(course: _Course, options: TrainOptions, progress: Progress) -> bool:
    """Take all steps that are left; returns whether the time was over before."""
    budget = None if options.minutes is None else options.minutes * _MINUTE
    for batch in _batches(course, options):
        spent = 0.0 if budget is None else _agreed_share(course, budget)
        if spent >= 1 and course.done:
            _end_early(course, options)
            return True
        loss = _step(course, options, batch, spent)
        _look(course, options, last=course.done == options.steps)
        progress.advance(loss=loss, learning_rate=course.learning_rate, **course.score)
    return False


def _batches(course: _Course, options: TrainOptions) -> Batches:
    """Share of this process in every batch that is left."""
    trainer = course.trainer
    return Batches(
        course.patches,
        trainer.processes.share(options),
        range(course.done, options.steps),
        workers=options.workers,
        pin_memory=trainer.device.type == "cuda",
    )


def _agreed_share(course: _Course, budget: float) -> float:
    """Share of the time that is used up, the same in all processes."""
    return max(course.trainer.processes.gathered(course.seconds / budget))


def _step(course: _Course, options: TrainOptions, batch: Batch, spent: float) -> float:
    trainer, step = course.trainer, course.done
    course.learning_rate = learning_rate_at(step, options, spent=spent)
    trainer.set_learning_rate(course.learning_rate)
    loss = trainer.update(step, _parts(batch, options.accumulate))
    course.done += 1
    course.recorder.add(step, loss, course.learning_rate)
    course.note(loss=loss, learning_rate=course.learning_rate)
    return loss


def _parts(batch: Batch, count: int) -> list[Part]:
    """Cut a batch into parts that are computed one after the other."""
    kept = (None,) * count if batch.teacher is None else batch.teacher.chunk(count)
    parts = zip(batch.lr.chunk(count), batch.hr.chunk(count), kept, strict=True)
    return [Part(*images) for images in parts]


def _end_early(course: _Course, options: TrainOptions) -> None:
    """Leave a training whose time is over as one that is complete, for what comes after it."""
    if course.recorder.end(course.done):
        course.saved = 0
    _look(course, options, last=True)


def _look(course: _Course, options: TrainOptions, *, last: bool) -> None:
    """Validate and write a checkpoint, where it is time for it or the best so far is found."""
    score, highest = None, course.recorder.highest
    if course.session.validation and _due(course.done, options.validate_every, last=last):
        score = course.recorder.score_at(course.done)
        if score is None:
            score = _validate(course, course.session.validation)
            course.saved = 0
    every = options.checkpoint_every
    best = every is not None and score is not None and score > highest
    wanted = best or _due(course.done, every, last=last)
    if course.checkpoints is not None and wanted and course.saved != course.done:
        _commit(course, score)


def _due(done: int, every: int | None, *, last: bool) -> bool:
    return every is not None and (done % every == 0 or last)


def _validate(course: _Course, validation: Validation) -> float:
    trainer = course.trainer
    trainer.processes.share_buffers(trainer.inner)
    average = trainer.average
    if average is None:
        score = validation.run(trainer.inner, course.done, trainer.processes)
    else:
        with average.applied():
            for hook in trainer.hooks:
                hook.at_look(trainer.inner)
            score = validation.run(trainer.inner, course.done, trainer.processes)
    course.recorder.add_validation(ValidationPoint(course.done, score))
    course.score = {validation.protocol.key: score}
    course.note(**course.score)
    return score


def _commit(course: _Course, score: float | None) -> None:
    assert course.identity is not None
    checkpoint = snapshot(
        course.trainer,
        course.recorder,
        course.identity,
        step=course.done,
        seconds=course.seconds,
        score=score,
    )
    checkpoints, log = course.checkpoints, course.log
    assert checkpoints is not None
    assert log is not None

    def write() -> None:
        log.flush()  # before the checkpoint that its lines belong to
        checkpoints.commit(checkpoint)

    course.trainer.processes.first_does(write)
    course.saved = course.done
