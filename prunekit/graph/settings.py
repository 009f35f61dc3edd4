"""Attributes that are no length themselves, but from which the code computes one."""

from __future__ import annotations

__all__ = ["Settings", "settle"]

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from prunekit.graph.integers import Attribute

if TYPE_CHECKING:
    from prunekit.graph.counts import SizeRule

Settings = dict[Attribute, int]
"""New values of attributes, those that change."""

_LEAST = 64
"""And, for those near 0, up to so many times this."""

_FARTHEST = 4
"""A value is looked for up to so many times the one that the attribute has."""


def settle(rules: Sequence[SizeRule], widths: Mapping[str, int]) -> Settings | None:
    """Values of the attributes with which every rule holds at these widths; None if there are none.

    Of several values for one attribute that do, such as 10 and 11 for `total // 2 == 5`, one that
    divides without a rest is taken, and of those the nearest to the value it had.
    """
    settings: Settings = {}
    while (broken := next((r for r in rules if not r.holds(widths, settings)), None)) is not None:
        free = [a for a in broken.settings if a not in settings]
        if len(free) != 1:
            return None
        (attribute,) = free
        bound = [rule for rule in rules if _is_decided(rule, attribute, settings)]
        value = next(_values(attribute, bound, widths, settings), None)
        if value is None:
            return None
        settings[attribute] = value
    return {a: value for a, value in settings.items() if value != _before(a, rules)}


def _is_decided(rule: SizeRule, attribute: Attribute, settings: Settings) -> bool:
    """Whether this attribute is the last that is not settled in a rule."""
    others = rule.settings.keys() - {attribute}
    return attribute in rule.settings and others <= settings.keys()


def _values(
    attribute: Attribute, rules: Sequence[SizeRule], widths: Mapping[str, int], known: Settings
) -> Iterator[int]:
    """Values that meet the rules, the best first."""
    before = _before(attribute, rules)
    reach = _FARTHEST * max(abs(before), _LEAST)
    tried = range(-reach if before <= 0 else 1, reach + 1)
    fits = [v for v in tried if all(rule.holds(widths, {**known, attribute: v}) for rule in rules)]

    def rank(value: int) -> tuple[bool, int]:
        even = all(rule.is_even(widths, {**known, attribute: value}) for rule in rules)
        return not even, abs(value - before)

    return iter(sorted(fits, key=rank))


def _before(attribute: Attribute, rules: Sequence[SizeRule]) -> int:
    return next(rule.settings[attribute] for rule in rules if attribute in rule.settings)
