"""The stages of a run: prune, train, evaluate and count, each from plain data to plain data."""

from __future__ import annotations

__all__ = [
    "EitherPairs",
    "Evaluation",
    "Masked",
    "Pruned",
    "calibrate",
    "carry_out",
    "count",
    "count_otherwise",
    "evaluate_all",
    "load_held_out",
    "load_training",
    "mask",
    "measure",
    "open_cache",
    "pictures",
    "probe_on",
    "prune",
    "read_graph",
    "rebuild",
    "soften",
    "time_all",
    "train",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import nn

from prunekit.data.cache import GIB, Cache
from prunekit.data.image import Image
from prunekit.data.pairs import (
    ClipPair,
    Clips,
    Folder,
    ImagePair,
    ImageSource,
    Pairs,
    Photographs,
    load_clips,
    load_pairs,
)
from prunekit.data.patches import Patches, Window, without_small
from prunekit.errors import SurgeryError, VerificationError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions, trace
from prunekit.measure.cost import Cost, measure_cost
from prunekit.measure.counters import CounterResult, cross_check
from prunekit.measure.evaluate import evaluate, evaluate_bicubic, frame_name
from prunekit.measure.feed import Feed
from prunekit.measure.latency import Latency, measure_latency
from prunekit.measure.protocol import Protocol
from prunekit.measure.scores import Scores
from prunekit.measure.sensitivity import Measurements, Probe, sample
from prunekit.methods import METHODS, SoftFilters, Wanted, mask_rule, measure_filters
from prunekit.pipeline.aim import Aim, aim_at, confirm
from prunekit.plan import Plan, Reached, Sensitivity
from prunekit.progress import Progress, Silent
from prunekit.recipe import (
    CacheSection,
    CalibrationSection,
    DepthSection,
    HeldOutSection,
    ImagesSection,
    LatencySection,
    PruneSection,
    SensitivitySection,
    TrainImagesSection,
    TrainSection,
    UnstructuredSection,
)
from prunekit.report.content import BICUBIC
from prunekit.score import CRITERIA, Calibration, Criterion, Evidence, gather
from prunekit.sparse import MaskProof, Masks, apply_masks, choose_masks, prove_masks
from prunekit.surgery import Verification, apply, find_culprits, prove
from prunekit.train.curve import TrainingCurve
from prunekit.train.loop import Session, finetune
from prunekit.train.options import Distill, TrainOptions

EitherPairs = Pairs[ImagePair] | Pairs[ClipPair]


@dataclass(frozen=True, eq=False)
class Pruned:
    """What one pruning stage made."""

    plan: Plan
    model: nn.Module
    verification: Verification
    reached: tuple[Reached, ...] = ()
    """What the plan came to, target by target."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a network is, and what it made of the images."""

    scores: Scores
    outputs: tuple[Image, ...]
    """8-bit, of the images that are shown, in their order."""


def read_graph(
    model: nn.Module, inputs: Inputs, options: TraceOptions, *, progress: Progress
) -> ChannelGraph:
    """Trace a network."""
    progress.start("trace")
    graph = trace(
        model,
        inputs,
        attention=options.attention,
        rules=options.rules,
        opaque=options.opaque,
    )
    progress.finish(f"{graph.operators} operators, {len(graph.groups)} groups")
    return graph


def prune(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    inputs: Inputs,
    options: TraceOptions,
    *,
    seed: int,
    progress: Progress,
    criterion: Criterion | None = None,
    calibration: Calibration | None = None,
    probe: Probe | None = None,
    aim: Aim | None = None,
) -> Pruned:
    """Plan by the graph of the model, rebuild and verify; the model given is untouched.

    Groups that the network's own code does not let shrink, such as one whose width it takes the
    root of, show in the proof: they are found, stay whole, and it is planned anew.

    Args:
        model: the network to prune.
        graph: of it.
        section: what to do.
        inputs: for the proof.
        options: as it was traced.
        seed: of chance.
        progress: told what is going on.
        criterion: in place of that of the section.
        calibration: what it looks at, if it does.
        probe: what an allocation that measures does so on.
        aim: what `aim_at` found for this graph and section, if that was asked before.

    Raises:
        DataError: the criterion looks at images and there is no calibration data.
        PlanError: the target cannot be met with what is left.
        SurgeryError: the plan cannot be carried out, and no group alone is to blame.
        VerificationError: the proof fails, likewise.
    """
    held: dict[str, str] = {}
    criterion = criterion or CRITERIA[section.criterion]
    aim = aim or aim_at(section, model, graph, inputs, options, progress=progress)
    evidence = _gather(model, graph, criterion, calibration, progress)
    while True:
        sensitivity = None
        if probe is not None:
            sensitivity = measure_filters(
                model,
                graph,
                section,
                probe,
                seed=seed,
                held=held,
                criterion=criterion,
                evidence=evidence,
            )
        method = partial(
            METHODS[section.method],
            model,
            graph,
            section,
            seed=seed,
            held=held,
            criterion=criterion,
            evidence=evidence,
            sensitivity=sensitivity,
        )
        plan_for = _planner(method, progress)
        plan, measured = plan_for(aim.wanted), None
        try:
            if aim.latency is not None:
                plan, measured = confirm(aim, model, plan, plan_for, progress=progress)
            return rebuild(
                model, plan, aim, inputs, options=options, measured=measured, progress=progress
            )
        except (SurgeryError, VerificationError):
            progress.finish("does not hold")
            found = find_culprits(model, graph, plan, inputs, options=options, progress=progress)
            if not found:
                raise
            held |= found
            names = ", ".join(f"'{name}'" for name in list(found)[:3])
            more = f" and {len(found) - 3} more" if len(found) > 3 else ""  # noqa: PLR2004
            why = next(iter(found.values()))
            progress.warn(f"groups {names}{more} stay whole: {why}")


def _planner(method: Callable[..., Plan], progress: Progress) -> Callable[[Wanted], Plan]:
    """Plan with a method for whatever is wanted."""

    def plan_for(wanted: Wanted) -> Plan:
        progress.start("plan")
        plan = method(wanted=wanted)
        progress.finish(f"macs {_percent(plan.macs)}, params {_percent(plan.params)}")
        return plan

    return plan_for


def rebuild(
    model: nn.Module,
    plan: Plan,
    aim: Aim,
    inputs: Inputs,
    *,
    options: TraceOptions,
    measured: float | None = None,
    progress: Progress,
) -> Pruned:
    """Carry out a plan and prove it; `measured` is what its latency came to, if it was timed."""
    pruned = carry_out(model, plan, inputs, options, progress=progress)
    return replace(pruned, reached=aim.reached(pruned.plan, measured))


def soften(
    aim: Aim,
    section: PruneSection,
    rehearsed: Plan,
    *,
    seed: int,
    criterion: Criterion | None = None,
    calibration: Calibration | None = None,
) -> SoftFilters:
    """Take part in a training, at the end of which it is settled which units leave.

    Args:
        aim: of the network that is going to train.
        section: says when; it has `soft`.
        rehearsed: what `prune` would do with the network as it is. Groups that it holds stay whole.
        seed: of chance.
        criterion: in place of that of the section.
        calibration: what it looks at, if it does.
    """
    course = section.soft
    assert course is not None
    criterion = criterion or CRITERIA[section.criterion]
    held = {group.name: group.reason for group in rehearsed.groups if group.reason}

    def plan_for(model: nn.Module, share: float) -> Plan:
        return METHODS[section.method](
            model,
            aim.graph,
            section,
            seed=seed,
            held=held,
            criterion=criterion,
            evidence=_gather(model, aim.graph, criterion, calibration, Silent()),
            wanted=aim.wanted.partly(share, aim.origin.costs),
        )

    return SoftFilters(
        plan_for,
        aim.graph.output_axes,
        begin=course.begin,
        until=course.until,
        every=course.every,
        told=section.model_dump_json(),
    )


def carry_out(
    model: nn.Module, plan: Plan, inputs: Inputs, options: TraceOptions, *, progress: Progress
) -> Pruned:
    """Rebuild a network as a plan says, and prove it. Raises as `apply` and `prove` do."""
    progress.start("rebuild")
    slim = apply(plan, model)
    blocks = f", {len(plan.blocks)} modules replaced" if plan.blocks else ""
    progress.finish(f"{len(plan.tensors)} tensors sliced{blocks}")
    progress.start("verify")
    plan, verification = prove(model, slim, plan, inputs, options=options)
    progress.finish(f"largest error {verification.max_error:.1e} ({verification.dtype})")
    if verification.amplified:
        progress.warn(
            "the network amplifies rounding, so its own weights prove little; the proof is that of "
            f"generic weights, with an error of {verification.generic_error:.1e} of what removal "
            "changes"
        )
    return Pruned(plan, slim, verification)


def measure(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    probe: Probe,
    *,
    seed: int,
    calibration: Calibration | None = None,
) -> Sensitivity:
    """Measure what removing units of each group alone costs, as `prune` does with the same.

    Raises:
        DataError: the criterion looks at images and there is no calibration data.
        PlanError: no group may get narrower.
        MeasureError: the network gives no image.
    """
    criterion = CRITERIA[section.criterion]
    evidence = _gather(model, graph, criterion, calibration, probe.progress)
    return measure_filters(
        model, graph, section, probe, seed=seed, held={}, criterion=criterion, evidence=evidence
    )


def _gather(
    model: nn.Module,
    graph: ChannelGraph,
    criterion: Criterion,
    calibration: Calibration | None,
    progress: Progress,
) -> Evidence:
    return gather(
        model, graph.groups, criterion, calibration, outputs=graph.output_axes, progress=progress
    )


def calibrate(
    section: PruneSection | DepthSection,
    pairs: EitherPairs,
    *,
    window: Window | None,
    seed: int,
) -> Calibration:
    """Cut the patches that a criterion looks at."""
    asked = section.calibration or CalibrationSection()
    patches = Patches(pairs, patch_size=asked.patch_size, seed=seed, window=window)
    return Calibration.cut(patches, batches=asked.batches, batch_size=asked.batch_size)


def probe_on(
    pairs: Sequence[ImagePair],
    section: SensitivitySection,
    cache: CacheSection,
    *,
    border: int,
    progress: Progress,
) -> Probe:
    """Make ready what sensitivity is measured on; figures are kept beside decoded images."""
    return Probe(
        sample(pairs, section.images, section.crop),
        border,
        section.points,
        Measurements(open_cache(cache).folder),
        progress,
    )


@dataclass(frozen=True, eq=False)
class Masked:
    """What one stage of unstructured pruning made."""

    masks: Masks
    model: nn.Module
    proof: MaskProof


def mask(
    model: nn.Module, section: UnstructuredSection, before: Masks | None, *, progress: Progress
) -> Masked:
    """Set the smallest weights to zero, and prove that nothing else has changed.

    Raises:
        PlanError: a glob matches nothing, or the target is out of reach.
        VerificationError: the proof fails.
    """
    progress.start("mask")
    masks = choose_masks(model, mask_rule(section), before=before)
    masked = apply_masks(model, masks)
    proof = prove_masks(model, masked, masks)
    progress.finish(f"{masks.zeros:,} of {masks.weights:,} weights are zero")
    return Masked(masks, masked, proof)


def load_training(
    section: TrainImagesSection,
    scale: int,
    cache: CacheSection,
    *,
    patch_size: int,
    progress: Progress,
) -> EitherPairs:
    """Read what to train on: whole clips if the section asks for several frames, else images.

    Those of 16 bits are kept. What is too small for patches of so many pixels is left out with
    what is unreadable, if the section says so.
    """
    window = Window(section.frames, section.target) if section.frames else None
    pairs = _load(
        section,
        scale,
        cache,
        whole=window is not None,
        modcrop=section.modcrop,
        purpose="training",
        progress=progress,
    )
    if not section.skip_unreadable:
        return pairs
    left: Callable[..., EitherPairs] = without_small
    return left(pairs, patch_size, window, progress=progress)


def load_held_out(
    section: HeldOutSection,
    scale: int,
    cache: CacheSection,
    *,
    modcrop: int | None,
    progress: Progress,
) -> EitherPairs:
    """Read what to evaluate on: whole clips if the network is fed with them, else images.

    Those of 16 bits are rounded to 8; `modcrop` is that of the protocol.
    """
    return _load(
        section,
        scale,
        cache,
        whole=section.feed is not None,
        modcrop=modcrop,
        purpose="held-out",
        progress=progress,
    )


def _load(
    section: ImagesSection,
    scale: int,
    cache: CacheSection,
    *,
    whole: bool,
    modcrop: int | None,
    purpose: str,
    progress: Progress,
) -> EitherPairs:
    source = _source(section)
    load: Callable[..., EitherPairs] = load_pairs
    if whole:
        assert isinstance(source, Clips)  # frames are of clips
        load = load_clips
    return load(
        source,
        scale,
        purpose=purpose,
        modcrop=modcrop,
        alpha=section.alpha,
        deep=isinstance(section, TrainImagesSection),
        skip_unreadable=section.skip_unreadable,
        cache=open_cache(cache) if section.cached else None,
        progress=progress,
    )


def pictures(pairs: EitherPairs) -> Sequence[ImagePair]:
    """Return images to show: all of them, or the frame in the middle of every clip."""
    shown: list[ImagePair] = []
    for pair in pairs:
        if isinstance(pair, ImagePair):
            shown.append(pair)
        else:
            middle = len(pair.lr) // 2
            name = frame_name(pair.name, middle)
            shown.append(ImagePair(name, pair.lr[middle].copy(), pair.hr[middle].copy()))
    return shown


def _source(section: ImagesSection) -> ImageSource:
    if section.folder is not None:
        return Folder(section.folder, section.names, section.lr_folder)
    if section.clips is not None:
        return Clips(section.clips, section.names, section.lr_folder)
    return Photographs(section.names)


def open_cache(section: CacheSection) -> Cache:
    """Say where decoded images and outputs of a teacher are kept."""
    limit = int(section.limit_gib * GIB)
    return Cache(limit=limit) if section.folder is None else Cache(section.folder, limit)


def train(
    model: nn.Module,
    teacher: nn.Module,
    section: TrainSection,
    pairs: EitherPairs,
    session: Session,
    *,
    window: Window | None,
    seed: int,
    progress: Progress,
) -> TrainingCurve:
    """Fine-tune in place, with distillation if the section asks for it."""
    distill = section.distill
    exclude = {"distill", "tensorboard"} | (set() if session.folder else {"checkpoint_every"})
    options = TrainOptions(
        **section.model_dump(exclude=exclude),
        distill=None if distill is None else Distill(**distill.model_dump()),
    )
    return finetune(
        model,
        pairs,
        options,
        window=window,
        teacher=None if distill is None else teacher,
        seed=seed,
        device=_device(model),
        progress=progress,
        session=session,
    )


def evaluate_all(
    models: Mapping[str, nn.Module],
    pairs: EitherPairs,
    protocol: Protocol,
    feed: Feed | None,
    *,
    shown: Sequence[str],
    progress: Progress,
) -> dict[str, Evaluation]:
    """Score networks and bicubic on held-out images or clips.

    What they make of those that are `shown` by name is kept.
    """
    found = {}
    for name, model in {**models, BICUBIC: None}.items():
        kept = _Kept(dict.fromkeys(shown))
        if model is None:
            scores = evaluate_bicubic(pairs, protocol, take=kept.take)
        else:
            scores = evaluate(
                model, pairs, protocol, feed=feed, progress=progress, name=name, take=kept.take
            )
        found[name] = Evaluation(scores, kept.outputs)
    return found


@dataclass(frozen=True)
class _Kept:
    """Outputs by name, of the names that are in there from the beginning."""

    by_name: dict[str, Image | None]

    def take(self, name: str, output: Image) -> None:
        if name in self.by_name:
            self.by_name[name] = output

    @property
    def outputs(self) -> tuple[Image, ...]:
        return tuple(output for output in self.by_name.values() if output is not None)


def count(
    models: Mapping[str, nn.Module],
    *,
    scale: int,
    output_size: tuple[int, int],
    with_values: bool = False,
    at_most: int | None = None,
) -> dict[str, Cost]:
    """Parameters and multiply-accumulates at an output size (width, height).

    Nothing is run but where values are asked for. Raises `MeasureError` for a network that runs
    more than `at_most` operators.
    """
    return {
        name: measure_cost(
            model,
            scale=scale,
            output_size=output_size,
            with_values=with_values,
            at_most=at_most,
        )
        for name, model in models.items()
    }


def count_otherwise(
    models: Mapping[str, nn.Module], inputs: torch.Tensor, *, progress: Progress
) -> dict[str, tuple[CounterResult, ...]]:
    """Ask other counters too, at the size of the example input."""
    progress.start("cross-check macs", len(models))
    results = {}
    for name, model in models.items():
        results[name] = cross_check(model, (inputs,))
        progress.advance()
    progress.finish()
    return results


def time_all(
    models: Mapping[str, nn.Module],
    section: LatencySection,
    *,
    scale: int,
    progress: Progress,
) -> dict[str, Latency]:
    """Measure the latency of networks in turns, at an output size."""
    width, height = (side // scale for side in section.output_size)
    return measure_latency(
        models,
        input_shape=(1, 3, height, width),
        repeats=section.repeats,
        warmup=section.warmup,
        progress=progress,
    )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def _percent(pair: tuple[int, int]) -> str:
    before, after = pair
    return f"{after / before - 1:+.1%}"
