"""Sensitivity: what the removal of units of one group alone costs in dB, as plain data."""

from __future__ import annotations

__all__ = ["Curve", "Sensitivity", "monotone"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Curve:
    """PSNR of the network when one group, or several that move together, has fewer units."""

    groups: tuple[str, ...]
    width: int
    """Units of all of them."""
    removed: tuple[int, ...]
    """Units that were taken away, the least important ones, ascending."""
    psnr_y: tuple[float, ...]
    """dB on Y with so many fewer, mean over images."""

    def drops(self, dense: float) -> Numbers:
        """How many dB are lost, made such that no larger removal loses less, and none gains."""
        return monotone(dense - np.array(self.psnr_y))

    def drop(self, removed: Sequence[int], dense: float) -> Numbers:
        """The same for any number of removed units up to the largest measured, interpolated."""
        found = np.interp(removed, (0, *self.removed), (0.0, *self.drops(dense)))
        return np.asarray(found, dtype=np.float64)


@dataclass(frozen=True)
class Sensitivity:
    """The curves of a network."""

    dense: float
    """PSNR-Y of the network as it is, in dB, mean over images."""
    curves: tuple[Curve, ...]
    unfit: Mapping[str, str]
    """Groups that the network does not run without, and what happens."""
    images: int
    border: int
    """Pixels cut off every side before comparing."""

    def losses(self, groups: Sequence[str], removed: Sequence[int]) -> Numbers:
        """Error that removing so many units of a group adds, in terms of that of the network.

        Errors of several groups add up where decibels do not: a drop of d dB is an error that
        grows by `10^(d/10) - 1` of itself.
        """
        curve = self.curve(groups)
        assert curve is not None  # measured for the same choices
        return np.asarray(10 ** (curve.drop(removed, self.dense) / 10) - 1, dtype=np.float64)

    def curve(self, groups: Sequence[str]) -> Curve | None:
        """The curve of these groups, if there is one."""
        return next((curve for curve in self.curves if curve.groups == tuple(groups)), None)

    def to_json(self) -> str:
        """Write as JSON: the curves as measured, and the drops that a plan is made by."""
        content = asdict(self)
        for curve, written in zip(self.curves, content["curves"], strict=True):
            written["drop"] = curve.drops(self.dense).tolist()
        return json.dumps({"format": _FORMAT, **content}, indent=1) + "\n"


_FORMAT = "prunekit-sensitivity/1"


def monotone(values: Numbers) -> Numbers:
    """The nearest numbers, by squares, that never fall and are not below 0.

    Neighbours that fall are pooled to their mean (isotonic regression).
    """
    pools: list[tuple[float, int]] = []  # mean, how many
    for value in values.tolist():
        mean, count = value, 1
        while pools and pools[-1][0] > mean:
            other, size = pools.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        pools.append((mean, count))
    smooth = np.repeat([m for m, _ in pools], [n for _, n in pools])
    return np.maximum(np.asarray(smooth, dtype=np.float64), 0.0)
