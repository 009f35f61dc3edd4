"""Names for groups, after what they are in the network: trunk, hidden channels, upsampler."""

from __future__ import annotations

__all__ = ["Ends", "name_groups"]

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Ends:
    """Where the channels of a group are made and read, as module paths in order of execution."""

    makers: tuple[str, ...]
    readers: tuple[str, ...]
    repeats: int
    """How many channels of its maker leave with one unit (r^2 before a pixel shuffle)."""
    axes: int


def name_groups(ends: Sequence[Ends], containers: Collection[str]) -> list[str]:
    """One name a group, all different.

    Args:
        ends: the groups.
        containers: paths of modules that only hold others (`nn.Sequential`), which say nothing.
    """
    trunk = _trunk(ends)
    names = ["trunk" if e is trunk else _name(e, containers) for e in ends]
    seen: Counter[str] = Counter()
    unique = []
    for name in names:
        seen[name] += 1
        unique.append(name if seen[name] == 1 else f"{name} #{seen[name]}")
    return unique


def _trunk(ends: Sequence[Ends]) -> Ends | None:
    """The stream that most layers write to, if several do."""
    streams = [e for e in ends if len(e.makers) > 1]
    return max(streams, key=lambda e: (len(e.makers), e.axes), default=None)


def _name(ends: Ends, containers: Collection[str]) -> str:
    if not ends.makers:
        return f"{_common(ends.readers, containers) or 'model'} parameters"
    if len(ends.makers) > 1:
        return f"{_common(ends.makers, containers) or ends.makers[0] or 'model'} stream"
    maker = ends.makers[0] or "model"
    if ends.repeats > 1:
        return f"{maker} / {ends.repeats}"
    block = _common((maker, *ends.readers), containers)
    return f"{block} hidden" if block and block != maker else maker


def _common(paths: Sequence[str], containers: Collection[str]) -> str:
    """Nearest module that holds all of these and is more than a container."""
    common = []
    for parts in zip(*(path.split(".") for path in paths), strict=False):
        if len(set(parts)) > 1:
            break
        common.append(parts[0])
    while common and not common[-1].isdecimal() and ".".join(common) in containers:
        common.pop()
    return ".".join(common)
