"""Where inside two networks the same features are found."""

from __future__ import annotations

__all__ = ["find_matches"]

from collections import Counter
from collections.abc import Collection

from prunekit.errors import TrainError
from prunekit.graph import ChannelGraph
from prunekit.plan import inside

_SPATIAL = 4
"""Axes of a feature map: N, C, H, W."""


def find_matches(
    graph: ChannelGraph, count: int, *, without: Collection[str] = ()
) -> tuple[str, ...]:
    """Choose modules whose outputs are worth comparing, in order of execution.

    They are siblings, such as the blocks of a body, whose last operator makes the channels of the
    group that most of the network is built around; evenly spread, the last of them included. The
    blocks that it is without hand nothing on, nor does what was in them.

    Raises:
        TrainError: no module makes such an output.
    """
    makers = [path for path in _makers(graph) if not inside(path, without)]
    parents = Counter(path.rpartition(".")[0] for path in makers)
    if not parents:
        message = (
            "distill.features needs modules that hand feature maps on, and the network has none; "
            "leave it out"
        )
        raise TrainError(message)
    (parent, _), *_ = parents.most_common(1)
    siblings = [path for path in makers if path.rpartition(".")[0] == parent]
    count = min(count, len(siblings))
    return tuple(siblings[(place + 1) * len(siblings) // count - 1] for place in range(count))


def _makers(graph: ChannelGraph) -> list[str]:
    """Modules whose last operator makes the most frequent group, by the time that it runs."""
    groups_on = [_channel_group(graph, number) for number in range(len(graph.steps))]
    frequent = Counter(group for group in groups_on if group)
    if not frequent:
        return []
    (trunk, _), *_ = frequent.most_common(1)
    last: dict[str, int] = {}
    for number, step in enumerate(graph.steps):
        path = step.module
        while path:
            last[path] = number
            path = path.rpartition(".")[0]
    ordered = sorted(last, key=lambda path: (last[path], -path.count(".")))
    return [path for path in ordered if groups_on[last[path]] == trunk]


def _channel_group(graph: ChannelGraph, number: int) -> str:
    """The one group on the channels of a feature map; none if there are several or it is none."""
    step = graph.steps[number]
    if len(step.shape) != _SPATIAL:
        return ""
    groups = {band.group for axis in step.axes if axis.axis == 1 for band in axis.bands}
    return groups.pop() if len(groups) == 1 else ""
