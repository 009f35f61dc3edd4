"""Draw the conclusions from what the operators said: which labels leave together, which stay."""

from __future__ import annotations

__all__ = ["Attention", "Solution", "Solver"]

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from prunekit.graph.labels import Facts, Labels, Product, Reason

Attention = Literal["head_dim", "heads", "off"]
"""What of an attention may shrink: the width of its heads, their number, or neither."""

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

    def free(self, labels: Labels) -> NDArray[np.bool_]:
        """Which of these labels may leave."""
        return np.equal(self.frozen_by[self.classes[labels]], _FREE)


class Solver:
    """Spreads equality and frozenness until nothing changes.

    A frozen slot of a product freezes its index of every factor; a product with one free factor
    left is an equality. A product that keeps several free factors is a choice: of an attention
    the caller chooses, else the widest factor of which one index can leave may shrink, such as the
    channels within the groups of a grouped convolution; the others stay.
    """

    def __init__(self, facts: Facts, attention: Attention = "head_dim") -> None:
        self._facts = facts
        self._attention = attention
        self._reasons = [reason for _, reason in facts.frozen]
        self._seeds = [labels for labels, _ in facts.frozen]
        self._undecided = list(facts.products)
        self._attentions = list(facts.products)  # or not: those that are not known to be one yet
        self._clauses = _by_depth(facts.products)
        self._classes = _connected(np.arange(facts.count, dtype=np.int64), facts.equal)
        self._frozen_by = np.full(facts.count, _FREE, dtype=np.int64)
        self._sown = 0

    def freeze(self, labels: Labels, reason: Reason) -> None:
        """Say that these must stay as well; `solve` again."""
        self._reasons.append(reason)
        self._seeds.append(labels)

    def solve(self) -> Solution:
        """Draw every conclusion from what is known so far."""
        while True:
            self._decline_attention()
            self._sow()
            while any(c.spread(self._frozen_by, self._classes) for c in self._clauses):
                pass
            self._undecided, collapsed = _collapse(self._frozen_by, self._classes, self._undecided)
            if collapsed:
                self._join(collapsed)
            elif self._undecided:
                self._decide(self._frozen_by == _FREE)
            else:
                break
        reduced = np.zeros(self._facts.count, dtype=np.bool_)
        for labels in self._facts.reduced:
            reduced[self._classes[labels.reshape(-1)]] = True
        return Solution(self._classes.copy(), self._frozen_by.copy(), tuple(self._reasons), reduced)

    def _join(self, equal: Sequence[tuple[Labels, Labels]]) -> None:
        """Make classes one; such a class is frozen if any of them was."""
        self._classes = _connected(self._classes, equal)
        before, self._frozen_by = self._frozen_by, np.full_like(self._frozen_by, _FREE)
        np.minimum.at(self._frozen_by, self._classes, before)

    def _sow(self) -> None:
        """Freeze the classes of what was said to stay since the last time; the first counts."""
        if self._sown < len(self._seeds):
            new = self._seeds[self._sown :]
            numbers = np.repeat(np.arange(self._sown, len(self._seeds)), [len(s) for s in new])
            _freeze(self._frozen_by, self._classes[np.concatenate(new)], numbers)
            self._sown = len(self._seeds)

    def _decline_attention(self) -> None:
        """Freeze what the caller did not choose of every product of heads and their width."""
        heads = np.zeros(len(self._classes), dtype=np.bool_)
        for labels in self._facts.heads:
            heads[self._classes[labels]] = True
        rest = []
        for product in self._attentions:
            is_heads = [bool(heads[self._classes[factor]].any()) for factor in product.factors]
            if any(is_heads) and not all(is_heads):
                for factor, mine in zip(product.factors, is_heads, strict=True):
                    if self._attention == "off" or mine == (self._attention == "head_dim"):
                        self.freeze(factor, _declined(product, self._attention))
            else:
                rest.append(product)
        self._attentions = rest

    def _decide(self, free: NDArray[np.bool_]) -> None:
        """Choose for every open product, each seeing what was chosen before; `free` is by class."""
        for product in self._undecided:
            classes = [self._classes[factor] for factor in product.factors]
            factors = [factor for factor in classes if free[factor].any()]
            if len(factors) > 1:  # otherwise an earlier choice left no other
                alone = _leave_alone(self._classes[product.slots])
                able = [a for a, factor in zip(alone, classes, strict=True) if free[factor].any()]
                sizes = [len(factor) for factor in factors]
                chosen = max(range(len(factors)), key=lambda i: (able[i], sizes[i], i))
                stays = np.concatenate([f for i, f in enumerate(factors) if i != chosen])
                stays = stays[free[stays]]
                free[stays] = False
                widest = sizes[chosen] == max(sizes)
                self.freeze(stays, _declined(product, "widest" if widest else "able"))


def _leave_alone(slots: Labels) -> list[bool]:
    """For every factor whether an index of it can leave without taking all slots along.

    It cannot where the slots are the same along it, as the places of a window of one channel are.
    """
    return [not (slots == slots.take([0], axis=axis)).all() for axis in range(slots.ndim - 1)]


def _declined(product: Product, chosen: Attention | Literal["widest", "able"]) -> Reason:
    words = {
        "head_dim": "the width of the heads may shrink",
        "heads": "the number of heads may shrink",
        "off": "attention is left whole",
        "widest": "the widest may shrink",
        "able": "the one that can leave index by index may shrink",
    }
    widths = " x ".join(str(len(factor)) for factor in product.factors)
    text = f"{product.reason.text} ({widths}), of which {words[chosen]}"
    if chosen == "off":
        text = f"{product.reason.text} ({widths}), {words[chosen]}"
    return replace(product.reason, text=text, cause="choice")


class _Clauses:
    """All products with this many factors: the slots, and beside each its index of every factor."""

    def __init__(self, products: Sequence[Product]) -> None:
        self._slots = np.concatenate([product.slots.ravel() for product in products])
        self._factors = np.concatenate([_spelled(product) for product in products], axis=1)

    def spread(self, frozen_by: NDArray[np.int64], classes: Labels) -> bool:
        """Carry frozenness between slots and factors, in place; tell whether anything changed.

        Frozen it stays: what is frozen all over has no more to say, and is forgotten.
        """
        slots, factors = classes[self._slots], classes[self._factors]
        of_slots, of_factors = frozen_by[slots], frozen_by[factors]
        latest = of_factors.max(axis=0)
        changed = _freeze(frozen_by, slots, latest)
        for factor, reasons in zip(factors, of_factors, strict=True):
            late = of_slots < reasons
            if late.any():
                changed |= _freeze(frozen_by, factor[late], of_slots[late])
        open_ = (of_slots == _FREE) | (latest == _FREE)
        if not open_.all():
            self._slots, self._factors = self._slots[open_], self._factors[:, open_]
        return changed


def _spelled(product: Product) -> Labels:
    """Shape `(factors, slots)`: the index of every factor, for every slot."""
    grids = np.meshgrid(*product.factors, indexing="ij")
    copies = product.slots.shape[-1]
    return np.stack([np.repeat(grid.ravel(), copies) for grid in grids])


def _by_depth(products: Sequence[Product]) -> list[_Clauses]:
    depths = sorted({len(product.factors) for product in products})
    return [_Clauses([p for p in products if len(p.factors) == depth]) for depth in depths]


def _connected(root: Labels, equal: Sequence[tuple[Labels, Labels]]) -> Labels:
    """Smallest label that each label is connected to, if `root` is what was known before."""
    if not equal:
        return root
    root = root.copy()
    first = np.concatenate([a for a, _ in equal])
    second = np.concatenate([b for _, b in equal])
    while True:
        low = np.minimum(root[first], root[second])
        high = np.maximum(root[first], root[second])
        apart = low != high
        if not apart.any():
            return root
        first, second = first[apart], second[apart]
        np.minimum.at(root, high[apart], low[apart])
        while not np.array_equal(root, shorter := root[root]):
            root = shorter


def _freeze(frozen_by: NDArray[np.int64], classes: Labels, numbers: NDArray[np.int64]) -> bool:
    """Freeze those classes that are free and get a number; tell whether any was."""
    new = (frozen_by[classes] == _FREE) & (numbers != _FREE)
    if not new.any():
        return False
    np.minimum.at(frozen_by, classes[new], numbers[new])
    return True


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
