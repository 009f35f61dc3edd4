"""Scores of the units of groups by a criterion."""

from __future__ import annotations

__all__ = ["Scoring", "score_groups", "score_some"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.errors import PlanError, brief, did_you_mean
from prunekit.graph import ChannelGroup
from prunekit.score.criteria import CRITERIA, Criterion, Reduction, Scores, reduce
from prunekit.score.evidence import NOTHING, Evidence
from prunekit.score.slices import Layers, Slice


@dataclass(frozen=True)
class Scoring:
    """What a criterion says of some groups."""

    scores: Mapping[str, Scores]
    """Of every unit, by group, higher = keep."""
    unscored: Mapping[str, str]
    """The other groups, and why there is nothing of them to score."""


def score_groups(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    criterion: str | Criterion,
    *,
    seed: int = 0,
    reduction: Reduction | None = None,
    evidence: Evidence = NOTHING,
    outputs: Collection[tuple[str, int]] = (),
) -> dict[str, Scores]:
    """Score every unit of every group.

    Buffers take no part. Each group draws from a generator of its own, seeded by `seed` and its
    position, so that scores do not depend on one another.

    Args:
        model: the network that the groups are of.
        groups: all or the first groups of its graph.
        criterion: one of `CRITERIA`, or its name.
        seed: of chance.
        reduction: how scores of coupled slices become one; the criterion's own if not given.
        evidence: what `gather` measured, for a criterion that looks at images.
        outputs: `ChannelGraph.output_axes`, for weights that are no layer's.

    Raises:
        PlanError: a score is not finite (the message names its group), a group has nothing that
            the criterion could score, or no weight has a value.
    """
    found = score_some(
        model,
        groups,
        criterion,
        seed=seed,
        reduction=reduction,
        evidence=evidence,
        outputs=outputs,
    )
    for name, why in found.unscored.items():
        message = f"group '{name}' cannot be scored: it has {why}"
        raise PlanError(message)
    return dict(found.scores)


def score_some(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    criterion: str | Criterion,
    *,
    seed: int = 0,
    reduction: Reduction | None = None,
    evidence: Evidence = NOTHING,
    outputs: Collection[tuple[str, int]] = (),
) -> Scoring:
    """Score the groups that have something to score, and say of the others what they lack."""
    chosen = _criterion(criterion)
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if all(parameter.is_meta for parameter in parameters.values()):
        message = (
            f"{type(model).__name__} is on the meta device, so there are no weights to rank; "
            "build it on a real one"
        )
        raise PlanError(message)
    layers = Layers(model if evidence.model is None else evidence.model, outputs)
    judge = _Judge(chosen, reduction or chosen.reduction, layers, evidence)
    scores, unscored = {}, {}
    for position, group in enumerate(groups):
        generator = np.random.default_rng([seed, position])
        found = judge.score(group, parameters, generator)
        if found is None:
            unscored[group.name] = chosen.lacking
        else:
            scores[group.name] = found
    return Scoring(scores, unscored)


def _criterion(criterion: str | Criterion) -> Criterion:
    if isinstance(criterion, Criterion):
        return criterion
    if criterion not in CRITERIA:
        message = f"there is no criterion '{criterion}'{did_you_mean(criterion, CRITERIA)}"
        raise PlanError(message)
    return CRITERIA[criterion]


@dataclass(frozen=True, eq=False)
class _Judge:
    """Applies a criterion to one group after another."""

    criterion: Criterion
    reduction: Reduction
    layers: Layers
    evidence: Evidence

    def score(
        self,
        group: ChannelGroup,
        parameters: Mapping[str, Tensor],
        generator: np.random.Generator,
    ) -> Scores | None:
        """Score the units of a group; None if no slice of it counts."""
        slices = self._slices(group, parameters)
        if not slices:
            return None
        found = self._ruled(group, slices, generator)
        if not found:
            return None
        score = reduce(found, self.reduction).double()
        self._check_finite(group, score)
        if self.criterion.finish is not None:
            score = self.criterion.finish(score)
            self._check_finite(group, score)
        return score.numpy()

    def _check_finite(self, group: ChannelGroup, score: Tensor) -> None:
        if torch.isfinite(score).all():
            return
        weights = self.criterion.name in CRITERIA and not self.criterion.needs
        what = "weights" if weights else f"scores by '{self.criterion.name}'"
        message = f"{what} of group '{group.name}' are not finite, so they cannot be ranked"
        raise PlanError(message)

    def _slices(self, group: ChannelGroup, parameters: Mapping[str, Tensor]) -> list[Slice]:
        return [
            self.layers.slice_of(
                member,
                parameters[member.tensor],
                **self.evidence.of(group, member, self.layers),
            )
            for member in group.members
            if member.tensor in parameters
        ]

    def _ruled(
        self, group: ChannelGroup, slices: Sequence[Slice], generator: np.random.Generator
    ) -> Sequence[Tensor]:
        """What the criterion says, which may be the user's own."""
        try:
            found = self.criterion.rule(slices, generator)
        except PlanError:
            raise
        except Exception as error:
            if self.criterion.name in CRITERIA:
                raise
            message = (
                f"criterion '{self.criterion.name}' fails on group '{group.name}' ({brief(error)})"
            )
            raise PlanError(message) from error
        if not isinstance(found, list | tuple):
            message = (
                f"criterion '{self.criterion.name}' gives {type(found).__name__} for group "
                f"'{group.name}'; give a list of tensors, with a score for each unit"
            )
            raise PlanError(message)
        for score in found:
            if isinstance(score, Tensor) and score.is_complex():
                message = (
                    f"criterion '{self.criterion.name}' gives complex scores for group "
                    f"'{group.name}', which have no order; give their absolute values"
                )
                raise PlanError(message)
            if not isinstance(score, Tensor) or score.shape != (group.width,):
                what = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                message = (
                    f"criterion '{self.criterion.name}' gives {what} for the {group.width} units "
                    f"of group '{group.name}'; give a tensor with a score for each"
                )
                raise PlanError(message)
        return [score.detach() for score in found]
