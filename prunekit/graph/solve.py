"""Draw the conclusions from what the operators said: which labels leave together, which stay."""

from __future__ import annotations

__all__ = ["Solution", "solve"]

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.labels import Facts, Labels, Product, Reason

_FREE = np.iinfo(np.int64).max
"""In an array of reason numbers: not frozen."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The classes of labels."""

    classes: Labels
    """Class of every label, named by the smallest label in it."""
    frozen_by: NDArray[np.int64]
    """Number of the reason of every class, `Solution.FREE` for those that may leave."""
    reasons: tuple[Reason, ...]
    reduced: NDArray[np.bool_]
    """Whether some operator reduces over the class."""

    FREE = _FREE

    def of(self, labels: Labels) -> Labels:
        """Class of each of these labels."""
        return self.classes[labels]


def solve(facts: Facts) -> Solution:
    """Spread equality and frozenness until nothing changes.

    A frozen slot of a product freezes its index of every factor; a product with one free factor
    left is an equality. A product that keeps several free factors is a choice: the widest one may
    shrink, such as the channels within the groups of a grouped convolution; the others stay.
    """
    equal = list(facts.equal)
    reasons = [reason for _, reason in facts.frozen]
    seeds = [labels for labels, _ in facts.frozen]
    undecided = list(facts.products)
    while True:
        classes = _connected_components(facts.count, equal)
        frozen_by = _seed(classes, seeds)
        _spread(frozen_by, classes, facts.products)
        undecided, collapsed = _collapse(frozen_by, classes, undecided)
        equal.extend(collapsed)
        if collapsed:
            continue
        if not undecided:
            break
        reason, stays = _decide(undecided[0], frozen_by[classes] == _FREE)
        reasons.append(reason)
        seeds.append(stays)
    reduced = np.zeros(facts.count, dtype=np.bool_)
    for labels in facts.reduced:
        reduced[classes[labels.reshape(-1)]] = True
    return Solution(classes, frozen_by, tuple(reasons), reduced)


def _decide(product: Product, free: NDArray[np.bool_]) -> tuple[Reason, Labels]:
    """Choose the widest free factor, of equal ones the last; say what of the others stays."""
    factors = [factor for factor in product.factors if free[factor].any()]
    choice = max(range(len(factors)), key=lambda i: (len(factors[i]), i))
    others = np.concatenate([factor for i, factor in enumerate(factors) if i != choice])
    widths = " x ".join(str(len(factor)) for factor in factors)
    text = f"{product.reason.text} ({widths}), of which the widest may shrink"
    return replace(product.reason, text=text), others[free[others]]


def _connected_components(count: int, equal: Sequence[tuple[Labels, Labels]]) -> Labels:
    """Smallest label that each label is connected to."""
    root = np.arange(count, dtype=np.int64)
    if not equal:
        return root
    first = np.concatenate([a for a, _ in equal])
    second = np.concatenate([b for _, b in equal])
    while True:
        low = np.minimum(root[first], root[second])
        high = np.maximum(root[first], root[second])
        apart = low != high
        if not apart.any():
            return root
        np.minimum.at(root, high[apart], low[apart])
        while not np.array_equal(root, root[root]):
            root = root[root]


def _seed(classes: Labels, seeds: Sequence[Labels]) -> NDArray[np.int64]:
    frozen_by = np.full(len(classes), _FREE, dtype=np.int64)
    for number in reversed(range(len(seeds))):
        frozen_by[classes[seeds[number]]] = number
    return frozen_by


def _spread(frozen_by: NDArray[np.int64], classes: Labels, products: Sequence[Product]) -> None:
    """Carry frozenness between slots and factors, in place, until nothing changes."""
    changed = True
    while changed:
        changed = False
        for product in products:
            slots = classes[product.slots]
            factors = [classes[factor] for factor in product.factors]
            for position, factor in enumerate(factors):
                others = tuple(i for i in range(slots.ndim) if i != position)
                changed |= _freeze(frozen_by, factor, frozen_by[slots].min(axis=others))
            grids = np.meshgrid(*(frozen_by[factor] for factor in factors), indexing="ij")
            changed |= _freeze(frozen_by, slots.ravel(), np.max(grids, axis=0).ravel())


def _freeze(frozen_by: NDArray[np.int64], classes: Labels, numbers: NDArray[np.int64]) -> bool:
    """Freeze those classes that are free and get a number; tell whether any was."""
    new = (frozen_by[classes] == _FREE) & (numbers != _FREE)
    np.minimum.at(frozen_by, classes[new], numbers[new])
    return bool(new.any())


def _collapse(
    frozen_by: NDArray[np.int64], classes: Labels, products: Sequence[Product]
) -> tuple[list[Product], list[tuple[Labels, Labels]]]:
    """Turn products with one free factor into equalities; drop those with none."""
    remaining, equal = [], []
    for product in products:
        free = [
            position
            for position, factor in enumerate(product.factors)
            if (frozen_by[classes[factor]] == _FREE).any()
        ]
        if len(free) > 1:
            remaining.append(product)
        elif free:
            factor = product.factors[free[0]]
            slots = np.moveaxis(product.slots, free[0], 0).reshape(len(factor), -1)
            equal.append((slots.ravel(), np.repeat(factor, slots.shape[1])))
    return remaining, equal
