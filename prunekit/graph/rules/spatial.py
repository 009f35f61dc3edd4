"""Rules of operators on height, width and time: pools, resizing, padding, sampling, Fourier."""

from __future__ import annotations

__all__ = ["affine_grid", "fourier", "grid_sample", "resample"]

from collections.abc import Sequence

from prunekit.graph.labels import Axis
from prunekit.graph.rules.call import Axes, Call


def resample(call: Call) -> Sequence[Axes]:
    """Pools, resizing, padding of height and width: batch and channel pass."""
    value = call.first
    axes, shape = call.axes(value), call.shape(value)
    space = _space(call)
    pad = call.argument("pad") if call.has_argument("pad") else ()
    # as much may be cut off one end as is put on the other: the channels move
    space |= {len(axes) - 1 - place // 2 for place, length in enumerate(pad) if length}
    kept: list[Axis] = []
    for dim, axis in enumerate(axes):
        if dim in space or shape[dim] != call.result[dim]:
            call.freeze([axis], "axis is resampled", "space")
            kept.append(None)
        else:
            kept.append(axis)
    return [tuple(kept)] * len(call.operator.outputs)


def _space(call: Call) -> set[int]:
    """The axes that an operator of one, two or three dimensions works on; the last ones."""
    rank = len(call.shape(call.first))
    depth = next((n for n in (1, 2, 3) if f"{n}d" in call.operator.name), None)
    if depth is None:  # constant_pad_nd says by its argument
        return set()
    return set(range(rank - depth, rank))


def grid_sample(call: Call) -> Sequence[Axes]:
    """Samples of an image at places that a second tensor gives."""
    value, grid = call.operator.arguments[:2]
    batch, channels, *space = call.axes(value)
    call.freeze(space, "axis is resampled", "space")
    call.freeze(call.axes(grid), "holds positions", "space")
    return [(batch, channels, *(None for _ in space))]


def affine_grid(call: Call) -> Sequence[Axes]:
    """Positions from a matrix."""
    call.freeze(call.axes(call.first), "holds positions", "space")
    return call.fixed_outputs()


def fourier(call: Call) -> Sequence[Axes]:
    """Fourier transforms: the axes that are transformed stay, the others pass."""
    value = call.first
    axes = list(call.axes(value))
    for d in call.dims(call.argument("dim"), value):
        call.freeze([axes[d]], "axis is transformed", "space")
        axes[d] = None
    return [tuple(axes)]
