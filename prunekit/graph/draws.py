"""Random numbers that the code draws for channels, which go where their channels go."""

from __future__ import annotations

__all__ = ["NOISE", "Draw", "Reordered", "draws_of"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from prunekit.graph.flow import Flow
from prunekit.graph.groups import Indices
from prunekit.graph.labels import Axis
from prunekit.graph.reverse import reverse_units

NOISE = frozenset({"aten.rand", "aten.randn"})
"""Operators that make random numbers of a size that they are told."""


@dataclass(frozen=True, eq=False)
class Draw:
    """One call that draws: where the units of the groups lie on what it returns."""

    axes: Mapping[int, Mapping[str, Indices]]
    """By axis and group `(width, indices of a unit)`, as in a `Member`."""


def draws_of(flow: Flow) -> tuple[Draw, ...]:
    """Every call that draws, in the order of execution."""
    outputs = [op.outputs[0].index for op in flow.recording.operators if op.name in NOISE]
    return tuple(
        Draw({d: _places(flow, axis) for d, axis in enumerate(flow.known[output])})
        for output in outputs
    )


def _places(flow: Flow, axis: Axis) -> dict[str, Indices]:
    """By group, the indices of an axis that leave with each of its units."""
    if axis is None:
        return {}
    classes = flow.solution.of(axis.reshape(-1))
    found = {}
    for group in flow.groups:
        if np.isin(group.classes, classes).all():
            found[group.name] = np.stack([np.flatnonzero(classes == c) for c in group.classes])
    return found


class Reordered(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Reverses random numbers along with the units of groups: each goes where its channel goes."""

    def __init__(self, draws: Sequence[Draw], groups: Collection[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._rest = iter(draws)
        self._groups = groups

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if str(func.overloadpacket) not in NOISE or (draw := next(self._rest, None)) is None:
            return result
        return self._reordered(result, draw)

    def _reordered(self, drawn: Tensor, draw: Draw) -> Tensor:
        for axis, groups in draw.axes.items():
            moved = [groups[name] for name in groups if name in self._groups]
            drawn = reverse_units(drawn, axis, moved)
        return drawn
