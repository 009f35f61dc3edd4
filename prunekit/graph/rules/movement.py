"""Rules of operators that move elements: views, permutations, joins, repetitions, shuffles."""

from __future__ import annotations

__all__ = [
    "cat",
    "channel_shuffle",
    "expand",
    "flip",
    "fold",
    "matrix_transpose",
    "permute",
    "pixel_shuffle",
    "pixel_unshuffle",
    "quarter_turn",
    "repeat",
    "roll",
    "stack",
    "strided",
    "transpose",
    "unfold",
    "view",
    "view_as_complex",
    "view_as_real",
]

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from prunekit.graph.labels import Axis
from prunekit.graph.rules.call import Axes, Call


def view(call: Call) -> Sequence[Axes]:
    """Any reshape whose old and new axes are products of common factors."""
    value = call.first
    old, new = call.shape(value), call.result
    factors = _common_factors(old, new)
    if factors is None:
        return call.freeze_all(f"reshape from {old} to {new} mixes axes", "code")
    pieces: list[tuple[int, Axis]] = []
    for axis, sizes in zip(call.axes(value), _deal(factors, old), strict=True):
        split = call.split(axis, sizes)
        pieces.extend(zip(sizes, split, strict=True))
    remaining = iter(pieces)
    joined = []
    for sizes in _deal(factors, new):
        parts = [next(remaining)[1] for _ in sizes]
        joined.append(call.merge(parts, sizes))
    for axis, size in zip(joined, _given_sizes(call), strict=True):
        call.written(axis, size)
    return [tuple(joined)]


def _given_sizes(call: Call) -> Sequence[int]:
    """What the code gives as sizes, or torch where it works them out."""
    given: Sequence[int] = call.argument("size") if call.has_argument("size") else ()
    return given if len(given) == len(call.result) else call.result


def _common_factors(old: Sequence[int], new: Sequence[int]) -> list[int] | None:
    """Factors, all above 1, of which both shapes are products in order; None if there are none."""
    if 0 in old:
        return None
    ends = sorted({*_running_products(old), *_running_products(new)})
    factors = [after // before for before, after in pairwise(ends)]
    exact = all(after % before == 0 for before, after in pairwise(ends))
    return factors[::-1] if exact else None


def _running_products(shape: Sequence[int]) -> list[int]:
    """Products of the last 0, 1, 2 ... sizes."""
    products = [1]
    for size in reversed(shape):
        products.append(products[-1] * size)
    return products


def _deal(factors: Sequence[int], shape: Sequence[int]) -> list[list[int]]:
    """Hand the factors out to the axes, in order, until each has its size."""
    remaining = iter(factors)
    hands = []
    for size in shape:
        hand: list[int] = []
        while math.prod(hand) < size:
            hand.append(next(remaining))
        hands.append(hand)
    return hands


def strided(call: Call) -> Sequence[Axes]:
    """`as_strided` that keeps the shape changes the layout in memory only."""
    if call.result != call.shape(call.first):
        return call.freeze_all("view of memory by strides", "code")
    return [call.axes(call.first)]


def permute(call: Call) -> Sequence[Axes]:
    """Axes in another order."""
    axes = call.axes(call.first)
    return [tuple(axes[d] for d in call.operator.arguments[1])]


def transpose(call: Call) -> Sequence[Axes]:
    """Two axes change places."""
    value, first, second = call.operator.arguments
    axes = list(call.axes(value))
    if axes:
        axes[first], axes[second] = axes[second], axes[first]
    return [tuple(axes)]


def matrix_transpose(call: Call) -> Sequence[Axes]:
    """The two axes of a matrix change places."""
    return [tuple(reversed(call.axes(call.first)))]


def expand(call: Call) -> Sequence[Axes]:
    """An axis of size 1 becomes as long as wanted; all of it is the same."""
    axes, shape = call.axes(call.first), call.shape(call.first)
    new = len(call.result) - len(axes)
    given = _given_sizes(call)
    return [
        (
            *(call.made(size) for size in given[:new]),
            *(
                axis if before == after else call.made(size if size > 0 else after)
                for axis, before, after, size in zip(
                    axes, shape, call.result[new:], given[new:], strict=True
                )
            ),
        )
    ]


def repeat(call: Call) -> Sequence[Axes]:
    """An axis several times, one after the other: a channel leaves with its copies."""
    axes, shape = call.axes(call.first), call.shape(call.first)
    times = call.operator.arguments[1]
    new = len(times) - len(axes)
    result: list[Axis] = [call.made(size) for size in times[:new]]
    for axis, size, count in zip(axes, shape, times[new:], strict=True):
        if size == 1:
            result.append(call.made(count))
        else:
            result.append(None if axis is None else np.tile(axis, int(count)))
    return [tuple(result)]


def cat(call: Call) -> Sequence[Axes]:
    """Tensors in a row."""
    values, dim = call.operator.arguments[:2]  # a third is `out`
    values = [value for value in values if call.shape(value) != (0,)]
    dim = int(dim) % len(call.result)
    operands = [call.axes(value) for value in values]
    result = [
        None if size == 1 or d == dim else call.unite_all([axes[d] for axes in operands])
        for d, size in enumerate(call.result)
    ]
    if any(axes[dim] is not None for axes in operands):
        result[dim] = np.concatenate(
            [
                call.fixed(call.shape(value)[dim]) if (axis := axes[dim]) is None else axis
                for value, axes in zip(values, operands, strict=True)
            ]
        )
    return [tuple(result)]


def stack(call: Call) -> Sequence[Axes]:
    """Tensors side by side along a new axis, which is as long as the code has it."""
    values, dim = call.operator.arguments[:2]
    axes = list(call.broadcast(values))
    axes.insert(int(dim) % len(call.result), None)
    return [tuple(axes)]


def flip(call: Call) -> Sequence[Axes]:
    """Backwards."""
    value, dims = call.operator.arguments
    axes = list(call.axes(value))
    for d in call.dims(dims, value):
        axis = axes[d]
        axes[d] = None if axis is None else axis[::-1]
    return [tuple(axes)]


def roll(call: Call) -> Sequence[Axes]:
    """Shifted around: along channels the distance counts them."""
    value, _, dims = call.operator.arguments
    axes = list(call.axes(value))
    for d in call.dims(dims, value):
        call.freeze([axes[d]], "shifted by a distance", "code")
        axes[d] = None
    return [tuple(axes)]


def quarter_turn(call: Call) -> Sequence[Axes]:
    """`rot90`: the plane that is turned stays."""
    value, _, dims = call.operator.arguments
    axes = list(call.axes(value))
    call.freeze([axes[d] for d in dims], "turned in space", "space")
    for d in dims:  # both are fixed, whichever comes first
        axes[d] = None
    return [tuple(axes)]


def pixel_shuffle(call: Call) -> Sequence[Axes]:
    """`r * r` neighbouring channels become one, `r` times larger."""
    value, factor = call.operator.arguments
    *batch, channels, _, _ = call.axes(value)
    square = factor * factor
    (kept,) = call.facts.axes((call.shape(value)[-3] // square,))
    call.grid(channels, (kept, None), (call.shape(value)[-3] // square, square))
    return [(*batch, kept if channels is not None else None, None, None)]


def pixel_unshuffle(call: Call) -> Sequence[Axes]:
    """A channel becomes `r * r` neighbouring ones."""
    value, factor = call.operator.arguments
    *batch, channels, _, _ = call.axes(value)
    square = factor * factor
    return [(*batch, call.merge((channels, None), (call.shape(value)[-3], square)), None, None)]


def channel_shuffle(call: Call) -> Sequence[Axes]:
    """Channels as `(groups, rest)`, read in the order `(rest, groups)`."""
    value, parts = call.operator.arguments
    batch, channels, *space = call.axes(value)
    sizes = (int(parts), call.shape(value)[1] // int(parts))
    outer, inner = call.split(channels, sizes)
    return [(batch, call.merge((inner, outer), sizes[::-1]), *space)]


def unfold(call: Call) -> Sequence[Axes]:
    """`im2col`: a channel becomes the places of a window."""
    value, window = call.operator.arguments[:2]
    *batch, channels, _, _ = call.axes(value)
    sizes = (call.shape(value)[-3], math.prod(window))
    return [(*batch, call.merge((channels, None), sizes), None)]


def fold(call: Call) -> Sequence[Axes]:
    """`col2im`: the places of a window become a channel again."""
    value, _, window = call.operator.arguments[:3]
    *batch, slots, _ = call.axes(value)
    width = call.shape(value)[-2] // math.prod(window)
    (kept,) = call.facts.axes((width,))
    call.grid(slots, (kept, None), (width, math.prod(window)))
    return [(*batch, kept if slots is not None else None, None, None)]


def view_as_real(call: Call) -> Sequence[Axes]:
    """Real and imaginary part beside each other on a new last axis."""
    return [(*call.axes(call.first), None)]


def view_as_complex(call: Call) -> Sequence[Axes]:
    """The last axis holds real and imaginary part."""
    *axes, last = call.axes(call.first)
    call.freeze([last], "real and imaginary part", "code")
    return [tuple(axes)]
