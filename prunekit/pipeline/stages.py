"""The stages of a run: prune, train, evaluate and count, each from plain data to plain data."""

from __future__ import annotations

__all__ = [
    "Pruned",
    "TrainingPairs",
    "count",
    "count_otherwise",
    "evaluate_all",
    "load_images",
    "load_training",
    "prune",
    "read_graph",
    "rebuild",
    "time_all",
    "train",
]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from prunekit.data.cache import GIB, Cache
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
from prunekit.data.patches import Window
from prunekit.errors import SurgeryError, VerificationError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions, trace
from prunekit.measure.cost import Cost, measure_cost
from prunekit.measure.counters import CounterResult, cross_check
from prunekit.measure.evaluate import Evaluation, evaluate, evaluate_bicubic
from prunekit.measure.latency import Latency, measure_latency
from prunekit.methods import METHODS, Wanted
from prunekit.pipeline.aim import Aim, aim_at, confirm
from prunekit.plan import Plan, Reached
from prunekit.progress import Progress
from prunekit.recipe import (
    CacheSection,
    ImagesSection,
    LatencySection,
    PruneSection,
    TrainImagesSection,
    TrainSection,
)
from prunekit.surgery import Verification, apply, find_culprits, prove
from prunekit.train.curve import TrainingCurve
from prunekit.train.loop import Session, finetune
from prunekit.train.options import Distill, TrainOptions

TrainingPairs = Pairs[ImagePair] | Pairs[ClipPair]


@dataclass(frozen=True, eq=False)
class Pruned:
    """What one pruning stage made."""

    plan: Plan
    model: nn.Module
    verification: Verification
    reached: tuple[Reached, ...] = ()
    """What the plan came to, target by target."""


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
    aim: Aim | None = None,
) -> Pruned:
    """Plan by the graph of the model, rebuild and verify; the model given is untouched.

    `aim` is what `aim_at` found for this graph and section, if that was asked before.

    Groups that the network's own code does not let shrink, such as one whose width it takes the
    root of, show in the proof: they are found, stay whole, and it is planned anew.

    Raises:
        PlanError: the target cannot be met with what is left.
        SurgeryError: the plan cannot be carried out, and no group alone is to blame.
        VerificationError: the proof fails, likewise.
    """
    held: dict[str, str] = {}
    aim = aim or aim_at(section, model, graph, inputs, options, progress=progress)
    plan_for = _planner(model, graph, section, seed, held, progress=progress)
    while True:
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


def _planner(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    seed: int,
    held: Mapping[str, str],
    *,
    progress: Progress,
) -> Callable[[Wanted], Plan]:
    """Plan with the method of a section, for whatever is wanted; `held` may grow in between."""

    def plan_for(wanted: Wanted) -> Plan:
        progress.start("plan")
        method = METHODS[section.method]
        plan = method(model, graph, section, seed=seed, held=held, wanted=wanted)
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
    pruned = _rebuild(model, plan, inputs, options, progress)
    return replace(pruned, reached=aim.reached(pruned.plan, measured))


def _rebuild(
    model: nn.Module, plan: Plan, inputs: Inputs, options: TraceOptions, progress: Progress
) -> Pruned:
    progress.start("rebuild")
    slim = apply(plan, model)
    progress.finish(f"{len(plan.tensors)} tensors sliced")
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


def load_images(
    section: ImagesSection, scale: int, cache: CacheSection, *, purpose: str, progress: Progress
) -> Pairs[ImagePair]:
    """Read the images of a section of a recipe, or every frame of its clips.

    Those of 16 bits are kept for training and rounded to 8 for evaluation.
    """
    return load_pairs(
        _source(section),
        scale,
        purpose=purpose,
        modcrop=section.modcrop,
        alpha=section.alpha,
        deep=isinstance(section, TrainImagesSection),
        skip_unreadable=section.skip_unreadable,
        cache=_cache(cache) if section.cached else None,
        progress=progress,
    )


def load_training(
    section: TrainImagesSection, scale: int, cache: CacheSection, *, progress: Progress
) -> TrainingPairs:
    """Read what to train on: whole clips if the section asks for several frames, else images."""
    if section.frames is None:
        return load_images(section, scale, cache, purpose="training", progress=progress)
    source = _source(section)
    assert isinstance(source, Clips)  # frames are of clips
    return load_clips(
        source,
        scale,
        purpose="training",
        modcrop=section.modcrop,
        alpha=section.alpha,
        deep=True,
        skip_unreadable=section.skip_unreadable,
        cache=_cache(cache) if section.cached else None,
        progress=progress,
    )


def _source(section: ImagesSection) -> ImageSource:
    if section.folder is not None:
        return Folder(section.folder, section.names, section.lr_folder)
    if section.clips is not None:
        return Clips(section.clips, section.names, section.lr_folder)
    return Photographs(section.names)


def _cache(section: CacheSection) -> Cache:
    limit = int(section.limit_gib * GIB)
    return Cache(limit=limit) if section.folder is None else Cache(section.folder, limit)


def train(
    model: nn.Module,
    teacher: nn.Module,
    section: TrainSection,
    pairs: TrainingPairs,
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
    pairs: Sequence[ImagePair],
    *,
    border: int,
    progress: Progress,
) -> dict[str, Evaluation]:
    """Score networks and bicubic on held-out images."""
    scores = {
        name: evaluate(model, pairs, border=border, progress=progress, name=name)
        for name, model in models.items()
    }
    return {**scores, "bicubic": evaluate_bicubic(pairs, border=border)}


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
