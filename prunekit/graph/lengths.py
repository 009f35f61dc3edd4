"""Lengths of axes as functions of the widths of groups, and what follows: costs and attributes."""

from __future__ import annotations

__all__ = ["Length", "LengthReader", "SizeField", "Term", "terms_of"]

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from prunekit.graph.labels import Labels
from prunekit.graph.rules import Contraction
from prunekit.graph.solve import Solution


@dataclass(frozen=True)
class Length:
    """Length of an axis as a function of the widths."""

    fixed: int
    """Channels that always stay."""
    each: Mapping[str, int]
    """Channels that a unit of each group has on the axis."""

    def at(self, widths: Mapping[str, int]) -> int:
        """Length when each group has this many units left."""
        return self.fixed + sum(each * widths[name] for name, each in self.each.items())


@dataclass(frozen=True)
class Term:
    """Multiply-accumulates of one operator as a function of the widths."""

    module: str
    constant: int
    axes: tuple[Length, ...]
    """The lengths that multiply the constant."""

    def macs(self, widths: Mapping[str, int]) -> int:
        """Multiply-accumulates when each group has this many units left."""
        return self.constant * math.prod(axis.at(widths) for axis in self.axes)


@dataclass(frozen=True)
class SizeField:
    """An attribute of a module that keeps the length of an axis, such as `out_channels`."""

    module: str
    attribute: str
    """Its name, or the way to it: `split_sizes[1]`, `config.dim`."""
    length: Length


class LengthReader:
    """Turns labels into lengths."""

    def __init__(self, names: Sequence[str], classes: Sequence[Labels], solution: Solution) -> None:
        """Read in terms of groups with these names and classes of labels."""
        self._names = names
        self._widths = [len(group) for group in classes]
        self._solution = solution
        self.owner = np.full(len(solution.classes), -1, dtype=np.int64)
        for number, group in enumerate(classes):
            self.owner[group] = number
        self._read: dict[int, tuple[Labels, Length]] = {}  # by identity: axes are handed on

    def of(self, labels: Labels) -> Length:
        """Length of the axis that has these labels."""
        known = self._read.get(id(labels))
        if known is None:
            known = labels, self._count(labels)
            self._read[id(labels)] = known
        return known[1]

    def _count(self, labels: Labels) -> Length:
        counts = np.bincount(self.owner[self._solution.of(labels.reshape(-1))] + 1)
        lengths = {
            self._names[n - 1]: int(counts[n]) // self._widths[n - 1]
            for n in np.flatnonzero(counts).tolist()
            if n > 0
        }
        return Length(int(counts[0]), lengths)


def terms_of(contractions: Sequence[Contraction], lengths: LengthReader) -> tuple[Term, ...]:
    """What each operator costs."""
    return tuple(
        Term(c.module, c.constant, tuple(lengths.of(axis) for axis in c.axes)) for c in contractions
    )
