"""Groups of the same make in repeated blocks, folded into one line for a reader."""

from __future__ import annotations

__all__ = ["Family", "fold_groups", "fold_names"]

import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from prunekit.graph.groups import ChannelGroup
from prunekit.graph.shares import GroupShare

_NUMBER = re.compile(r"(?:(?<=[.# ])|^)\d+(?=[. ]|$)")
"""A part of a path that is a number, such as the 3 of `body.3.conv1`, or the 2 of `stream #2`."""

_DIGITS = 9  # of a share: equal blocks differ by rounding alone


@dataclass(frozen=True)
class Family:
    """Groups that differ only in the numbers in their names, or a group alone."""

    name: str
    """With the range of each number that differs, such as `body.0..15 hidden`."""
    groups: tuple[ChannelGroup, ...]
    """In order of execution."""
    share: GroupShare
    """Of each of them."""

    @property
    def first(self) -> ChannelGroup:
        """The one that stands for all."""
        return self.groups[0]


def fold_groups(
    groups: Iterable[ChannelGroup], shares: Mapping[str, GroupShare], *, fold: bool = True
) -> tuple[Family, ...]:
    """Fold groups of one make, those with the largest share of the parameters first."""
    folded: dict[Hashable, list[ChannelGroup]] = {}
    for group in groups:
        folded.setdefault(_make(group, shares[group.name]) if fold else group.name, []).append(
            group
        )
    families = [
        Family(_pattern([g.name for g in alike]), tuple(alike), shares[alike[0].name])
        for alike in folded.values()
    ]
    return tuple(sorted(families, key=lambda f: -f.share.params * len(f.groups)))


def fold_names(names: Iterable[str]) -> list[tuple[str, int]]:
    """Fold names that differ only in numbers: each pattern with how many it stands for."""
    folded: dict[str, list[str]] = {}
    for name in names:
        folded.setdefault(_NUMBER.sub("*", name), []).append(name)
    return [(_pattern(alike), len(alike)) for alike in folded.values()]


def _make(group: ChannelGroup, share: GroupShare) -> Hashable:
    """What groups have in common to be of one family."""
    shape = (group.kind, group.width, group.axes, group.exact)
    shares = (round(share.params, _DIGITS), round(share.macs, _DIGITS))
    return (_NUMBER.sub("*", group.name), *shape, *shares)


def _pattern(names: Sequence[str]) -> str:
    """One name for all, a range such as `0..15` where their numbers differ."""
    columns = zip(*(map(int, _NUMBER.findall(name)) for name in names), strict=True)
    ranges = iter([_range(column) for column in columns])
    return _NUMBER.sub(lambda _: next(ranges), names[0])


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}..{high}"
