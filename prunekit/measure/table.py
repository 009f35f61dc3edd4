"""A table of measured times: what each operator takes at the widths of the groups that it sees."""

from __future__ import annotations

__all__ = ["LatencyTable"]

import itertools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from prunekit.graph import ChannelGraph
from prunekit.graph.lengths import Length
from prunekit.graph.tape import Operator, Value, called
from prunekit.measure.mode import in_mode, placement
from prunekit.plan import VectorCost

Array = NDArray[np.float64]

_LEVELS = 8
"""Widths of a group that are timed; what lies between is interpolated."""

_INTERPOLATED = 2
"""Groups that an operator may see for that; of more the nearest timed widths count."""

_LEAST_REPEATS, _MOST_REPEATS, _ENOUGH_SECONDS = 3, 20, 0.02
"""How often an operator is run: its time is that of the fastest pass."""

_WARMUP = 3

_PROBE = 384
"""Side of the product that times are compared with; about a millisecond on one core."""


class LatencyTable(VectorCost):
    """Time of a forward pass at the traced size, put together from its operators.

    Each operator is run by itself on this device, on noise of the shapes that it has when groups
    have 8 different widths, as the question comes up; equal operators are run once. Views cost
    nothing. What cannot be run by itself is left out. The sum becomes milliseconds when it is put
    on the scale of the whole network, at one choice of widths or two (`calibrated`).
    """

    def __init__(self, graph: ChannelGraph, model: nn.Module, image: Tensor) -> None:
        """Ask for times of this model, where it is, at the size at which the graph was made.

        The model is run on the image a few times first: the first passes of a process wait for
        memory, which would make the operators that are timed first seem slow.
        """
        super().__init__(graph)
        self._device, self._dtype = placement(model)
        with in_mode(model, training=False), torch.no_grad():
            for _ in range(_WARMUP):
                model(image)
        self._rows = {name: row for row, name in enumerate(self.widths)}
        self._levels = {name: _levels(width) for name, width in self.widths.items()}
        self._uses = [use for use in _uses(graph) if use is not None]
        self._measured: dict[object, float] = {}
        self._known: list[dict[tuple[int, ...], float]] = [{} for _ in self._uses]
        self._line = (0.0, 1.0)
        self._probe = torch.ones(_PROBE, _PROBE, device=self._device, dtype=self._dtype)

    @property
    def measured(self) -> int:
        """How many different operators were timed."""
        return len(self._measured)

    def calibrated(self, *points: tuple[Mapping[str, int], float]) -> None:
        """Make the table agree with the milliseconds of the whole network at one or two choices."""
        self._line = (0.0, 1.0)
        (wide, slow), *others = [(self(widths), ms) for widths, ms in points]
        slope = slow / wide if wide else 0.0
        for narrow, fast in others:
            if wide > narrow and slow > fast:
                slope = (slow - fast) / (wide - narrow)
        self._line = (slow - slope * wide, slope)

    def many(self, widths: Array) -> Array:
        """Times of choices."""
        total = np.zeros(widths.shape[1])
        for use, known in zip(self._uses, self._known, strict=True):
            seen = widths[[self._rows[name] for name in use.groups]].astype(np.int64)
            first = tuple(seen[:, 0].tolist()) if seen.size else ()
            total += self._time(use, known, first)
            for column in np.flatnonzero((seen != seen[:, :1]).any(axis=0)).tolist():
                other = tuple(seen[:, column].tolist())
                total[column] += self._time(use, known, other) - known[first]
        start, slope = self._line
        return start + slope * total

    def _time(
        self, use: _Use, known: dict[tuple[int, ...], float], widths: tuple[int, ...]
    ) -> float:
        """Time of an operator when the groups that it sees have these widths."""
        if widths not in known:
            ends = [
                _ends(width, self._levels[name], exact=len(widths) <= _INTERPOLATED)
                for name, width in zip(use.groups, widths, strict=True)
            ]
            known[widths] = sum(
                float(np.prod([share for _, share in corner]))
                * self._at(use, tuple(width for width, _ in corner))
                for corner in itertools.product(*ends)
            )
        return known[widths]

    def _at(self, use: _Use, widths: tuple[int, ...]) -> float:
        """Measured time at widths that are timed."""
        shapes = use.shapes(dict(zip(use.groups, widths, strict=True)))
        key = (use.operator.function, use.written, tuple(shapes.values()))
        if key not in self._measured:
            self._measured[key] = self._measure(use, shapes)
        return self._measured[key]

    def _measure(self, use: _Use, shapes: Mapping[int, tuple[int, ...]]) -> float:
        """The fastest of some passes; 0 for what cannot be run by itself.

        In units of a product that is timed in between, so that a drift of the machine while the
        table fills hits both.
        """
        generator = torch.Generator().manual_seed(0)
        tensors = {
            value: torch.rand(shape, generator=generator).to(self._device, self._dtype)
            for value, shape in shapes.items()
        }
        arguments = _replaced(use.operator.arguments, tensors)
        try:
            with torch.no_grad():
                times, probes = zip(*_times(use.operator, arguments, self._probe), strict=True)
                return float(min(times) / min(probes))
        except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError):
            return 0.0


@dataclass(frozen=True)
class _Use:
    """An operator of the forward pass, with the shapes of its operands as functions of widths."""

    operator: Operator
    groups: tuple[str, ...]
    """Those that it sees."""
    operands: Mapping[int, tuple[Length, ...]]
    """Lengths of all axes, by the number of the value."""
    written: str
    """Its other arguments, as text."""

    def shapes(self, widths: Mapping[str, int]) -> dict[int, tuple[int, ...]]:
        """Shapes of the operands at these widths."""
        return {
            value: tuple(length.at(widths) for length in lengths)
            for value, lengths in self.operands.items()
        }


def _uses(graph: ChannelGraph) -> Iterator[_Use | None]:
    flow = graph.flow
    for operator in flow.recording.operators:
        schema = operator.function._schema  # noqa: SLF001 (torch keeps schemas private)
        views = not schema.is_mutable and any(value.alias_info for value in schema.returns)
        if views or not operator.operands:
            continue
        operands = {
            value.index: tuple(
                Length(size, {}) if labels is None else flow.lengths.of(labels)
                for labels, size in zip(
                    flow.known[value.index], flow.recording.shapes[value.index], strict=True
                )
            )
            for value in operator.operands
        }
        groups = {name for axes in operands.values() for length in axes for name in length.each}
        written = repr(tree_map(lambda x: "" if isinstance(x, Value) else x, operator.arguments))
        yield _Use(operator, tuple(n for n in graph.widths if n in groups), operands, written)


def _levels(width: int) -> tuple[int, ...]:
    """Widths that are timed: multiples of 8 where there is room for it, and the full one."""
    step = -(-width // _LEVELS)
    step = -(-step // 8) * 8 if width >= 16 else step  # noqa: PLR2004 (two steps of 8)
    return (*range(step, width, step), width)


def _ends(width: int, levels: Sequence[int], *, exact: bool) -> list[tuple[int, float]]:
    """Timed widths around a width, each with its share; the nearest alone if that will do."""
    if not exact:
        return [(min(levels, key=lambda level: abs(level - width)), 1.0)]
    below = max((level for level in levels if level <= width), default=levels[0])
    above = min((level for level in levels if level >= width), default=levels[-1])
    if below >= above:
        return [(above, 1.0)]
    share = (width - below) / (above - below)
    return [(below, 1 - share), (above, share)]


def _replaced(arguments: Any, tensors: Mapping[int, Tensor]) -> Any:
    """Arguments with tensors for values, and plain integers."""

    def plain(part: Any) -> Any:
        if isinstance(part, Value):
            return tensors[part.index]
        return int(part) if isinstance(part, int) and not isinstance(part, bool) else part

    return tree_map(plain, arguments)


def _times(operator: Operator, arguments: Any, probe: Tensor) -> Iterator[tuple[float, float]]:
    """Seconds of passes, each with those of a fixed product, after one that does not count."""
    started = time.perf_counter()
    for number in range(_MOST_REPEATS + 1):
        begun = time.perf_counter()
        _wait(probe @ probe)
        between = time.perf_counter()
        called(operator.function, arguments)
        _wait(probe)
        if number:
            yield time.perf_counter() - between, between - begun
        if number >= _LEAST_REPEATS and time.perf_counter() - started > _ENOUGH_SECONDS:
            return


def _wait(tensor: Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize(tensor.device)
