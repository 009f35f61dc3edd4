"""The solver against brute force on problems small enough for it."""

from __future__ import annotations

from itertools import product

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.graph.labels import Facts, Reason
from prunekit.graph.solve import Solution, Solver, _connected

WHY = Reason("because")

pairs = st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14)


def union_find(count: int, equal: list[tuple[int, int]]) -> list[int]:
    """Smallest label that each label is connected to, one pair at a time."""
    root = list(range(count))
    for a, b in equal:
        low, high = sorted((root[a], root[b]))
        root = [low if r == high else r for r in root]
    return root


@given(pairs, st.integers(1, 4))
@settings(max_examples=200, deadline=None)
def test_components_are_those_of_union_find(equal, pieces):
    arrays = [np.array(equal[i::pieces], dtype=np.int64).reshape(-1, 2) for i in range(pieces)]
    found = _connected(np.arange(12), [(a[:, 0], a[:, 1]) for a in arrays])
    assert found.tolist() == union_find(12, equal)


def test_a_long_chain_of_equalities_is_one_component():
    ends = np.arange(5000)
    assert not _connected(np.arange(5001), [(ends + 1, ends)]).any()
    assert not _connected(np.arange(5001), [(ends[::-1], ends[::-1] + 1)]).any()


@st.composite
def problems(draw) -> Facts:
    """Some factors, products of two or three of them, free labels, equalities, frozen labels."""
    facts = Facts()
    factors = [facts.fresh(draw(st.integers(2, 3))) for _ in range(draw(st.integers(2, 3)))]
    facts.fresh(2)
    for _ in range(draw(st.integers(0, 2))):
        chosen = draw(st.permutations(factors))[: draw(st.integers(2, len(factors)))]
        sizes = tuple(len(factor) for factor in chosen)
        if np.prod(sizes) <= 9:
            facts.grid(facts.fresh(int(np.prod(sizes))), chosen, sizes, WHY)
    labels = st.integers(0, facts.count - 1)
    for a, b in draw(st.lists(st.tuples(labels, labels), max_size=4)):
        facts.unite(np.array([a]), np.array([b]), WHY)
    for label in draw(st.lists(labels, max_size=3)):
        facts.freeze(np.array([label]), WHY)
    return facts


def is_consistent(facts: Facts, gone: set[int]) -> bool:
    """Whether these labels may leave together, by what the facts mean."""
    frozen = {int(label) for labels, _ in facts.frozen for label in labels}
    together = all(
        (int(a) in gone) == (int(b) in gone)
        for first, second in facts.equal
        for a, b in zip(first, second, strict=True)
    )
    return (
        not (frozen & gone)
        and together
        and all(
            (int(p.slots[place]) in gone)
            == any(int(f[i]) in gone for f, i in zip(p.factors, place[:-1], strict=True))
            for p in facts.products
            for place in np.ndindex(p.slots.shape)
        )
    )


def free_classes(solution: Solution) -> list[set[int]]:
    return [
        set(np.flatnonzero(solution.classes == name).tolist())
        for name in np.unique(solution.classes)
        if solution.frozen_by[name] == Solution.FREE
    ]


@given(problems())
@settings(max_examples=150, deadline=None)
def test_any_choice_of_free_classes_may_leave_together(facts):
    free = free_classes(Solver(facts).solve())[:7]
    for chosen in product([False, True], repeat=len(free)):
        gone = set().union(*(part for part, take in zip(free, chosen, strict=True) if take))
        assert is_consistent(facts, gone)


@given(problems())
@settings(max_examples=150, deadline=None)
def test_what_is_frozen_without_a_choice_could_leave_in_no_way_at_all(facts):
    solution = Solver(facts).solve()
    if any("widest" in reason.text for reason in solution.reasons):
        return  # of a product, one factor was chosen over the others
    free = set().union(*free_classes(solution))
    equal = [(int(a), int(b)) for x, y in facts.equal for a, b in zip(x, y, strict=True)]
    roots = union_find(facts.count, equal)
    classes = [{i for i, r in enumerate(roots) if r == root} for root in sorted(set(roots))]
    if len(classes) > 10:
        classes = classes[:10]
    for chosen in product([False, True], repeat=len(classes)):
        gone = set().union(*(part for part, take in zip(classes, chosen, strict=True) if take))
        if is_consistent(facts, gone):
            assert gone <= free


@given(problems())
@settings(max_examples=50, deadline=None)
def test_every_frozen_class_has_a_reason(facts):
    solution = Solver(facts).solve()
    frozen = solution.frozen_by[solution.frozen_by != Solution.FREE]
    assert all(0 <= number < len(solution.reasons) for number in frozen)


def test_a_product_with_one_free_factor_is_an_equality():
    facts = Facts()
    heads, width = facts.fresh(2), facts.fresh(3)
    slots = facts.fresh(6)
    facts.grid(slots, (heads, width), (2, 3), WHY)
    facts.freeze(heads, WHY)
    solution = Solver(facts).solve()
    assert free_classes(solution) == [{2, 5, 8}, {3, 6, 9}, {4, 7, 10}]


def test_of_two_free_factors_the_widest_may_leave_and_the_reason_says_so():
    facts = Facts()
    heads, width = facts.fresh(2), facts.fresh(3)
    facts.grid(facts.fresh(6), (heads, width), (2, 3), Reason("axis seen as several", "aten.view"))
    solution = Solver(facts).solve()
    assert len(free_classes(solution)) == 3
    (reason,) = {solution.reasons[n] for n in solution.frozen_by[[0, 1]]}
    assert reason.text == "axis seen as several (2 x 3), of which the widest may shrink"
    assert reason.operator == "aten.view"


def test_a_frozen_slot_freezes_its_index_of_every_factor():
    facts = Facts()
    a, b = facts.fresh(2), facts.fresh(4)
    slots = facts.fresh(8)
    facts.grid(slots, (a, b), (2, 4), WHY)
    facts.freeze(slots[5:6], WHY)  # a = 1, b = 1
    frozen_by = Solver(facts).solve().frozen_by
    assert frozen_by[a].tolist() == [1, 0]  # a = 0 by choice of the wider factor
    assert (frozen_by[b] == Solution.FREE).tolist() == [True, False, True, True]
