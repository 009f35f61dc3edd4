"""What is left of a graph without some blocks."""

from __future__ import annotations

__all__ = ["without_blocks"]

from collections.abc import Collection
from dataclasses import replace

from prunekit.graph import ChannelGraph
from prunekit.plan import inside


def without_blocks(graph: ChannelGraph, blocks: Collection[str]) -> ChannelGraph:
    """The graph with neither the costs nor the parameters of blocks; its groups stay as they are.

    `params` and `macs` of it are those of the network without the blocks, at any widths.
    """
    return replace(
        graph,
        parameters=frozenset(name for name in graph.parameters if not inside(name, blocks)),
        terms=tuple(term for term in graph.terms if not inside(term.module, blocks)),
    )
