"""Sizes that the code computes: they must come out right at every width that a plan may choose."""

from __future__ import annotations

__all__ = ["Agreement", "SizeRule", "agree", "narrower", "read_attribute"]

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import starmap
from types import MappingProxyType
from typing import Any

from torch import nn

from prunekit.graph.integers import Attribute, AxisSize, Expression, Number, Operation, leaves
from prunekit.graph.labels import Axis, Count, Reason
from prunekit.graph.lengths import Length, LengthReader
from prunekit.graph.paths import read_path
from prunekit.graph.settings import settle

_LARGEST_DIVISOR = 64
"""Numbers in the code up to this are taken for heads, groups or parts, by which widths divide."""

_LARGEST_STEP = 256
"""Units that at most leave at once to keep divisions even."""

_STEPS = (1, 2, 3)
"""Units taken from one group to see whether a size follows; one alone may hide in a division."""

_NONE: Mapping[Attribute, int] = MappingProxyType({})


def _divided(a: int, b: int) -> int:
    return a // b if b else -1  # no axis has this length


_OPERATIONS: Mapping[str, Callable[..., Any]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "//": _divided,
    "%": lambda a, b: a % b if b else -1,
}

_EXACTLY: Mapping[str, Callable[..., Any]] = {
    **_OPERATIONS,
    "//": lambda a, b: Fraction(a) / b if b else -1,
}


@dataclass(frozen=True)
class SizeRule:
    """The code computes the length of an axis from other lengths; both must agree."""

    length: Length
    parts: tuple[Length, ...]
    """The lengths that the code reads, in the order in which they occur in the expression."""
    expression: Expression = field(repr=False)
    free: tuple[Attribute | None, ...] = field(repr=False)
    """For every part the attribute that it is read from, if that says no length by itself, so that
    another value may be right."""
    reason: Reason

    @property
    def groups(self) -> frozenset[str]:
        """Names of the groups that it speaks of."""
        return frozenset(name for part in (self.length, *self.parts) for name in part.each)

    @property
    def settings(self) -> dict[Attribute, int]:
        """Attributes that may have another value, each with the one it has."""
        pairs = zip(self.free, self.parts, strict=True)
        return {attribute: part.fixed for attribute, part in pairs if attribute is not None}

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers in the expression."""
        return tuple(_numbers(self.expression))

    def compute(self, values: Sequence[int]) -> int:
        """The expression with these values for its leaves; -1, which is no length, for none."""
        return int(_value(self.expression, iter(values), _OPERATIONS))

    def holds(self, widths: Mapping[str, int], settings: Mapping[Attribute, int] = _NONE) -> bool:
        """Whether the code computes the right size at these widths and values of attributes."""
        return self.compute(self._values(widths, settings)) == self.length.at(widths)

    def is_even(self, widths: Mapping[str, int], settings: Mapping[Attribute, int]) -> bool:
        """Whether no division in the code leaves a rest."""
        exact = _value(self.expression, iter(self._values(widths, settings)), _EXACTLY)
        return bool(exact == self.compute(self._values(widths, settings)))

    def _values(self, widths: Mapping[str, int], settings: Mapping[Attribute, int]) -> list[int]:
        return [
            settings.get(attribute, part.fixed) if attribute is not None else part.at(widths)
            for attribute, part in zip(self.free, self.parts, strict=True)
        ]


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
    *,
    divided: Sequence[tuple[Expression, int]] = (),
) -> Agreement:
    """Find what the sizes in the code ask of the widths.

    Args:
        counts: the sizes, as the operators met them.
        lengths: reads labels in terms of the groups.
        known: labels and length of an axis that an expression names.
        model: holds the values of attributes that stay.
        widths: of every group.
        divided: expressions whose value must stay, since the code does with it nobody knows what.
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
    for rule in (*map(reader.rule, counts), *starmap(reader.fixed, divided)):
        if rule.groups and not _always_holds(rule, widths):
            key = (_key(rule.length), tuple(map(_key, rule.parts)), rule.expression)
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
    try:
        value = read_path(model.get_submodule(attribute.module), attribute.path)
    except (AttributeError, LookupError):
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
        return self._rule(self._lengths.of(count.axis), count.expression, count.reason)

    def fixed(self, expression: Expression, value: int) -> SizeRule:
        modules = (leaf.module for leaf in leaves(expression) if isinstance(leaf, Attribute))
        reason = Reason("size that the code computes otherwise", "", next(modules, ""), "code")
        return self._rule(Length(value, {}), expression, reason)

    def _rule(self, length: Length, expression: Expression, reason: Reason) -> SizeRule:
        parts = tuple(self._part(leaf) for leaf in leaves(expression))
        free = tuple(
            leaf if isinstance(leaf, Attribute) and leaf not in self._told else None
            for leaf in leaves(expression)
        )
        return SizeRule(length, parts, expression, free, reason)

    def _part(self, leaf: AxisSize | Attribute) -> Length:
        if isinstance(leaf, Attribute):
            value = read_attribute(self._model, leaf)
            return self._attributes.get(leaf) or Length(value or 0, {})
        axis, size = self._known(leaf)
        return Length(size, {}) if axis is None else self._lengths.of(axis)


def _value(
    part: Expression, leaves: Iterator[int], operations: Mapping[str, Callable[..., Any]]
) -> Any:
    """The value of an expression whose leaves are these, from left to right."""
    match part:
        case Number(number):
            return number
        case Operation(symbol, left, right):
            first = _value(left, leaves, operations)
            return operations[symbol](first, _value(right, leaves, operations))
        case _:
            return next(leaves)


def _numbers(expression: Expression) -> Iterator[int]:
    match expression:
        case Number(number):
            yield number
        case Operation(_, left, right):
            yield from _numbers(left)
            yield from _numbers(right)
        case _:
            pass


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
    """Groups that rules connect, by what they speak of or by an attribute that they read."""
    sets: list[frozenset[str | Attribute]] = []
    for rule in rules:
        said = rule.groups | rule.settings.keys()
        touched = [names for names in sets if names & said]
        sets = [names for names in sets if not names & said]
        sets.append(said.union(*touched))
    return [frozenset(name for name in names if isinstance(name, str)) for names in sets]


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
    giving = [rule for rule in rules if len(rule.length.each) == 1 and not rule.settings]
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
        if settle(rules, narrow) is not None:
            return []
        failed = [rule for rule in rules if not rule.holds(narrow)]
        fewest = min(fewest, failed, key=len)
    return fewest


def _key(length: Length) -> tuple[object, ...]:
    return length.fixed, tuple(sorted(length.each.items()))
