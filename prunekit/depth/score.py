"""How much each block matters, by the criteria that rank channels."""

from __future__ import annotations

__all__ = ["BlockScores", "score_blocks", "subjects_of"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from prunekit.depth.parts import Part
from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, ChannelGroup, Member
from prunekit.score import CRITERIA, NOTHING, Criterion, Evidence, score_some
from prunekit.score.slices import Layers
from prunekit.surgery.weightnorm import directions_of

_WITHIN_GROUPS = frozenset({"lamp", "reconstruction", "reconstruction_varying"})
"""Criteria whose scores are shares within a group or layer, which say nothing of a block."""

_OF_UNITS = frozenset({"fpgm", "activation", "activation_variance", "apoz"})
"""Criteria that tell units of one layer apart: a block scores what its units do together."""


@dataclass(frozen=True)
class BlockScores:
    """What a criterion says of some parts."""

    scores: Mapping[str, float]
    """By path, higher = keep."""
    unscored: Mapping[str, str]
    """The others, and why there is nothing of them to score."""


def subjects_of(
    model: nn.Module, graph: ChannelGraph, parts: Sequence[Part], criterion: Criterion
) -> dict[str, tuple[ChannelGroup, ...]]:
    """What a criterion scores of each part, in the form of groups, as `gather` takes them.

    For most criteria a block is one unit, whose slices are its parameters: to remove it is to set
    them to zero, as with any unit, and they count once. Of a weight norm the gain counts, as the
    direction has no effect without it. For those of `fpgm` and of what layers read, and for a
    criterion of the user's own, the units are those of the channel groups in the block, with the
    slices that lie in it.

    Raises `PlanError` for a criterion that says nothing of blocks.
    """
    if criterion.name in _WITHIN_GROUPS:
        message = (
            f"criterion '{criterion.name}' tells shares within a group or layer, which say nothing "
            "of a whole block; take another, such as 'l2', 'taylor' or 'output'"
        )
        raise PlanError(message)
    if _is_of_units(criterion):
        return {part.name: tuple(_units(graph, part)) for part in parts}
    layers, directions = Layers(model, graph.output_axes), directions_of(model)
    return {part.name: (_as_unit(graph, part, layers, directions),) for part in parts}


def score_blocks(
    model: nn.Module,
    graph: ChannelGraph,
    parts: Sequence[Part],
    criterion: Criterion,
    *,
    seed: int = 0,
    evidence: Evidence = NOTHING,
) -> BlockScores:
    """Score every part: the sum over its slices, or over its units where it has several.

    Args:
        model: the network that the graph is of.
        graph: of it.
        parts: what may leave.
        criterion: one that says something of blocks.
        seed: of chance.
        evidence: what `gather` measured of `subjects_of` the same, if it looks at images.

    Raises:
        PlanError: a score is not finite, or the criterion says nothing of blocks.
    """
    subjects = subjects_of(model, graph, parts, criterion)
    groups = [group for part in parts for group in subjects[part.name]]
    found = score_some(
        model,
        groups,
        criterion,
        seed=seed,
        reduction=None if _is_of_units(criterion) else "sum",
        evidence=evidence,
        outputs=graph.output_axes,
    )
    scores, unscored = {}, {}
    for name, own in subjects.items():
        each = [float(found.scores[g.name].sum()) for g in own if g.name in found.scores]
        if each:
            scores[name] = sum(each)
        else:
            unscored[name] = criterion.lacking
    return BlockScores(scores, unscored)


def _is_of_units(criterion: Criterion) -> bool:
    """Whether it looks at the units in a block, as what a user brings does too."""
    return criterion.name in _OF_UNITS or criterion is not CRITERIA.get(criterion.name)


def _as_unit(
    graph: ChannelGraph, part: Part, layers: Layers, directions: Mapping[str, int]
) -> ChannelGroup:
    members = []
    for name in part.parameters:
        shape = graph.shapes[name]
        if name in directions or not shape:
            continue
        axes = [axis for axis in range(len(shape)) if layers.role(name, axis) == "makes"]
        axis = next(iter(axes), 0)
        members.append(Member(name, axis, np.arange(shape[axis])[None]))
    return ChannelGroup(
        name=part.name,
        kind="block",
        width=1,
        members=tuple(members),
        exact=True,
        params_share=0.0,
        classes=np.arange(1),
    )


def _units(graph: ChannelGraph, part: Part) -> Iterator[ChannelGroup]:
    own = frozenset(part.parameters)
    for group in graph.groups:
        members = [member for member in group.members if member.tensor in own]
        if members:
            yield replace(group, name=f"{part.name}: {group.name}", members=tuple(members))
