"""Make the scores of different groups comparable with each other."""

from __future__ import annotations

__all__ = ["comparable"]

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph
from prunekit.score import Normalisation

Scores = NDArray[np.float64]

_NOTHING = 1e-300
"""Divides where all scores of a group are zero."""


def comparable(
    graph: ChannelGraph, scores: Mapping[str, Scores], normalisation: Normalisation
) -> dict[str, Scores]:
    """Normalise the scores of every group, each in its own order, none below zero.

    Raises `PlanError` for scores that cannot be, and names their group.
    """
    made = {name: _normalised(graph, name, each, normalisation) for name, each in scores.items()}
    lowest = min((float(each.min()) for each in made.values()), default=0.0)
    if lowest < 0:  # as with `gaussian`: what a unit loses is counted from the least of all
        made = {name: each - lowest for name, each in made.items()}
    return made


def _normalised(
    graph: ChannelGraph, name: str, scores: Scores, normalisation: Normalisation
) -> Scores:
    _check(graph, name, scores, normalisation)
    match normalisation:
        case "none":
            return scores
        case "mean":
            return scores / max(float(np.mean(scores)), _NOTHING)
        case "sum":
            return scores / max(float(np.sum(scores)), _NOTHING)
        case "max":
            return scores / max(float(np.max(scores)), _NOTHING)
        case "gaussian":
            return (scores - float(np.mean(scores))) / max(float(np.std(scores)), _NOTHING)
        case "size":
            return scores / (graph.params() - graph.params({name: len(scores) - 1}) or 1)


def _check(graph: ChannelGraph, name: str, scores: Scores, normalisation: Normalisation) -> None:
    if scores.shape != (graph.widths.get(name, len(scores)),) or not np.isfinite(scores).all():
        message = (
            f"the scores of group '{name}' are not finite, or not one for each of its units; "
            "a criterion gives a number for every unit"
        )
        raise PlanError(message)
    if normalisation in ("mean", "sum", "max") and scores.min() < 0:
        message = (
            f"scores of group '{name}' are below zero, so they cannot be divided by their "
            f"{normalisation}; take normalisation none or gaussian"
        )
        raise PlanError(message)
