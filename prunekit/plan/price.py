"""What choices of rungs cost, many at once, and the limit that they have to keep."""

from __future__ import annotations

__all__ = ["TOLERANCE", "Price"]

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from prunekit.plan.costs import Cost, VectorCost
from prunekit.plan.limits import Limit

Array = NDArray[np.float64]

TOLERANCE = 0.01
"""Share of the limit by which a choice may stay below it: nearer than that is not looked for."""


class Price:
    """The cost that is to be kept below `limit`; of several the one that is farthest above its own.

    Several are put on the scale of the first: what counts is `cost / most`, whatever the unit.
    """

    def __init__(
        self, widths: Mapping[str, int], fixed: Mapping[str, int], limits: Sequence[Limit]
    ) -> None:
        """Price of groups of these widths, of which some are fixed already."""
        self.limit = limits[0].most
        self._limits = limits
        self._widths = widths
        self._fixed = fixed
        self._names = list(widths)
        self._rows = {name: row for row, name in enumerate(self._names)}
        self._start = np.array([fixed.get(n, w) for n, w in widths.items()], dtype=np.float64)

    @property
    def apart(self) -> tuple[Price, ...]:
        """The price by each limit alone."""
        if len(self._limits) == 1:
            return (self,)
        return tuple(Price(self._widths, self._fixed, (limit,)) for limit in self._limits)

    def of(self, widths: Mapping[str, int]) -> float:
        """Price of one choice; groups that are left out are whole or fixed."""
        return float(self.many(widths, [{}])[0])

    def is_close(self, widths: Mapping[str, int]) -> bool:
        """Whether a choice leaves so little of the limit unused that none is looked for."""
        return self.limit * (1 - TOLERANCE) <= self.of(widths) <= self.limit

    def many(self, widths: Mapping[str, int], changes: Sequence[Mapping[str, int]]) -> Array:
        """Prices of choices that each differ a little from one."""
        base = self._start.copy()
        for name, width in widths.items():
            base[self._rows[name]] = width
        matrix = np.repeat(base[:, None], len(changes), axis=1)
        for column, change in enumerate(changes):
            for name, width in change.items():
                matrix[self._rows[name], column] = width
        first, *others = (self._costs(limit.cost, matrix) for limit in self._limits)
        for limit, other in zip(self._limits[1:], others, strict=True):
            first = np.maximum(first, other * (self.limit / limit.most))
        return first

    def _costs(self, cost: Cost, matrix: Array) -> Array:
        if isinstance(cost, VectorCost):
            return cost.many(matrix)
        choices = (dict(zip(self._names, map(int, column), strict=True)) for column in matrix.T)
        return np.array([cost(choice) for choice in choices], dtype=np.float64)
