"""The stage that removes whole blocks: what it aims at, and what it makes."""

from __future__ import annotations

__all__ = ["DepthAim", "aim_at_blocks", "remove_blocks"]

from dataclasses import dataclass, field, replace
from itertools import chain
from typing import cast

from torch import nn

from prunekit.depth import (
    Blocks,
    DepthPlan,
    Part,
    check_block_reach,
    choose_blocks,
    find_blocks,
    parts_of,
    plan_blocks,
    score_blocks,
    subjects_of,
)
from prunekit.errors import PlanError, SurgeryError, VerificationError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions
from prunekit.pipeline.aim import graph_at
from prunekit.pipeline.stages import Pruned, carry_out
from prunekit.plan import Kind, Target
from prunekit.progress import Progress
from prunekit.recipe import DepthSection
from prunekit.score import CRITERIA, Calibration, Criterion, gather
from prunekit.surgery import Original, apply, prove


@dataclass(frozen=True, eq=False)
class DepthAim:
    """Targets of a stage that removes blocks, found in reach."""

    graph: ChannelGraph
    sized: ChannelGraph
    """At the size at which macs count."""
    blocks: Blocks
    targets: tuple[Target, ...]
    size: tuple[int, int] | None
    """Width and height of the output at which macs count; None: as traced."""
    section: DepthSection = field(repr=False)

    def parts(self, held: tuple[str, ...] = ()) -> tuple[Part, ...]:
        """What may leave, if some blocks are held."""
        protect = (*self.section.protect, *held)
        return parts_of(self.sized, self.blocks, among=self.section.blocks, protect=protect)


def aim_at_blocks(
    section: DepthSection,
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    options: TraceOptions,
    *,
    progress: Progress,
) -> DepthAim:
    """Find the blocks, and see that the targets of a section can be met, before any other work.

    Raises:
        PlanError: a target is out of reach (the message says what is in reach), no block may
            leave, or a glob matches nothing.
        RecipeError: the network does not go with the target.
    """
    progress.start("find blocks")
    blocks = find_blocks(model, graph, inputs)
    progress.finish(f"{len(blocks.found)} can be removed")
    size = section.target.output_size
    sized = graph if size is None else graph_at(size, model, graph, options)[0]
    asked = section.target.asked.items()
    targets = tuple(Target(cast("Kind", kind), amount) for kind, amount in asked)
    aim = DepthAim(graph, sized, blocks, targets, size, section)
    check_block_reach(sized, aim.parts(), targets)
    return aim


def remove_blocks(
    model: nn.Module,
    aim: DepthAim,
    inputs: Inputs,
    options: TraceOptions,
    *,
    seed: int,
    progress: Progress,
    criterion: Criterion | None = None,
    calibration: Calibration | None = None,
) -> Pruned:
    """Rank the blocks, remove the least important ones, and prove the rest; the model stays.

    Blocks without which the network's own code does not run, or computes something else, show in
    the proof: they are found, stay, and it is planned anew.

    Args:
        model: the network to prune.
        aim: what `aim_at_blocks` found for it.
        inputs: for the proof.
        options: as it was traced.
        seed: of chance.
        progress: told what is going on.
        criterion: in place of that of the section.
        calibration: what it looks at, if it does.

    Raises:
        DataError: the criterion looks at images and there is no calibration data.
        PlanError: there is nothing to score, or the target cannot be met with what is left.
        SurgeryError: the plan cannot be carried out, and no block alone is to blame.
        VerificationError: the proof fails, likewise.
    """
    criterion = criterion or CRITERIA[aim.section.criterion]
    held: tuple[str, ...] = ()
    original = Original(model, inputs, options)
    while True:
        chosen = _chosen(
            model,
            aim,
            aim.parts(held),
            criterion,
            calibration=calibration,
            seed=seed,
            progress=progress,
        )
        try:
            pruned = carry_out(original, chosen.plan, progress=progress)
            return replace(pruned, reached=chosen.reached)
        except (SurgeryError, VerificationError):
            progress.finish("does not hold")
            faulty = _faulty(original, aim.graph, chosen)
            if not faulty:
                raise
            held += faulty
            names = ", ".join(f"'{name}'" for name in faulty)
            progress.warn(f"blocks {names} stay: without one the network computes something else")


def _chosen(
    model: nn.Module,
    aim: DepthAim,
    parts: tuple[Part, ...],
    criterion: Criterion,
    *,
    calibration: Calibration | None,
    seed: int,
    progress: Progress,
) -> DepthPlan:
    subjects = subjects_of(model, aim.graph, parts, criterion)
    evidence = gather(
        model,
        tuple(chain.from_iterable(subjects.values())),
        criterion,
        calibration,
        outputs=aim.graph.output_axes,
        progress=progress,
    )
    found = score_blocks(model, aim.graph, parts, criterion, seed=seed, evidence=evidence)
    if not found.scores:
        (why,) = set(found.unscored.values())
        message = (
            f"criterion '{criterion.name}' has nothing to score: no block that may leave has "
            f"{_what(why)}; take another, such as 'l2'"
        )
        raise PlanError(message)
    progress.start("plan")
    chosen = choose_blocks(aim.graph, parts, found.scores, aim.targets, sized=aim.sized)
    progress.finish(f"{len(chosen.order)} of {len(parts)} blocks leave")
    if found.unscored:
        names = ", ".join(f"'{name}'" for name in list(found.unscored)[:3])
        progress.warn(f"blocks without a score stay: {names}")
    return chosen


def _what(lacking: str) -> str:
    """`no batch norm` as `a batch norm`."""
    return lacking.replace("no ", "any ", 1)


def _faulty(original: Original, graph: ChannelGraph, chosen: DepthPlan) -> tuple[str, ...]:
    """Blocks that cannot leave even alone."""
    found = []
    for name in chosen.order:
        alone = plan_blocks(graph, [name])
        try:
            prove(original, apply(alone, original.model), alone)
        except (SurgeryError, VerificationError):
            found.append(name)
    return tuple(found)
