"""The stages of a recipe, one after the other."""

from __future__ import annotations

__all__ = ["Done", "check_masking", "next_aim", "run_stages"]

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import nn

from prunekit.errors import PlanError, RecipeError
from prunekit.graph import clone_model
from prunekit.methods import SoftFilters, masking_hook
from prunekit.pipeline import stages
from prunekit.pipeline.aim import Aim, aim_at
from prunekit.pipeline.depth import DepthAim, aim_at_blocks, remove_blocks
from prunekit.pipeline.images import Images, calibration_for, probe_for
from prunekit.pipeline.job import Job
from prunekit.pipeline.settled import Settled
from prunekit.pipeline.summary import StageReached
from prunekit.plan import Origin, Plan, plan_units
from prunekit.recipe import DepthSection, PruneSection, Step, TrainSection, UnstructuredSection
from prunekit.sparse import MaskProof, Masks, check_zeros, follow_plan
from prunekit.surgery import Original, Verification
from prunekit.train.curve import TrainingCurve
from prunekit.train.loop import Session
from prunekit.train.matching import find_matches
from prunekit.train.validate import Validation


@dataclass
class Done:
    """What the stages have made so far."""

    model: nn.Module
    dense: nn.Module
    """The network that was pruned first: trained, if a training comes before that."""
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


def run_stages(job: Job, images: Images, aim: Aim | DepthAim | None) -> Done:
    """Carry out the stages; `aim` is that of the first that removes channels or blocks.

    The targets of a later one are looked at before a training that comes first, unless that is
    to settle what the network becomes.
    """
    done = Done(job.dense, job.dense, masks=job.masks)
    for number, step in enumerate(job.recipe.unfolded):
        if done.softly is None:
            aim = aim or next_aim(job, done.model, number, done.origin)
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


def check_masking(job: Job) -> None:
    """Look at what is going to be masked before anything is trained for it.

    Behind a stage that removes channels or blocks it is the names of layers alone.
    Raises `PlanError` for a glob that matches nothing, or a target that cannot be met.
    """
    masks, as_it_is = job.masks, True
    for step in job.recipe.unfolded:
        as_it_is = as_it_is and not step.ranked
        if isinstance(step.prune, UnstructuredSection):
            masks = stages.rehearse_masks(job.dense, step.prune, masks, as_it_is=as_it_is)


def next_aim(
    job: Job, model: nn.Module, number: int, origin: Origin | None = None
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


def _prune(job: Job, done: Done, step: Step, images: Images, aim: Aim, *, number: int) -> None:
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
            calibration=calibration_for(job, section, images),
        )
        done.softly = _Softly(aim, hook)
        return
    done.origin = aim.origin
    _take(done, aim.size, pruned)
    if step.round is not None and step.round.is_last:
        _check_removed(pruned.plan, section, aim.origin)


def _pruned(
    job: Job,
    model: nn.Module,
    section: PruneSection,
    images: Images,
    aim: Aim,
    *,
    number: int,
) -> stages.Pruned:
    """Prune, or repeat what was settled in an earlier process."""
    calibration = calibration_for(job, section, images)
    settled = None
    if aim.latency is not None and job.work is not None:
        settled = Settled.of(
            job.work / f"stage-{number}" / "plan.json",
            model,
            section,
            seed=job.recipe.seed,
            criterion=job.criterion,
            calibration=calibration,
        )
    if settled is not None and (plan := settled.read()) is not None:
        original = Original(model, job.inputs, job.options)
        return stages.rebuild(original, plan, aim, progress=job.journal)
    pruned = stages.prune(
        model,
        aim.graph,
        section,
        job.inputs,
        job.options,
        seed=job.recipe.seed,
        progress=job.journal,
        criterion=job.criterion,
        calibration=calibration,
        probe=probe_for(job, section, images),
        aim=aim,
    )
    if settled is not None:
        settled.write(pruned.plan)
    return pruned


def _take(done: Done, size: tuple[int, int] | None, pruned: stages.Pruned) -> None:
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
    job: Job, done: Done, section: DepthSection, images: Images, aim: DepthAim
) -> None:
    pruned = remove_blocks(
        done.model,
        aim,
        job.inputs,
        job.options,
        seed=job.recipe.seed,
        progress=job.journal,
        criterion=job.criterion,
        calibration=calibration_for(job, section, images),
    )
    _take(done, aim.size, pruned)


def _mask(job: Job, done: Done, section: UnstructuredSection) -> None:
    """Set weights to zero, or leave it to the training that follows."""
    done.plan = done.plan or plan_units(job.graph, {})
    if section.steps:
        done.coming = section
        return
    masked = stages.mask(done.model, section, done.masks, progress=job.journal)
    done.model, done.masks = masked.model.eval(), masked.masks
    done.mask_proofs.append(masked.proof)


def _train(
    job: Job, done: Done, section: TrainSection, images: Images, number: int
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
        clone_model(done.dense),
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
    if plan is None and done.softly is None:
        done.dense = done.model
    if done.softly is not None:
        _leave(job, done, done.softly)
        done.softly = None
    return curve


def _leave(job: Job, done: Done, softly: _Softly) -> None:
    """Remove the units that a training has settled on."""
    plan = softly.hook.plan
    assert plan is not None  # the recipe makes it train for long enough
    original = Original(done.model, job.inputs, job.options)
    pruned = stages.rebuild(original, plan, softly.aim, progress=job.journal)
    _take(done, softly.aim.size, pruned)


def _session(job: Job, done: Done, section: TrainSection, images: Images, number: int) -> Session:
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
