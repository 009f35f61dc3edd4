"""From what a run found to its report."""

from __future__ import annotations

__all__ = ["Findings", "StageReached", "summarise"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

import numpy as np

from prunekit.data.pairs import ImagePair, Skipped
from prunekit.depth import without_blocks
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.measure.cost import Cost
from prunekit.measure.counters import CounterResult
from prunekit.measure.environment import environment
from prunekit.measure.latency import Latency
from prunekit.measure.scores import Scores
from prunekit.pipeline.stages import Evaluation
from prunekit.plan import Plan, Reached, inside
from prunekit.recipe import Recipe, dump_recipe
from prunekit.report import BlockRow, CrossCheck, Entry, FrozenRow, GroupRow, Report, Sparsity
from prunekit.report.content import BICUBIC
from prunekit.report.crops import cut_crops, preview_images
from prunekit.surgery import Verification
from prunekit.train.curve import TrainingCurve
from prunekit.version import __version__


@dataclass(frozen=True)
class StageReached:
    """What a pruning stage came to."""

    size: tuple[int, int] | None
    """Width and height of the output at which targets counted; None: as traced."""
    targets: Sequence[Reached]


@dataclass(frozen=True, eq=False)
class Findings:
    """What was measured; empty where nothing was asked for."""

    graph: ChannelGraph
    """Of the dense network."""
    plan: Plan
    verifications: Sequence[Verification]
    curves: Sequence[TrainingCurve] = ()
    costs: Mapping[str, Cost] = field(default_factory=dict)
    latencies: Mapping[str, Latency] = field(default_factory=dict)
    counters: Mapping[str, Sequence[CounterResult]] = field(default_factory=dict)
    counted_at: tuple[int, ...] = ()
    """Shape of the input that `counters` saw."""
    evaluations: Mapping[str, Evaluation] = field(default_factory=dict)
    pairs: Sequence[ImagePair] = ()
    skipped: Mapping[str, Sequence[Skipped]] = field(default_factory=dict)
    """Images that were left out, by what they are for."""
    sparsity: Sparsity | None = None
    """Given if weights were set to zero."""
    reached: Sequence[StageReached] = ()
    """What each pruning stage came to."""


def summarise(recipe: Recipe, found: Findings, seconds: Sequence[tuple[str, float]]) -> Report:
    """Put everything that was found where the report wants it."""
    outputs = {name: evaluation.outputs for name, evaluation in found.evaluations.items()}
    ordered = {n: outputs[n] for n in (BICUBIC, *(o for o in outputs if o != BICUBIC)) if outputs}
    protocol = next((e.scores.protocol for e in found.evaluations.values()), recipe.protocol)
    crops = cut_crops(
        found.pairs,
        ordered,
        count=recipe.report.crops,
        size=recipe.report.crop_size,
        border=protocol.border or 0,
        channels=protocol.channels,
    )
    return Report(
        title=recipe.name,
        prunekit=__version__,
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        entries=_entries(found),
        convention=_convention(recipe, found),
        groups=_groups(found),
        blocks=_blocks(found),
        frozen=_frozen(found.graph),
        proof=max(found.verifications, key=lambda v: v.severity, default=None),
        sparsity=found.sparsity,
        cross_checks=tuple(
            CrossCheck(name, found.counted_at, tuple(results))
            for name, results in found.counters.items()
        ),
        training=tuple(found.curves),
        crops=crops,
        previews=preview_images(found.pairs, crops),
        seconds=tuple(seconds),
        environment=environment(),
        recipe=dump_recipe(recipe),
        notes=_notes(recipe, found),
    )


def _entries(found: Findings) -> tuple[Entry, ...]:
    names = list(found.evaluations) or list(found.costs)
    rows = []
    for name in names:
        cost, evaluation = found.costs.get(name), found.evaluations.get(name)
        rows.append(
            Entry(
                name,
                params=cost.params if cost else None,
                macs=cost.macs if cost else None,
                latency=found.latencies.get(name),
                quality=evaluation.scores if evaluation else None,
            )
        )
    return tuple(rows)


def _convention(recipe: Recipe, found: Findings) -> tuple[str, ...]:
    sentences = [
        _target(number, len(found.reached), stage, found.graph)
        for number, stage in enumerate(found.reached, 1)
    ]
    if found.costs:
        sentences.append(
            "MACs: multiply-accumulates of convolutions, linear layers and matrix products for "
            f"{_counted_on(next(iter(found.costs.values())))}; flops are twice as many."
        )
    if found.evaluations:
        sentences.append(_comparison(recipe, next(iter(found.evaluations.values())).scores))
    if found.latencies:
        latency = next(iter(found.latencies.values()))
        size = "{}x{}".format(*latency.input_size)
        given = f"one {size} LR image"
        if latency.frames is not None:
            given = f"one clip of {latency.frames} LR frames of {size}"
        sentences.append(
            f"Latency: median of {latency.repeats} forward passes of {given} "
            f"in {latency.dtype} on {latency.device} with {latency.threads} threads, networks in "
            "turns."
        )
    return tuple(sentences)


def _counted_on(cost: Cost) -> str:
    """Say what a network was given when its cost was counted."""
    if cost.output_size is None:
        return f"inputs of {' and '.join('x'.join(map(str, shape)) for shape in cost.shapes)}"
    pixels = "{}x{} output pixels".format(*cost.output_size)
    if cost.feed is None:
        return f"one image of {pixels}"
    return f"one frame of {pixels}, with {cost.feed.frames} frames given at once"


def _target(number: int, stages: int, stage: StageReached, graph: ChannelGraph) -> str:
    """Say what a pruning stage was asked for, and what its plan came to."""
    size = stage.size
    texts = "; ".join(map(str, stage.targets))
    sized = any(one.target.resource in ("macs", "memory", "latency") for one in stage.targets)
    if size is not None:
        texts += f", at {size[0]}x{size[1]} output pixels"
    elif sized and graph.output_shapes and len(graph.output_shapes[0]) > 1:
        height, width = graph.output_shapes[0][-2:]
        texts += f", at {width}x{height} output pixels"
    return f"Target{f' of pruning {number}' if stages > 1 else ''}: {texts}."


def _comparison(recipe: Recipe, scores: Scores) -> str:
    """Say how images were compared, and which."""
    protocol = scores.protocol
    channels = "luma of BT.601" if protocol.channels == "y" else "red, green and blue"
    images = recipe.data.evaluate if recipe.data else None
    given = images is not None and images.lr_folder is not None
    return (
        f"{protocol.label} and SSIM: {channels} of 8-bit images, {protocol.border} pixels cut off "
        f"every side, mean over {scores.over}, which took no part in training; "
        f"{'LR as given' if given else 'LR made by bicubic downscaling as in MATLAB'}, HR cut to a "
        f"multiple of {protocol.modcrop} pixels."
    )


def _groups(found: Findings) -> tuple[GroupRow, ...]:
    kept = {group.name: len(group.kept) for group in found.plan.groups}
    if found.plan.blocks:
        kept = {group.name: _left(group, found.plan) for group in found.graph.groups}
    return tuple(
        GroupRow(g.name, g.kind, g.width, kept[g.name], g.axes, g.params_share)
        for g in found.graph.groups
    )


def _left(group: ChannelGroup, plan: Plan) -> int:
    """Units that stay, by a tensor that does; without some blocks a group may be named anew."""
    member = next((m for m in group.members if not inside(m.tensor, plan.blocks)), None)
    if member is None:
        return 0
    tensor = next((t for t in plan.tensors if t.name == member.tensor), None)
    kept = None if tensor is None else tensor.kept.get(member.axis)
    return group.width if kept is None else int(np.isin(member.indices[:, 0], kept).sum())


def _blocks(found: Findings) -> tuple[BlockRow, ...]:
    whole = found.graph.params()
    params = {n: whole - without_blocks(found.graph, {n}).params() for n in found.plan.blocks}
    return tuple(BlockRow(name, count, count / whole) for name, count in params.items())


def _frozen(graph: ChannelGraph) -> tuple[FrozenRow, ...]:
    """Frozen axes by reason and operator, the most frequent first."""
    modules: dict[tuple[str, str], list[str]] = {}
    for axis in graph.frozen:
        modules.setdefault((axis.reason.text, axis.reason.operator), []).append(axis.reason.module)
    return tuple(
        FrozenRow(text, operator, _where(where), len(where))
        for (text, operator), where in sorted(modules.items(), key=lambda item: -len(item[1]))
    )


def _where(modules: Sequence[str]) -> str:
    """Name the module, or say how many there are."""
    different = set(modules)
    return modules[0] if len(different) == 1 else f"{len(different)} modules"


def _notes(recipe: Recipe, found: Findings) -> tuple[str, ...]:
    proof = (
        "The proof compares the rebuilt network, before any fine-tuning, with the dense network "
        f"whose removed channels {'and blocks ' if found.plan.blocks else ''}are zero; it says "
        "nothing of image quality."
    )
    traced = (
        "The channel graph was read from one forward pass: branches of the network's code that "
        "this pass did not take are not covered."
    )
    notes = [proof, traced] if found.verifications else [traced]
    notes += found.sparsity.notes if found.sparsity else ()
    if len(found.verifications) > 1:
        notes.append(
            f"There were {len(found.verifications)} pruning stages; each was proven against the "
            "network before it, and the largest error of all is shown."
        )
    if not found.plan.exact:
        notes.append(
            "Norms, means and the like that run over removed channels run over those that stay; in "
            "the proof they do so in the dense network too."
        )
    whole: dict[str, list[str]] = {}
    for group in found.plan.groups:
        if group.reason:
            whole.setdefault(group.reason, []).append(group.name)
    notes += [f"Left whole ({reason}): {', '.join(names)}." for reason, names in whole.items()]
    for purpose, skipped in found.skipped.items():
        notes += [f"Left out of the {purpose} images: '{s.name}' ({s.reason})." for s in skipped]
    if recipe.evaluate is not None and recipe.evaluate.latency is None:
        notes.append("Latency was not measured; fewer MACs do not promise less time.")
    if found.latencies:
        notes.append("Latency is of this machine and PyTorch; other runtimes differ.")
    return tuple(notes)
