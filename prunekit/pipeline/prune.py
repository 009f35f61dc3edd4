"""Prune a network in memory: the stages of a recipe, one call each."""

from __future__ import annotations

__all__ = ["PruneResult", "measure", "prune", "rehearse", "take_part"]

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.data.image import Image, to_8_bits
from prunekit.data.pairs import ClipPair, ImagePair, Pairs, Skipped
from prunekit.data.patches import Window
from prunekit.errors import DataError, MeasureError, PlanError, RecipeError
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
from prunekit.measure.feed import Feed
from prunekit.measure.sensitivity import Probe
from prunekit.methods import SoftFilters, masking_hook
from prunekit.pipeline import stages
from prunekit.pipeline.aim import Aim, aim_at
from prunekit.pipeline.build import example_input
from prunekit.pipeline.depth import DepthAim, aim_at_blocks, remove_blocks
from prunekit.pipeline.folder import new_folder
from prunekit.pipeline.journal import Journal
from prunekit.pipeline.sparsity import measure_sparsity
from prunekit.pipeline.store import write_result
from prunekit.pipeline.summary import Findings, StageReached, summarise
from prunekit.plan import Origin, Plan, Sensitivity, plan_units
from prunekit.progress import Progress, Silent
from prunekit.recipe import (
    CalibrationSection,
    DepthSection,
    HeldOutSection,
    PruneSection,
    Recipe,
    SensitivitySection,
    Step,
    TrainImagesSection,
    TrainSection,
    UnstructuredSection,
    load_recipe,
    to_mapping,
)
from prunekit.report import Report
from prunekit.report.content import DENSE, SLIM, SLIM_BEFORE
from prunekit.score import CRITERIA, Calibration, Criterion, as_criterion
from prunekit.sparse import (
    MaskProof,
    Masks,
    check_zeros,
    follow_plan,
    from_torch_masks,
    has_torch_masks,
)
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
    masks: Masks | None = None
    """Which weights stay, if single ones were set to zero."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `slim.safetensors`, `plan.json`, `recipe.yaml` and the report into a new folder.

        The folder appears whole or not at all. Raises `PrunekitError` if it holds something and
        `overwrite` is off.
        """
        path = Path(folder)
        with new_folder(path, overwrite=overwrite) as partial:
            write_result(
                partial,
                self.model,
                self.plan,
                self.report,
                self.recipe,
                origin=None,
                masks=self.masks,
            )
        return path


def prune(
    model: nn.Module,
    recipe: str | Path | Mapping[str, object] | Recipe,
    example_inputs: Inputs | None = None,
    *,
    attention: Attention = "head_dim",
    rules: Mapping[str, Rule] | None = None,
    opaque: Sequence[str] = (),
    criterion: object = None,
    calibration: Iterable[Any] | None = None,
    work_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Run the stages of a recipe on a network, which stays as it is.

    Args:
        model: the dense network, with its weights, on the device to work on. If weights are to
            be set to zero, masks that `torch.nn.utils.prune` has put on it are taken over.
        recipe: a path, a mapping or a `Recipe`; sections `model`, `device` and `output` are for
            `prunekit run` and take no part here. The smallest one is
            `{"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}`.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments;
            one RGB image of 48x48 pixels if not given.
        attention: what of an attention may shrink, as in `prunekit.trace`.
        rules: rules of operators of your own, as in `prunekit.trace`.
        opaque: globs on modules that stay as they are, as in `prunekit.trace`.
        criterion: takes the place of the one in the recipe: a name, an importance of torch-pruning
            (or of your own class that extends one), or a function that takes the slices of a
            group (`prunekit.score.Slice`) and a random generator and returns a list of scores
            `(units,)`. The recipe in the result then says `custom`, unless it is a name.
        calibration: batches for criteria that look at images, in place of patches of the recipe's
            `data.train`: a loader or list of `(lr, hr)`, or of LR alone if nobody knows HR; as many
            as the recipe says.
        work_folder: for checkpoints of training and its log. If it holds some of the same
            training, that goes on from the newest; without it, training begins anew each time.
        progress: told what is going on.

    Raises:
        PrunekitError: with one sentence that says what, where, why and what to do next.
    """
    read, judged = _with_criterion(load_recipe(recipe), criterion)
    _check_looked_at(read, judged, calibration)
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs = _inputs(model, read) if example_inputs is None else example_inputs
        options = TraceOptions(attention, rules, opaque)
        work = None if work_folder is None else Path(work_folder)
        job = _Job.begun(model, read, inputs, options, Journal(progress or Silent()), work=work)
        return _carry_out(replace(job, criterion=judged, calibration=calibration))


def rehearse(model: nn.Module, recipe: Recipe, *, progress: Progress) -> PruneResult:
    """Run the stages of a recipe on a network, which stays as it is, and evaluate nothing.

    Raises:
        PrunekitError: with one sentence that says what, where, why and what to do next.
    """
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs, journal = _inputs(model, recipe), Journal(progress)
        job = _Job.begun(model, recipe, inputs, TraceOptions(), journal, work=None)
        return _carry_out(replace(job, evaluates=False))


def _carry_out(job: _Job) -> PruneResult:
    aim = _next_aim(job, job.dense, 0)
    images = _load_images(job)
    done = _run_stages(job, images, aim)
    found = _measure(job, done, images)
    report = summarise(job.recipe, found, job.journal.seconds)
    return PruneResult(done.model, found.plan, report, job.recipe, done.masks)


def _with_criterion(recipe: Recipe, given: object) -> tuple[Recipe, Criterion | None]:
    """Put a criterion that is given in Python into every stage that prunes."""
    if given is None:
        if any(stage.ranked and stage.ranked.criterion == "custom" for stage in recipe.steps):
            message = (
                "the recipe's criterion is 'custom', so it is given beside it; pass "
                "prunekit.prune(..., criterion=...), or name another in the recipe"
            )
            raise RecipeError(message)
        return recipe, None
    criterion = as_criterion(given)
    if not any(stage.ranked for stage in recipe.steps):
        message = (
            f"criterion={criterion.name!r} is given, but no stage of the recipe removes channels "
            "or blocks; leave it out"
        )
        raise RecipeError(message)
    name = criterion.name if criterion is CRITERIA.get(criterion.name) else "custom"
    mapping: dict[str, Any] = to_mapping(recipe)
    for stage in [mapping, *mapping.get("stages", ())]:
        if stage.get("prune", {}).get("method") in ("filter", "depth"):
            stage["prune"]["criterion"] = name
    return load_recipe(mapping), criterion


def _check_looked_at(recipe: Recipe, given: Criterion | None, calibration: object) -> None:
    """Refuse calibration data that nothing would look at."""
    named = [CRITERIA[s.ranked.criterion] for s in recipe.steps if s.ranked and given is None]
    criteria = [given] if given is not None else named
    if calibration is not None and not any(each.needs or each.takes for each in criteria):
        names = " and ".join(sorted({f"'{each.name}'" for each in criteria})) or "none"
        message = (
            f"calibration= is given, but the criterion {names} looks at no images; "
            "leave it out, or take another criterion, such as 'taylor'"
        )
        raise RecipeError(message)


def measure(model: nn.Module, recipe: Recipe, *, progress: Progress) -> Sensitivity:
    """Measure what removing units of each group alone costs, as the first stage that does so says.

    What that stage allocates by does not matter, but images are needed: a recipe that does not
    measure takes those of `data.train`, else of `data.evaluate`. The network stays as it is.

    Raises:
        PrunekitError: with one sentence; what was measured until then is kept.
    """
    section = next((stage.filters for stage in recipe.steps if stage.filters), None)
    if section is None:
        message = (
            "no stage of the recipe removes channels, so there is nothing to measure; add a "
            "'prune' with 'method: filter'"
        )
        raise RecipeError(message)
    if section.measuring is None:
        measured_on = _images_there(recipe)
        section = section.model_copy(
            update={"allocation": "sensitivity", "sensitivity": measured_on}
        )
    alone = recipe.model_copy(update={"prune": section, "train": None, "stages": None})
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        journal = Journal(progress)
        job = _Job.begun(model, alone, _inputs(model, alone), TraceOptions(), journal, work=None)
        images = _load_images(replace(job, evaluates=False))
        probe = _probe(job, section, images)
        assert probe is not None  # the section measures
        return stages.measure(
            model,
            job.graph,
            section,
            probe,
            seed=recipe.seed,
            calibration=_calibration(job, section, images),
        )


def _images_there(recipe: Recipe) -> SensitivitySection:
    data = recipe.data
    if data is None or (data.train is None and data.evaluate is None):
        message = (
            "the recipe has no images to measure on; name some in 'data.train' or 'data.evaluate'"
        )
        raise RecipeError(message)
    return SensitivitySection(data="train" if data.train is not None else "evaluate")


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
    criterion: Criterion | None = None
    """In place of those of the recipe."""
    calibration: Iterable[Any] | None = None
    """In place of patches of the recipe's images."""
    masks: Masks | None = None
    """Those that `torch.nn.utils.prune` had put on the network."""
    evaluates: bool = True
    """Whether the networks are evaluated as the recipe says."""

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
        """Take masks of torch over, if weights are to be masked, and trace the network."""
        masks = None
        unstructured = any(isinstance(s.prune, UnstructuredSection) for s in recipe.steps)
        if unstructured and has_torch_masks(dense):
            dense, masks = from_torch_masks(dense)
        graph = stages.read_graph(dense, inputs, options, progress=journal)
        return _Job(dense, recipe, inputs, options, graph, journal, work, masks=masks)


@dataclass(frozen=True, eq=False)
class _Images:
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


@dataclass
class _Done:
    """What the stages have made so far."""

    model: nn.Module
    plan: Plan | None = None
    verifications: list[Verification] = field(default_factory=list)
    reached: list[StageReached] = field(default_factory=list)
    curves: list[TrainingCurve] = field(default_factory=list)
    masks: Masks | None = None
    coming: UnstructuredSection | None = None
    """What the next training has to bring about."""
    softly: _Softly | None = None
    """Which units the next training has to settle, to leave at its end."""
    origin: Origin | None = None
    """The network that rounds began with."""
    mask_proofs: list[MaskProof] = field(default_factory=list)
    before_training: nn.Module | None = None
    """The slim network as it was when training last began."""


@dataclass(frozen=True, eq=False)
class _Softly:
    """Units are about to leave at the end of a training."""

    aim: Aim
    hook: SoftFilters


def _run_stages(job: _Job, images: _Images, aim: Aim | DepthAim | None) -> _Done:
    """Carry out the stages; `aim` is that of the first that removes channels or blocks.

    The targets of a later one are looked at before a training that comes first, unless that is
    to settle what the network becomes.
    """
    done = _Done(job.dense, masks=job.masks)
    for number, step in enumerate(job.recipe.unfolded):
        if done.softly is None:
            aim = aim or _next_aim(job, done.model, number, done.origin)
        if isinstance(step.prune, UnstructuredSection):
            _mask(job, done, step.prune)
        elif isinstance(step.prune, DepthSection):
            assert isinstance(aim, DepthAim)  # of this step
            _remove_blocks(job, done, step.prune, images, aim)
            aim = None
        elif step.prune is not None:
            assert isinstance(aim, Aim)  # of this step
            _prune(job, done, step, images, aim, number=number)
            aim = None
        elif step.train is not None:
            curve = _train(job, done, step.train, images, number)
            done.curves.append(replace(curve, stage=number))
    return done


def _next_aim(
    job: _Job, model: nn.Module, number: int, origin: Origin | None = None
) -> Aim | DepthAim | None:
    """What the first step from this one on that removes channels or blocks works towards."""
    step = next((step for step in job.recipe.unfolded[number:] if step.ranked), None)
    section = step.ranked if step else None
    if step is None or section is None:
        return None
    graph = job.graph
    if model is not job.dense:
        graph = stages.read_graph(model, job.inputs, job.options, progress=job.journal)
    if isinstance(section, DepthSection):
        return aim_at_blocks(section, model, graph, job.inputs, job.options, progress=job.journal)
    goes_on = step.round is not None and step.round.number > 1
    return aim_at(
        section,
        model,
        graph,
        job.inputs,
        job.options,
        turn=step.round,
        origin=origin if goes_on else None,
        progress=job.journal,
    )


def _prune(job: _Job, done: _Done, step: Step, images: _Images, aim: Aim, *, number: int) -> None:
    section = step.filters
    assert section is not None
    pruned = _pruned(job, done.model, section, images, aim, number=number)
    if section.soft is not None:
        hook = stages.soften(
            aim,
            section,
            pruned.plan,
            seed=job.recipe.seed,
            criterion=job.criterion,
            calibration=_calibration(job, section, images),
        )
        done.softly = _Softly(aim, hook)
        return
    done.origin = aim.origin
    _take(done, aim.size, pruned)
    if step.round is not None and step.round.is_last:
        _check_removed(pruned.plan, section, aim.origin)


def _pruned(
    job: _Job,
    model: nn.Module,
    section: PruneSection,
    images: _Images,
    aim: Aim,
    *,
    number: int,
) -> stages.Pruned:
    """Prune, or repeat what was settled in an earlier process."""
    settled = _settled_plan(job, aim, number)
    if settled is not None and settled.is_file():
        plan = Plan.from_json(settled.read_text(encoding="utf-8"))
        return stages.rebuild(
            model, plan, aim, job.inputs, options=job.options, progress=job.journal
        )
    pruned = stages.prune(
        model,
        aim.graph,
        section,
        job.inputs,
        job.options,
        seed=job.recipe.seed,
        progress=job.journal,
        criterion=job.criterion,
        calibration=_calibration(job, section, images),
        probe=_probe(job, section, images),
        aim=aim,
    )
    if settled is not None:
        settled.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(settled, pruned.plan.to_json())
    return pruned


def _take(done: _Done, size: tuple[int, int] | None, pruned: stages.Pruned) -> None:
    """Go on with a slim network."""
    done.model = pruned.model.eval()
    done.plan = done.plan.then(pruned.plan) if done.plan else pruned.plan
    done.verifications.append(pruned.verification)
    done.reached.append(StageReached(size, pruned.reached))
    if done.masks is not None:
        done.masks = follow_plan(done.masks, pruned.plan)


def _check_removed(plan: Plan, section: PruneSection, origin: Origin) -> None:
    """Refuse rounds that have removed nothing together; the plan is that of the last."""
    if plan.widths == dict(origin.widths):
        message = (
            f"the target removes nothing: with round_to {section.round_to} and min_width "
            f"{section.min_width} no group gets narrower; raise the ratio, or lower these"
        )
        raise PlanError(message)


def _remove_blocks(
    job: _Job, done: _Done, section: DepthSection, images: _Images, aim: DepthAim
) -> None:
    pruned = remove_blocks(
        done.model,
        aim,
        job.inputs,
        job.options,
        seed=job.recipe.seed,
        progress=job.journal,
        criterion=job.criterion,
        calibration=_calibration(job, section, images),
    )
    _take(done, aim.size, pruned)


def _settled_plan(job: _Job, aim: Aim, number: int) -> Path | None:
    """Where a plan is kept that a later process would not find again, as it was measured."""
    measured = aim.latency is not None and job.work is not None
    return job.work / f"stage-{number}" / "plan.json" if measured and job.work else None


def _mask(job: _Job, done: _Done, section: UnstructuredSection) -> None:
    """Set weights to zero, or leave it to the training that follows."""
    done.plan = done.plan or plan_units(job.graph, {})
    if section.steps:
        done.coming = section
        return
    masked = stages.mask(done.model, section, done.masks, progress=job.journal)
    done.model, done.masks = masked.model.eval(), masked.masks
    done.mask_proofs.append(masked.proof)


def _calibration(
    job: _Job, section: PruneSection | DepthSection, images: _Images
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


def _probe(job: _Job, section: PruneSection, images: _Images) -> Probe | None:
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


def _train(
    job: _Job, done: _Done, section: TrainSection, images: _Images, number: int
) -> TrainingCurve:
    assert images.training is not None  # a recipe that trains says on what
    plan = done.plan
    changed = plan and (plan.tensors or plan.blocks or done.masks is not None)
    done.before_training = done.model if changed else None
    done.model = clone_model(done.model)
    masking = masking_hook(done.masks, done.coming)
    settling = done.softly.hook if done.softly is not None else None
    curve = stages.train(
        done.model,
        clone_model(job.dense),
        section,
        images.training,
        replace(
            _session(job, done, section, images, number),
            hooks=tuple(h for h in (masking, settling) if h),
        ),
        window=images.window,
        seed=job.recipe.seed + number,
        progress=job.journal,
    )
    if masking is not None:
        done.masks, done.coming = masking.masks, None
        check_zeros(done.model, masking.masks)
    if done.softly is not None:
        _leave(job, done, done.softly)
        done.softly = None
    return curve


def _leave(job: _Job, done: _Done, softly: _Softly) -> None:
    """Remove the units that a training has settled on."""
    plan = softly.hook.plan
    assert plan is not None  # the recipe makes it train for long enough
    pruned = stages.rebuild(
        done.model, plan, softly.aim, job.inputs, options=job.options, progress=job.journal
    )
    _take(done, softly.aim.size, pruned)


def _session(
    job: _Job, done: _Done, section: TrainSection, images: _Images, number: int
) -> Session:
    """What the training of a stage has beside network, images and settings."""
    folder = None if job.work is None else job.work / f"stage-{number}"
    distill = section.distill
    matches: Sequence[str] = ()
    if distill and distill.features:
        gone = done.plan.blocks if done.plan else ()
        matches = find_matches(job.graph, distill.matches, without=gone)
    validation = None
    if section.validate_every is not None:
        assert images.held_out is not None  # a recipe that looks at images says at which
        assert job.graph.scale is not None  # else there were none
        samples = None if folder is None else folder / "samples"
        protocol = job.recipe.protocol.at(job.graph.scale)
        validation = Validation(images.held_out, protocol, samples, images.feed)
    if section.tensorboard and folder is None:
        message = (
            "train.tensorboard needs a folder to write to; name a work_folder, or leave it out"
        )
        raise RecipeError(message)
    cache = None
    if distill and distill.cache_teacher:
        assert job.recipe.data is not None  # a recipe that trains says on what
        cache = stages.open_cache(job.recipe.data.cache)
    return Session(
        matches=matches,
        validation=validation,
        folder=folder,
        tensorboard=section.tensorboard,
        cache=cache,
    )


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
        sparsity=None
        if done.masks is None
        else measure_sparsity(done.model, done.plan, done.masks, done.mask_proofs),
        reached=done.reached,
    )
    recipe, scale = job.recipe, job.graph.scale
    section = recipe.evaluate if job.evaluates else None
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
    shown = stages.pictures(images.held_out) if recipe.report.crops else ()
    evaluations = stages.evaluate_all(
        networks,
        images.held_out,
        recipe.protocol,
        images.feed,
        shown=[pair.name for pair in shown],
        progress=job.journal,
    )
    return replace(found, evaluations=evaluations, pairs=shown)


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
    measured = {s.filters.measuring.data for s in recipe.steps if s.filters and s.filters.measuring}
    reads = any(stage.train or _reads_images(job, stage.ranked) for stage in recipe.steps)
    train = data.train if data and (reads or "train" in measured) else None
    looks = any(stage.train and stage.train.validate_every for stage in recipe.steps)
    looks = looks or "evaluate" in measured or (recipe.evaluate is not None and job.evaluates)
    held_out = data.evaluate if data and looks else None
    if data is None or (train is None and held_out is None):
        return _Images()
    if scale is None:
        message = (
            "the network's output is no whole multiple of its input, so there are no image pairs "
            "to train or evaluate it on; leave these sections out"
        )
        raise RecipeError(message)
    if measured:
        _check_measuring(job, train if "train" in measured else None)
    if held_out is not None:
        _check_evaluation(job, held_out)
    told, cache = job.journal, data.cache
    images = _Images(
        None
        if train is None
        else stages.load_training(
            train, scale, cache, patch_size=_largest_patch(job), progress=told
        ),
        Window(train.frames, train.target) if train and train.frames else None,
        None
        if held_out is None
        else stages.load_held_out(
            held_out, scale, cache, modcrop=recipe.protocol.modcrop, progress=told
        ),
        held_out.feed if held_out else None,
    )
    _check_held_out(images)
    return images


def _largest_patch(job: _Job) -> int:
    """Side in pixels of LR of the largest patch that is cut from what is trained on."""
    trained = [stage.train.patch_size for stage in job.recipe.steps if stage.train]
    looked_at = [
        (stage.ranked.calibration or CalibrationSection()).patch_size
        for stage in job.recipe.steps
        if stage.ranked and _reads_images(job, stage.ranked)
    ]
    return max([*trained, *looked_at, 1])  # sensitivity cuts none


def _reads_images(job: _Job, section: PruneSection | DepthSection | None) -> bool:
    """Whether a stage takes calibration data from the images of the recipe."""
    if section is None or job.calibration is not None:
        return False
    criterion = job.criterion or CRITERIA.get(section.criterion)
    return bool(criterion and (criterion.needs or criterion.takes))


def _check_measuring(job: _Job, train: TrainImagesSection | None) -> None:
    """Refuse to measure sensitivity on anything but single images."""
    if not _takes_images(job):
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


def _check_evaluation(job: _Job, held_out: HeldOutSection) -> None:
    """Refuse, before any training, what the network cannot be evaluated on."""
    (shape, *_) = job.graph.input_shapes
    section = job.recipe.evaluate
    if section is not None and section.latency is not None and not _takes_images(job):
        message = (
            f"evaluate.latency is that of one RGB image, and the network takes {shape}; leave "
            "'latency' out"
        )
        raise RecipeError(message)
    if held_out.feed is None and len(shape) == len(("N", "T", "C", "H", "W")):
        message = (
            f"the network takes {shape}, which is no image, and data.evaluate names single images; "
            "name 'clips' there, with 'frames', such as whole"
        )
        raise RecipeError(message)
    if held_out.feed is not None and _takes_images(job):
        message = (
            f"the network takes {shape}, which is an image, and data.evaluate.frames gives it "
            "clips; leave 'frames' out to evaluate every frame by itself"
        )
        raise RecipeError(message)


def _check_held_out(images: _Images) -> None:
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


def _scale(job: _Job) -> int | None:
    stated = job.recipe.model.scale if job.recipe.model else None
    if stated is not None and job.graph.scale != stated:
        message = (
            f"model.scale is {stated}, but the network turns {job.graph.input_shapes[0]} into "
            f"{job.graph.output_shapes[0]}; leave the scale out, or build the network for it"
        )
        raise RecipeError(message)
    return job.graph.scale
