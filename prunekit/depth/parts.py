"""What may leave of a network: blocks, and of those around others what they hold beside them."""

from __future__ import annotations

__all__ = ["Part", "parts_of"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from prunekit.depth.find import Blocks
from prunekit.depth.rest import without_blocks
from prunekit.errors import PlanError, did_you_mean
from prunekit.graph import ChannelGraph
from prunekit.plan import inside


@dataclass(frozen=True)
class Part:
    """A block, less the blocks in it that may leave as well and leave before it."""

    name: str
    """Path of the block."""
    parameters: tuple[str, ...] = field(repr=False)
    """Names of its parameters that are in no block in it."""
    params: int
    """Numbers in these."""
    macs: int
    """Multiply-accumulates of it beside those of the blocks in it."""
    inner: tuple[str, ...] = ()
    """Paths of the blocks in it."""


def parts_of(
    graph: ChannelGraph,
    blocks: Blocks,
    *,
    among: Sequence[str] = ("*",),
    protect: Sequence[str] = (),
) -> tuple[Part, ...]:
    """The blocks that may leave.

    A block that holds nothing beside other such blocks is none: it is gone when they are.

    Args:
        graph: whose parameters and multiply-accumulates count, traced at any size.
        blocks: those that were found.
        among: globs on the paths of blocks; others stay, and count as a part of what is around.
        protect: globs on paths of modules that stay, with whatever is in them or around them.

    Raises:
        PlanError: a glob matches nothing, or no block is left.
    """
    names = [block.name for block in blocks.found]
    paths = sorted({path for name in graph.shapes for path in _ancestors(name)} | {*names})
    chosen = _matched(names, among, "blocks")
    kept = _matched(paths, protect, "protect")
    free = [n for n in names if n in chosen and not _touches(n, kept)]
    if not free:
        message = f"no block can be removed: {_why_none(blocks, names)}"
        raise PlanError(message)
    parts = (_part(graph, name, [n for n in free if inside(n, {name})]) for name in free)
    return tuple(part for part in parts if part.params)


def _part(graph: ChannelGraph, name: str, within: Sequence[str]) -> Part:
    inner = tuple(other for other in within if other != name)
    whole, rest = without_blocks(graph, inner), without_blocks(graph, {name})
    own = tuple(p for p in graph.shapes if p in whole.parameters and inside(p, {name}))
    return Part(name, own, whole.params() - rest.params(), whole.macs() - rest.macs(), inner)


def _matched(names: Sequence[str], globs: Sequence[str], key: str) -> set[str]:
    found: set[str] = set()
    for pattern in globs:
        matches = {name for name in names if fnmatchcase(name, pattern)}
        if not matches and (names or key == "protect"):
            hint = did_you_mean(pattern, names)
            message = f"prune.{key}: '{pattern}' matches no {_KINDS[key]}{hint}"
            raise PlanError(message)
        found |= matches
    return found


_KINDS = {"blocks": "block that can be removed", "protect": "module"}


def _touches(name: str, kept: set[str]) -> bool:
    """Whether something in a block, or around it, is kept."""
    return inside(name, kept) or any(inside(other, {name}) for other in kept)


def _ancestors(tensor: str) -> Iterator[str]:
    """A tensor, and the modules that it is in."""
    parts = tensor.split(".")
    return (".".join(parts[:length]) for length in range(1, len(parts) + 1))


def _why_none(blocks: Blocks, names: Sequence[str]) -> str:
    if names:
        return "all of them are protected"
    if blocks.refused:
        name, why = next(iter(blocks.refused.items()))
        return f"'{name}' {why}"
    return "no module of the network adds to its input and does nothing else"
