"""Sizes that the code computes: they must come out right at every width that a plan may choose."""

from __future__ import annotations

__all__ = ["Agreement", "SizeRule", "agree", "narrower", "read_attribute"]

import ast
import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from prunekit.graph.integers import Attribute, AxisSize, Expression, Number, Operation, leaves
from prunekit.graph.labels import Axis, Count, Reason
from prunekit.graph.lengths import Length, LengthReader

_LARGEST_DIVISOR = 64
"""Numbers in the code up to this are taken for heads, groups or parts, by which widths divide."""

_LARGEST_STEP = 256
"""Units that at most leave at once to keep divisions even."""

_STEPS = (1, 2, 3)
"""Units taken from one group to see whether a size follows; one alone may hide in a division."""


@dataclass(frozen=True)
class SizeRule:
    """The code computes the length of an axis from other lengths; both must agree."""

    length: Length
    parts: tuple[Length, ...]
    """The lengths that the code reads, in the order in which they occur in the expression."""
    compute: Callable[[Sequence[int]], int] = field(repr=False, compare=False)
    numbers: tuple[int, ...]
    """The numbers in the expression."""
    is_adjustable: bool
    """It reads an attribute that says no length by itself, so that another value may be right."""
    reason: Reason

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups that it speaks of."""
        return frozenset(name for part in (self.length, *self.parts) for name in part.each)

    def holds(self, widths: Mapping[str, int]) -> bool:
        """Whether the code computes the right size when groups have these widths."""
        wanted = self.length.at(widths)
        return self.compute([part.at(widths) for part in self.parts]) == wanted


@dataclass(frozen=True)
class Agreement:
    """What the sizes in the code ask of the widths."""

    rules: tuple[SizeRule, ...]
    """Those that not every choice of widths meets."""
    balances: tuple[tuple[str, ...], ...]
    """Groups whose widths follow from one another, such as the halves of `chunk(2)`."""
    conflicts: tuple[tuple[frozenset[str], Reason], ...]
    """Groups for which no narrower width is right."""
    attributes: Mapping[Attribute, Length]
    """Attributes of modules that must follow a length."""


def agree(
    counts: Sequence[Count],
    lengths: LengthReader,
    known: Callable[[AxisSize], tuple[Axis, int]],
    model: nn.Module,
    widths: Mapping[str, int],
) -> Agreement:
    """Find what the sizes in the code ask of the widths.

    Args:
        counts: the sizes, as the operators met them.
        lengths: reads labels in terms of the groups.
        known: labels and length of an axis that an expression names.
        model: holds the values of attributes that stay.
        widths: of every group.
    """
    attributes: dict[Attribute, Length] = {}
    for count in counts:
        if isinstance(count.expression, Attribute):
            length = lengths.of(count.axis)
            if length.each and read_attribute(model, count.expression) == length.at(widths):
                attributes.setdefault(count.expression, length)
    told = {count.expression for count in counts if isinstance(count.expression, Attribute)}
    reader = _Reader(lengths, known, model, attributes, told)
    found: dict[tuple[object, ...], SizeRule] = {}
    for count in counts:
        rule = reader.rule(count)
        if rule.groups and not _always_holds(rule, widths):
            key = (_key(rule.length), tuple(map(_key, rule.parts)), count.expression)
            found.setdefault(key, rule)
    rules = list(found.values())
    balances = [tuple(n for n in widths if n in names) for names in _joined(rules)]
    conflicts = [
        (rule.groups, rule.reason)
        for names in balances
        for rule in _unmet(names, [r for r in rules if r.groups <= set(names)], widths)
    ]
    return Agreement(tuple(rules), tuple(balances), tuple(conflicts), attributes)


def read_attribute(model: nn.Module, attribute: Attribute) -> int | None:
    """Value of an attribute of a module; None if it cannot be read."""
    steps = re.findall(r"\.?([^.\[\]]+)|\[([^\]]+)\]", attribute.path)
    try:
        value: object = model.get_submodule(attribute.module)
        for name, key in steps:
            value = getattr(value, name) if name else value[ast.literal_eval(key)]  # type: ignore[index]
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return None
    return value if isinstance(value, int) else None


class _Reader:
    """Turns what was met into rules over lengths."""

    def __init__(
        self,
        lengths: LengthReader,
        known: Callable[[AxisSize], tuple[Axis, int]],
        model: nn.Module,
        attributes: Mapping[Attribute, Length],
        told: Collection[Attribute],
    ) -> None:
        self._lengths = lengths
        self._known = known
        self._model = model
        self._attributes = attributes
        self._told = told  # those that are the length of an axis, of a fixed one too

    def rule(self, count: Count) -> SizeRule:
        parts = tuple(self._part(leaf) for leaf in leaves(count.expression))
        compute = _compiled(count.expression)
        numbers = tuple(_numbers(count.expression))
        length = self._lengths.of(count.axis)
        return SizeRule(length, parts, compute, numbers, self._may_adjust(count), count.reason)

    def _may_adjust(self, count: Count) -> bool:
        """Whether an attribute is read that no axis has for its length."""
        attributes = [a for a in leaves(count.expression) if isinstance(a, Attribute)]
        return any(attribute not in self._told for attribute in attributes)

    def _part(self, leaf: AxisSize | Attribute) -> Length:
        if isinstance(leaf, Attribute):
            value = read_attribute(self._model, leaf)
            return self._attributes.get(leaf) or Length(value or 0, {})
        axis, size = self._known(leaf)
        return Length(size, {}) if axis is None else self._lengths.of(axis)


def _compiled(expression: Expression) -> Callable[[Sequence[int]], int]:
    """The expression as a function of its leaves, from left to right."""

    def compute(values: Sequence[int]) -> int:
        remaining = iter(values)

        def value(part: Expression) -> int:
            match part:
                case Number(number):
                    return number
                case Operation(symbol, left, right):
                    a, b = value(left), value(right)
                    return _OPERATIONS[symbol](a, b)
                case _:
                    return next(remaining)

        return value(expression)

    return compute


def _numbers(expression: Expression) -> Iterator[int]:
    match expression:
        case Number(number):
            yield number
        case Operation(_, left, right):
            yield from _numbers(left)
            yield from _numbers(right)
        case _:
            pass


def _divided(a: int, b: int) -> int:
    return a // b if b else -1  # no axis has this length


_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": _divided,
    "%": lambda a, b: a % b if b else -1,
}


def _always_holds(rule: SizeRule, widths: Mapping[str, int]) -> bool:
    """Whether the rule holds whichever of its groups is narrowed."""
    if len(rule.parts) == 1 and rule.parts[0] == rule.length and rule.compute([7]) == 7:  # noqa: PLR2004
        return True
    here = {name: widths[name] for name in rule.groups}
    return all(
        rule.holds({**here, name: width - step})
        for name, width in here.items()
        for step in _STEPS
        if width > step
    )


def _joined(rules: Sequence[SizeRule]) -> list[frozenset[str]]:
    """Groups that rules connect."""
    sets: list[frozenset[str]] = []
    for rule in rules:
        touched = [names for names in sets if names & rule.groups]
        sets = [names for names in sets if not names & rule.groups]
        sets.append(rule.groups.union(*touched))
    return sets


def narrower(
    names: Sequence[str], rules: Sequence[SizeRule], widths: Mapping[str, int]
) -> Iterator[dict[str, int]]:
    """Ways to narrow groups that rules connect: in proportion, or by equal steps.

    Of the steps, what a rule computes from others follows from them. The rules may not all hold.
    """
    common = math.gcd(*(widths[name] for name in names))
    for step in range(common - 1, 0, -1):
        yield {name: widths[name] * step // common for name in names}
    free, derived = _drivers(names, rules)
    step = _step(rules)
    for taken in range(step, max((widths[name] for name in free), default=0), step):
        chosen = {name: w - taken if (w := widths[name]) > taken else w for name in free}
        for name, rule in derived:
            (each,) = rule.length.each.values()
            known = {**dict.fromkeys(names, 0), **chosen}
            wanted = rule.compute([part.at(known) for part in rule.parts]) - rule.length.fixed
            chosen[name] = wanted // each
        if all(0 < chosen[name] <= widths[name] for name in names):
            yield chosen


def _drivers(
    names: Sequence[str], rules: Sequence[SizeRule]
) -> tuple[list[str], list[tuple[str, SizeRule]]]:
    """Groups to choose widths for, and the others in an order in which they follow."""
    free: list[str] = []
    derived: list[tuple[str, SizeRule]] = []
    giving = [rule for rule in rules if len(rule.length.each) == 1]
    followers = {name for rule in giving for name in rule.length.each}
    known: set[str] = set()
    for driver in sorted(names, key=lambda name: name in followers):
        if driver in known:
            continue
        free.append(driver)
        known.add(driver)
        found = True
        while found:
            found = False
            for rule in giving:
                (name,) = rule.length.each
                sources = {other for part in rule.parts for other in part.each}
                if name not in known and sources <= known:
                    derived.append((name, rule))
                    known.add(name)
                    found = True
    return free, derived


def _step(rules: Sequence[SizeRule]) -> int:
    """Units that may leave a group so that divisions by the numbers in the rules come out even."""
    numbers = {each for rule in rules for each in rule.length.each.values()}
    numbers |= {part.fixed for rule in rules for part in rule.parts if not part.each}
    numbers |= {number for rule in rules for number in rule.numbers}
    step = 1
    for number in sorted(n for n in numbers if 1 < n <= _LARGEST_DIVISOR):
        step = math.lcm(step, number)
    return step if step <= _LARGEST_STEP else 1


def _unmet(
    names: Sequence[str], rules: Sequence[SizeRule], widths: Mapping[str, int]
) -> list[SizeRule]:
    """Rules that fail however the groups are narrowed; none if some way works."""
    fewest = list(rules)
    for narrow in narrower(names, rules, widths):
        failed = [r for r in rules if not r.holds(narrow) and not r.is_adjustable]
        if not failed:
            return []
        fewest = min(fewest, failed, key=len)
    return fewest


def _key(length: Length) -> tuple[object, ...]:
    return length.fixed, tuple(sorted(length.each.items()))
