"""Rules of operators that look at many elements at once: norms, sums, softmax, recurrent cells."""

from __future__ import annotations

__all__ = [
    "batch_norm",
    "distance",
    "fused_cell",
    "group_norm",
    "layer_norm",
    "reduction",
    "rms_norm",
    "softmax",
    "triangle",
    "weight_norm",
    "without",
]

from collections.abc import Sequence

from prunekit.graph.labels import Axis
from prunekit.graph.record import Value
from prunekit.graph.rules.call import Axes, Call, values_in


def batch_norm(call: Call) -> Sequence[Axes]:
    """Affine parameters and statistics are as wide as the channels."""
    batch, channels, *space = call.axes(call.first)
    for value in values_in(call.operator.arguments[1:5]):  # weight, bias, mean and variance
        if call.shape(value)[0] > 1:
            channels = call.unite(channels, call.axes(value)[0])
    call.sized(num_features=channels)
    return call.outputs((batch, channels, *space))


def layer_norm(call: Call) -> Sequence[Axes]:
    """The last axes are normalised together."""
    value, normalised, weight, bias = call.operator.arguments[:4]
    return call.outputs(_normalised(call, value, len(normalised), (weight, bias)))


def rms_norm(call: Call) -> Sequence[Axes]:
    """As layer norm, without mean."""
    value, normalised, weight = call.operator.arguments[:3]
    return call.outputs(_normalised(call, value, len(normalised), (weight,)))


def _normalised(call: Call, value: Value, depth: int, affine: Sequence[Value | None]) -> Axes:
    axes, shape = call.axes(value), call.shape(value)
    for tensor in affine:
        for axis, other, size in zip(
            axes[-depth:], call.axes(tensor), shape[-depth:], strict=False
        ):
            if size > 1:
                call.unite(axis, other)
    for position, axis in enumerate(axes[-depth:]):
        call.reduce(axis)
        call.sized(**{f"normalized_shape[{position}]": axis})
    return axes


def group_norm(call: Call) -> Sequence[Axes]:
    """Channels are normalised in groups of equal size."""
    value, weight, bias = call.operator.arguments[:3]
    count = int(call.argument("group"))
    batch, channels, *space = call.axes(value)
    for tensor in values_in((weight, bias)):
        if call.shape(tensor)[0] > 1:
            channels = call.unite(channels, call.axes(tensor)[0])
    width = call.shape(value)[1]
    sets = channels
    if 1 < count < width:
        sets, _ = call.split(channels, (count, width // count))
    if count > 1:
        call.counted(num_groups=(sets, call.argument("group")))
    call.sized(num_channels=channels)
    if count < width:
        call.reduce(channels)
    return call.outputs((batch, channels, *space))


def weight_norm(call: Call) -> Sequence[Axes]:
    """`v * (g / norm(v))`, the norm over all axes but one; what is zero adds nothing to it."""
    value, gain = call.operator.arguments[:2]
    axes = call.axes(value)
    kept = int(call.argument("dim")) % len(axes)
    if call.shape(value)[kept] > 1:
        call.unite(axes[kept], call.axes(gain)[kept if len(call.shape(gain)) > 1 else 0])
    return call.outputs(axes)


def reduction(call: Call) -> Sequence[Axes]:
    """The axes that are summed over vanish; the others pass."""
    value = call.first
    axes = call.axes(value)
    given = call.argument("dim") if call.has_argument("dim") else None
    gone = set(call.dims(given, value))
    for d in gone:
        call.reduce(axes[d])
    return [without(axes, gone, len(call.shape(output))) for output in call.operator.outputs]


def without(axes: Axes, gone: set[int], rank: int) -> Axes:
    """Axes that are left when some are gone, or of fixed size if the output keeps them."""
    if rank == len(axes):
        return tuple(None if d in gone else axis for d, axis in enumerate(axes))
    return tuple(axis for d, axis in enumerate(axes) if d not in gone)


def softmax(call: Call) -> Sequence[Axes]:
    """Every element depends on all along an axis."""
    axes = call.axes(call.first)
    for d in call.dims(call.argument("dim"), call.first) if axes else ():
        call.reduce(axes[d])
    return call.outputs(axes)


def triangle(call: Call) -> Sequence[Axes]:
    """The last two axes are ordered against each other."""
    *axes, rows, columns = call.axes(call.first)
    call.freeze([rows, columns], "order along the axis matters", "code")
    return [(*axes, None, None)]


def distance(call: Call) -> Sequence[Axes]:
    """Distances between the rows of two matrices."""
    left, right = call.operator.arguments[:2]
    *batch, rows, width = call.axes(left)
    *other_batch, columns, other = call.axes(right)
    if call.shape(left)[-1] > 1:
        call.unite(width, other)
    together: list[Axis] = [
        call.unite(a, b) if size > 1 else None
        for a, b, size in zip(batch, other_batch, call.shape(left), strict=False)
    ]
    return [(*together, rows, columns)]


def fused_cell(call: Call) -> Sequence[Axes]:
    """`_thnn_fused_lstm_cell` and its like: gates in a row, each as wide as the state."""
    gates, hidden_gates, state, *biases = values_in(call.operator.arguments)
    batch, wide = call.axes(gates)
    width = call.shape(state)[1]
    sizes = (call.shape(gates)[1] // width, width)
    for other in (hidden_gates, *biases):
        call.unite(wide, call.axes(other)[-1])
    _, kept = call.split(wide, sizes)
    call.unite(kept, call.axes(state)[1])
    return [
        (batch, kept if len(call.shape(o)) and call.shape(o)[-1] == width else None)
        for o in call.operator.outputs
    ]
