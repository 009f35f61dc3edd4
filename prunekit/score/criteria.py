"""Importance criteria: one function each, a number for every unit of a group, higher = keep."""

from __future__ import annotations

__all__ = ["CRITERIA", "Criterion", "score_groups"]

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.errors import PlanError
from prunekit.graph import ChannelGroup

Scores = NDArray[np.float64]

Criterion = Callable[[Sequence[Tensor], np.random.Generator], Scores]
"""Scores of the units from the group's slices, one `(units, elements)` tensor a member."""


def l1(slices: Sequence[Tensor], _: np.random.Generator) -> Scores:
    """Sum of absolute weights over all coupled slices."""
    return _total(slice_.abs().sum(dim=1) for slice_ in slices)


def l2(slices: Sequence[Tensor], _: np.random.Generator) -> Scores:
    """Euclidean norm over all coupled slices (DepGraph, CVPR 2023, without normalisation)."""
    return np.sqrt(_total(slice_.square().sum(dim=1) for slice_ in slices))


def random(slices: Sequence[Tensor], generator: np.random.Generator) -> Scores:
    """Uniform numbers: the baseline that a criterion has to beat."""
    return generator.random(len(slices[0]))


CRITERIA: Mapping[str, Criterion] = MappingProxyType({"l1": l1, "l2": l2, "random": random})
"""Every criterion by the name that recipes use."""


def score_groups(
    model: nn.Module, groups: Sequence[ChannelGroup], criterion: str, *, seed: int = 0
) -> dict[str, Scores]:
    """Score every unit of every group.

    Buffers take no part. Each group draws from a generator of its own, seeded by `seed` and its
    position, so that scores do not depend on one another.

    Raises:
        PlanError: a weight is not finite (the message names its group), or none has a value.
    """
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    if all(parameter.is_meta for parameter in parameters.values()):
        message = (
            f"{type(model).__name__} is on the meta device, so there are no weights to rank; "
            "build it on a real one"
        )
        raise PlanError(message)
    scores = {}
    for position, group in enumerate(groups):
        generator = np.random.default_rng([seed, position])
        scores[group.name] = CRITERIA[criterion](_slices(group, parameters), generator)
        if not np.isfinite(scores[group.name]).all():
            message = f"weights of group '{group.name}' are not finite, so they cannot be ranked"
            raise PlanError(message)
    return scores


def _slices(group: ChannelGroup, parameters: Mapping[str, Tensor]) -> list[Tensor]:
    slices = []
    for member in group.members:
        if member.tensor in parameters:
            tensor = parameters[member.tensor].movedim(member.axis, 0).double()
            indices = torch.from_numpy(member.indices).to(tensor.device)
            slices.append(tensor[indices.flatten()].reshape(group.width, -1))
    return slices


def _total(parts: Iterable[Tensor]) -> Scores:
    total: Scores = torch.stack([part.cpu() for part in parts]).sum(dim=0).numpy()
    return total
