"""Processor time of tracing, and of its first part, which runs the network on fake tensors."""

from __future__ import annotations

__all__ = ["Timed", "timed_trace"]

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any
from unittest import mock

from torch import Tensor, nn

from prunekit.graph import ChannelGraph, trace
from prunekit.graph.record import Recording, record


@dataclass(frozen=True)
class Timed:
    """What tracing gave, and how long it took each time."""

    graph: ChannelGraph
    recording: Recording
    traced: tuple[float, ...]
    recorded: tuple[float, ...]
    """The part of `traced` that recorded the forward pass."""

    @property
    def solved(self) -> tuple[float, ...]:
        """The rest: rules, labels, groups."""
        return tuple(a - b for a, b in zip(self.traced, self.recorded, strict=True))

    def figures(self) -> dict[str, dict[str, float]]:
        """Median and spread of each, in seconds."""
        parts = (("trace", self.traced), ("record", self.recorded), ("solve", self.solved))
        return {name: spread(times) for name, times in parts}


def timed_trace(
    model: nn.Module, inputs: Tensor | Sequence[Any], *, repeats: int, enough: float
) -> Timed:
    """Trace some times over, but not again once it took `enough` seconds altogether."""
    recorded: list[float] = []
    traced: list[float] = []
    recordings: list[Recording] = []

    def timed_record(*arguments: Any) -> Recording:
        started = time.process_time()
        recordings[:] = [record(*arguments)]
        recorded.append(time.process_time() - started)
        return recordings[0]

    with mock.patch("prunekit.graph.graph.record", timed_record):  # where `trace` calls it
        while not traced or (len(traced) < repeats and sum(traced) < enough):
            started = time.process_time()
            graph = trace(model, inputs)
            traced.append(time.process_time() - started)
    return Timed(graph, recordings[0], tuple(traced), tuple(recorded))


def spread(times: Sequence[float]) -> dict[str, float]:
    """Median, least and largest."""
    return {
        "median": round(median(times), 4),
        "min": round(min(times), 4),
        "max": round(max(times), 4),
    }
