"""Prune a network in memory: the stages of a recipe, one call each."""

from __future__ import annotations

__all__ = ["PruneResult", "prune", "take_part"]

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.data.image import Image, to_8_bits
from prunekit.data.pairs import ClipPair, ImagePair, Pairs, Skipped
from prunekit.data.patches import Window
from prunekit.errors import DataError, MeasureError, RecipeError
from prunekit.files import write_atomic
from prunekit.graph import (
    Attention,
    ChannelGraph,
    Inputs,
    Rule,
    TraceOptions,
    check_traceable,
    clone_model,
    own_randomness,
    unwrap,
)
from prunekit.graph.record import plain
from prunekit.measure.cost import Cost
from prunekit.pipeline import stages
from prunekit.pipeline.aim import Aim, aim_at
from prunekit.pipeline.build import example_input
from prunekit.pipeline.folder import new_folder
from prunekit.pipeline.journal import Journal
from prunekit.pipeline.store import write_result
from prunekit.pipeline.summary import Findings, StageReached, summarise
from prunekit.plan import Plan
from prunekit.progress import Progress, Silent
from prunekit.recipe import PruneSection, Recipe, TrainSection, load_recipe
from prunekit.report import Report
from prunekit.report.content import DENSE, SLIM, SLIM_BEFORE
from prunekit.surgery import Verification
from prunekit.train.curve import TrainingCurve
from prunekit.train.loop import Session
from prunekit.train.matching import find_matches
from prunekit.train.validate import Validation

_OUTPUT_SIZE = (1280, 720)
"""Size at which papers count, width and height, where a recipe names none."""

_PATIENCE = (10_000, 4)
"""Operators that are waited for at that size, at least, and as a multiple of those at the traced
one: a loop over the pixels of such an image takes hours."""


@dataclass(frozen=True, eq=False)
class PruneResult:
    """A slim network, and how it came about."""

    model: nn.Module
    """Of the same class as the dense network, on the same device, in evaluation mode."""
    plan: Plan
    report: Report
    recipe: Recipe
    """As it was run, with every default filled in."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `slim.safetensors`, `plan.json`, `recipe.yaml` and the report into a new folder.

        The folder appears whole or not at all. Raises `PrunekitError` if it holds something and
        `overwrite` is off.
        """
        path = Path(folder)
        with new_folder(path, overwrite=overwrite) as partial:
            write_result(partial, self.model, self.plan, self.report, self.recipe, origin=None)
        return path


def prune(
    model: nn.Module,
    recipe: str | Path | Mapping[str, object] | Recipe,
    example_inputs: Inputs | None = None,
    *,
    attention: Attention = "head_dim",
    rules: Mapping[str, Rule] | None = None,
    opaque: Sequence[str] = (),
    work_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Run the stages of a recipe on a network, which stays as it is.

    Args:
        model: the dense network, with its weights, on the device to work on.
        recipe: a path, a mapping or a `Recipe`; sections `model`, `device` and `output` are for
            `prunekit run` and take no part here. The smallest one is
            `{"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}`.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments;
            one RGB image of 48x48 pixels if not given.
        attention: what of an attention may shrink, as in `prunekit.trace`.
        rules: rules of operators of your own, as in `prunekit.trace`.
        opaque: globs on modules that stay as they are, as in `prunekit.trace`.
        work_folder: for checkpoints of training and its log. If it holds some of the same
            training, that goes on from the newest; without it, training begins anew each time.
        progress: told what is going on.

    Raises:
        PrunekitError: with one sentence that says what, where, why and what to do next.
    """
    read = load_recipe(recipe)
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs = _inputs(model, read) if example_inputs is None else example_inputs
        options = TraceOptions(attention, rules, opaque)
        work = None if work_folder is None else Path(work_folder)
        job = _Job.begun(model, read, inputs, options, Journal(progress or Silent()), work=work)
        aim = _next_aim(job, job.dense, 0)
        images = _load_images(job)
        done = _run_stages(job, images, aim)
        found = _measure(job, done, images)
        report = summarise(read, found, job.journal.seconds)
    return PruneResult(done.model, found.plan, report, read)


def take_part(model: nn.Module, recipe: Recipe, *, work_folder: Path) -> None:
    """Run the stages beside the first process, which measures and writes what comes of them."""
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs, journal = _inputs(model, recipe), Journal(Silent())
        job = _Job.begun(model, recipe, inputs, TraceOptions(), journal, work=work_folder)
        aim = _next_aim(job, model, 0)
        _run_stages(job, _load_images(job), aim)


@dataclass(frozen=True, eq=False)
class _Job:
    """What is to be done."""

    dense: nn.Module
    recipe: Recipe
    inputs: Inputs
    options: TraceOptions
    graph: ChannelGraph
    """Of the dense network."""
    journal: Journal
    work: Path | None
    """Folder for checkpoints of training."""

    @staticmethod
    def begun(
        dense: nn.Module,
        recipe: Recipe,
        inputs: Inputs,
        options: TraceOptions,
        journal: Journal,
        *,
        work: Path | None,
    ) -> _Job:
        """Trace the network."""
        graph = stages.read_graph(dense, inputs, options, progress=journal)
        return _Job(dense, recipe, inputs, options, graph, journal, work)


@dataclass(frozen=True, eq=False)
class _Images:
    """What the stages train and evaluate on; None where none does."""

    training: stages.TrainingPairs | None = None
    window: Window | None = None
    """Given if `training` are clips."""
    held_out: Pairs[ImagePair] | None = None

    @property
    def skipped(self) -> dict[str, tuple[Skipped, ...]]:
        """What was left out, by purpose."""
        purposes = {"training": self.training, "held-out": self.held_out}
        return {name: pairs.skipped for name, pairs in purposes.items() if pairs is not None}


@dataclass
class _Done:
    """What the stages have made so far."""

    model: nn.Module
    plan: Plan | None = None
    verifications: list[Verification] = field(default_factory=list)
    reached: list[StageReached] = field(default_factory=list)
    curves: list[TrainingCurve] = field(default_factory=list)
    before_training: nn.Module | None = None
    """The slim network as it was when training last began."""


def _run_stages(job: _Job, images: _Images, aim: Aim | None) -> _Done:
    """Carry out the stages; `aim` is that of the first that prunes.

    The targets of a later one are looked at before a training that comes first.
    """
    done = _Done(job.dense)
    for number, stage in enumerate(job.recipe.steps):
        aim = aim or _next_aim(job, done.model, number)
        if stage.prune is not None:
            assert aim is not None  # of this stage
            _prune(job, done, stage.prune, aim, number)
            aim = None
        elif stage.train is not None:
            curve = _train(job, done, stage.train, images, number)
            done.curves.append(replace(curve, stage=number))
    return done


def _next_aim(job: _Job, model: nn.Module, number: int) -> Aim | None:
    """What the first stage from this one on that prunes works towards; None if none does."""
    sections = (stage.prune for stage in job.recipe.steps[number:])
    section = next((section for section in sections if section is not None), None)
    if section is None:
        return None
    graph = job.graph
    if model is not job.dense:
        graph = stages.read_graph(model, job.inputs, job.options, progress=job.journal)
    return aim_at(section, model, graph, job.inputs, job.options, progress=job.journal)


def _prune(job: _Job, done: _Done, section: PruneSection, aim: Aim, number: int) -> None:
    settled = _settled_plan(job, aim, number)
    if settled is not None and settled.is_file():
        plan = Plan.from_json(settled.read_text(encoding="utf-8"))
        pruned = stages.rebuild(
            done.model, plan, aim, job.inputs, options=job.options, progress=job.journal
        )
    else:
        pruned = stages.prune(
            done.model,
            aim.graph,
            section,
            job.inputs,
            job.options,
            seed=job.recipe.seed,
            progress=job.journal,
            aim=aim,
        )
    if settled is not None:
        settled.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(settled, pruned.plan.to_json())
    done.model = pruned.model.eval()
    done.plan = done.plan.then(pruned.plan) if done.plan else pruned.plan
    done.verifications.append(pruned.verification)
    done.reached.append(StageReached(aim.size, pruned.reached))


def _settled_plan(job: _Job, aim: Aim, number: int) -> Path | None:
    """Where a plan is kept that a later process would not find again, as it was measured."""
    measured = aim.latency is not None and job.work is not None
    return job.work / f"stage-{number}" / "plan.json" if measured and job.work else None


def _train(
    job: _Job, done: _Done, section: TrainSection, images: _Images, number: int
) -> TrainingCurve:
    assert images.training is not None  # a recipe that trains says on what
    done.before_training = done.model if done.plan else None
    done.model = clone_model(done.model)
    return stages.train(
        done.model,
        clone_model(job.dense),
        section,
        images.training,
        _session(job, section, images, number),
        window=images.window,
        seed=job.recipe.seed + number,
        progress=job.journal,
    )


def _session(job: _Job, section: TrainSection, images: _Images, number: int) -> Session:
    """What the training of a stage has beside network, images and settings."""
    folder = None if job.work is None else job.work / f"stage-{number}"
    distill = section.distill
    matches = find_matches(job.graph, distill.matches) if distill and distill.features else ()
    validation = None
    if section.validate_every is not None:
        assert images.held_out is not None  # a recipe that looks at images says at which
        samples = None if folder is None else folder / "samples"
        validation = Validation(images.held_out, _border(job), samples)
    if section.tensorboard and folder is None:
        message = (
            "train.tensorboard needs a folder to write to; name a work_folder, or leave it out"
        )
        raise RecipeError(message)
    return Session(
        matches=matches, validation=validation, folder=folder, tensorboard=section.tensorboard
    )


def _border(job: _Job) -> int:
    """Pixels cut off every side before images are compared."""
    section = job.recipe.evaluate
    stated = section.border if section else None
    return (job.graph.scale or 0) if stated is None else stated


def _measure(job: _Job, done: _Done, images: _Images) -> Findings:
    """Count, time and evaluate whatever the recipe asks for and the network allows."""
    assert done.plan is not None  # a recipe prunes at least once
    ends = {DENSE: job.dense, SLIM: done.model}
    between = {SLIM_BEFORE: done.before_training} if done.before_training is not None else {}
    networks = {DENSE: job.dense, **between, SLIM: done.model}
    found = Findings(
        job.graph,
        done.plan,
        done.verifications,
        done.curves,
        skipped=images.skipped,
        reached=done.reached,
    )
    scale, section = job.graph.scale, job.recipe.evaluate
    latency = section.latency if section else None
    if scale is not None and _takes_images(job):
        size = latency.output_size if latency else _OUTPUT_SIZE
        found = replace(found, costs=_count(job, networks, scale, size))
    if section is None or scale is None or images.held_out is None:
        return found
    if isinstance(job.inputs, Tensor):
        counters = stages.count_otherwise(ends, job.inputs, progress=job.journal)
        found = replace(found, counters=counters, counted_at=tuple(job.inputs.shape))
    if latency is not None:
        times = stages.time_all(ends, latency, scale=scale, progress=job.journal)
        found = replace(found, latencies=times)
    evaluations = stages.evaluate_all(
        networks,
        images.held_out,
        border=_border(job),
        progress=job.journal,
    )
    return replace(found, evaluations=evaluations, pairs=images.held_out)


def _count(
    job: _Job, networks: Mapping[str, nn.Module], scale: int, output_size: tuple[int, int]
) -> dict[str, Cost]:
    """Count at an output size, or at the traced one where the network takes no other."""
    least, times = _PATIENCE
    patience = max(least, times * job.graph.operators)
    try:
        return stages.count(networks, scale=scale, output_size=output_size, at_most=patience)
    except MeasureError as error:
        height, width = job.graph.output_shapes[0][-2:]
        job.journal.warn(f"{error}; macs are stated for {width}x{height} output pixels instead")
        asks = bool(job.graph.notes)
        size = (width, height)
        return stages.count(networks, scale=scale, output_size=size, with_values=asks)


def _inputs(model: nn.Module, recipe: Recipe) -> Tensor:
    shape = recipe.model.input_shape if recipe.model else (1, 3, 48, 48)
    return example_input(shape, model)


def _takes_images(job: _Job) -> bool:
    """Whether one RGB image is all that the network takes."""
    if any(not isinstance(value, Tensor) for value in tree_leaves(plain(job.inputs))):
        return False
    (shape, *others) = job.graph.input_shapes
    return not others and len(shape) == len(("N", "C", "H", "W")) and shape[1] == 3  # noqa: PLR2004 (RGB)


def _load_images(job: _Job) -> _Images:
    """Read the images that some stage needs."""
    recipe, scale = job.recipe, _scale(job)
    data = recipe.data
    train = data.train if data and any(stage.train for stage in recipe.steps) else None
    looks = any(stage.train and stage.train.validate_every for stage in recipe.steps)
    held_out = data.evaluate if data and (recipe.evaluate or looks) else None
    if data is None or (train is None and held_out is None):
        return _Images()
    if scale is None:
        message = (
            "the network's output is no whole multiple of its input, so there are no image pairs "
            "to train or evaluate it on; leave these sections out"
        )
        raise RecipeError(message)
    told, cache = job.journal, data.cache
    images = _Images(
        None if train is None else stages.load_training(train, scale, cache, progress=told),
        Window(train.frames, train.target) if train and train.frames else None,
        None
        if held_out is None
        else stages.load_images(held_out, scale, cache, purpose="held-out", progress=told),
    )
    _check_held_out(images)
    return images


def _check_held_out(images: _Images) -> None:
    """Refuse to evaluate on an image that is trained on, under whatever name."""
    held_out = {_digest(pair.hr): pair.name for pair in images.held_out or ()}
    sizes = {pair.hr.shape for pair in images.held_out or ()}
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


def _scale(job: _Job) -> int | None:
    stated = job.recipe.model.scale if job.recipe.model else None
    if stated is not None and job.graph.scale != stated:
        message = (
            f"model.scale is {stated}, but the network turns {job.graph.input_shapes[0]} into "
            f"{job.graph.output_shapes[0]}; leave the scale out, or build the network for it"
        )
        raise RecipeError(message)
    return job.graph.scale
