"""Rules of the operators that multiply and sum: convolutions, matrix products, attention."""

from __future__ import annotations

__all__ = [
    "addmm",
    "addmv",
    "attention",
    "baddbmm",
    "bmm",
    "convolution",
    "deformable_convolution",
    "dot",
    "linear",
    "mm",
    "mv",
]

import math
from collections.abc import Sequence

from prunekit.graph.labels import Axis
from prunekit.graph.record import Value
from prunekit.graph.rules.call import Axes, Call

_KERNEL = "extent of a convolution kernel"


def convolution(call: Call) -> Sequence[Axes]:
    """Any convolution: 1 to 3 dimensions, grouped, depthwise, transposed."""
    x, weight, bias = (call.argument(name) for name in ("input", "weight", "bias"))
    conv_groups, transposed = call.argument("groups"), call.argument("transposed")
    batch, channels, *space = _with_batch(call.axes(x), call.shape(weight))
    first, second, *kernel = call.axes(weight)
    rows, columns, *extent = call.shape(weight)
    call.freeze(kernel, _KERNEL, "space")
    call.freeze(space, "a convolution slides over it", "space")
    member = _conv_groups(call, first, (conv_groups, rows // conv_groups))
    if transposed:
        call.unite(channels, first)
        makes = call.merge((member, second), (conv_groups, columns))
    else:
        call.grid(channels, (member, second), (conv_groups, columns))
        makes = first
    if isinstance(bias, Value):
        call.unite(makes, call.axes(bias)[0])
    call.sized(in_channels=channels, out_channels=makes)
    call.counted(groups=(member, conv_groups))
    positions = math.prod(
        call.shape(x)[-len(extent) :] if transposed else call.result[-len(extent) :]
    )
    batches = (batch, call.result[0] if len(call.result) == len(extent) + 2 else 1)
    of_weight = second if transposed else first
    axes = (batches, (first, rows), (second, columns))
    call.count(positions * math.prod(extent), axes, makes, channels, of_weight)
    made = (batch, makes, *(None for _ in extent))
    return [made[-len(call.result) :]]


def _with_batch(axes: Axes, weight: Sequence[int]) -> Axes:
    return axes if len(axes) == len(weight) else (None, *axes)


def _conv_groups(call: Call, rows: Axis, sizes: tuple[int, int]) -> Axis:
    """The axis that numbers the groups of a convolution, tied to the rows of its weight."""
    (member,) = call.facts.axes(sizes[:1])
    if member is not None:
        call.split_into(rows, member, sizes)
        call.facts.conv_groups.append(member)
    return member


def deformable_convolution(call: Call) -> Sequence[Axes]:
    """`torchvision::deform_conv2d`: each offset group of input channels has its own offsets."""
    x, weight, offset, mask, bias = call.operator.arguments[:5]
    conv_groups, offset_groups = call.operator.arguments[11:13]
    batch, channels, *_ = call.axes(x)
    first, second, *kernel = call.axes(weight)
    rows, columns, *extent = call.shape(weight)
    call.freeze(kernel, _KERNEL, "space")
    member = _conv_groups(call, first, (conv_groups, rows // conv_groups))
    call.grid(channels, (member, second), (conv_groups, columns))
    (shared,) = call.facts.axes((offset_groups,))
    if shared is not None:
        call.split_into(channels, shared, (offset_groups, call.shape(x)[1] // offset_groups))
    for value in (offset, mask):
        axes, taps = call.axes(value), call.shape(value)[1:2]
        if axes and axes[1] is not None and taps != (0,):
            call.grid(axes[1], (shared, None), (offset_groups, taps[0] // offset_groups))
    if isinstance(bias, Value):
        call.unite(first, call.axes(bias)[0])
    call.sized(in_channels=channels, out_channels=first)
    call.written(member, conv_groups)
    call.written(shared, offset_groups)
    constant = call.result[0] * math.prod(call.result[2:]) * math.prod(extent)
    call.count(constant, ((first, rows), (second, columns)), first, channels, first)
    return [(batch, first, None, None)]


def linear(call: Call) -> Sequence[Axes]:
    """`x @ weight.T + bias`, where a backend keeps it as one operator."""
    x, weight, bias = call.operator.arguments[:3]
    *leading, summed = call.axes(x)
    makes, read = call.axes(weight)
    if call.shape(weight)[1] > 1:
        call.unite(summed, read)
    if isinstance(bias, Value):
        call.unite(makes, call.axes(bias)[0])
    call.sized(in_features=summed, out_features=makes)
    rows, depth = call.shape(weight)
    constant = math.prod(call.shape(x)[:-1])
    call.count(constant, ((makes, rows), (summed, depth)), makes, summed, makes)
    return [(*leading, makes)]


def addmm(call: Call) -> Sequence[Axes]:
    """`self + mat1 @ mat2`."""
    product = _matrix_product(call, call.argument("mat1"), call.argument("mat2"))
    return [_added(call, product)]


def addmv(call: Call) -> Sequence[Axes]:
    """`self + mat @ vec`."""
    return [_added(call, _matrix_vector(call, call.argument("mat"), call.argument("vec")))]


def baddbmm(call: Call) -> Sequence[Axes]:
    """`self + batch1 @ batch2`; `addbmm` sums over the batches."""
    product = _matrix_product(call, call.argument("batch1"), call.argument("batch2"))
    if len(call.result) < len(product):
        call.reduce(product[0])
        product = product[1:]
    return [_added(call, product)]


def mm(call: Call) -> Sequence[Axes]:
    """`self @ mat2`."""
    return [_matrix_product(call, *call.operator.arguments[:2])]


def bmm(call: Call) -> Sequence[Axes]:
    """`self @ mat2` for every batch."""
    return [_matrix_product(call, *call.operator.arguments[:2])]


def mv(call: Call) -> Sequence[Axes]:
    """`self @ vec`."""
    return [_matrix_vector(call, *call.operator.arguments[:2])]


def dot(call: Call) -> Sequence[Axes]:
    """Two vectors, summed over."""
    left, right = call.operator.arguments[:2]
    call.unite(call.axes(left)[0], call.axes(right)[0])
    return [()]


def _added(call: Call, product: Axes) -> Axes:
    """The axes of a product after its bias was added, aligned from the end."""
    bias = call.argument("self")
    for axis, size, other in zip(
        reversed(call.axes(bias)), reversed(call.shape(bias)), reversed(product), strict=False
    ):
        if size > 1:
            call.unite(axis, other)
    return product


def _matrix_vector(call: Call, matrix: Value, vector: Value) -> Axes:
    rows, summed = call.axes(matrix)
    if call.shape(matrix)[1] > 1:
        call.unite(summed, call.axes(vector)[0])
    height, depth = call.shape(matrix)
    call.count(1, ((rows, height), (summed, depth)), rows, summed, rows)
    return (rows,)


def _matrix_product(call: Call, left: Value, right: Value) -> Axes:
    """`(..., m, k) @ (..., k, n)`; the leading axes are batches, such as heads."""
    *batch, rows, summed = call.axes(left)
    *other_batch, read, columns = call.axes(right)
    if call.shape(left)[-1] > 1:
        call.unite(summed, read)
    together = [
        call.unite(a, b) if size > 1 else None
        for a, b, size in zip(batch, other_batch, call.shape(left), strict=False)
    ]
    for axis in together:
        call.heads(axis)
    if call.operator.scaled_by_width:
        call.reduce(summed)
    *leading, height, depth = call.shape(left)
    axes = (
        *zip(together, leading, strict=True),
        (rows, height),
        (summed, depth),
        (columns, call.shape(right)[-1]),
    )
    call.sized(in_features=summed, out_features=columns)
    call.count(1, axes, columns, summed, columns)
    return (*together, rows, columns)


def attention(call: Call) -> Sequence[Axes]:
    """All kernels of `scaled_dot_product_attention`: `softmax(q @ k.T * scale + bias) @ v`."""
    query, key, value = call.operator.arguments[:3]
    *batch, tokens, width = call.axes(query)
    *key_batch, sources, key_width = call.axes(key)
    *value_batch, value_sources, value_width = call.axes(value)
    if call.shape(query)[-1] > 1:
        call.unite(width, key_width)
    if call.shape(key)[-2] > 1:
        call.reduce(call.unite(sources, value_sources))
    together = [
        call.unite_all(axes) if size > 1 else None
        for size, *axes in zip(call.shape(query)[:-2], batch, key_batch, value_batch, strict=True)
    ]
    for axis in together:
        call.heads(axis)
    _add_bias(call, (*together, tokens, sources))
    if call.argument("scale") is None:  # then it is `width ** -0.5`
        call.reduce(width)
    *leading, m, d = call.shape(query)
    n, e = call.shape(key)[-2], call.shape(value)[-1]
    batches = tuple(zip(together, leading, strict=True))
    call.count(1, (*batches, (tokens, m), (width, d), (sources, n)), sources, width)
    call.count(1, (*batches, (tokens, m), (sources, n), (value_width, e)), value_width, sources)
    return call.outputs((*together, tokens, value_width))


def _add_bias(call: Call, scores: Axes) -> None:
    """A mask or bias on the scores, aligned from the end."""
    for name in ("attn_mask", "attn_bias"):
        bias = call.argument(name) if call.has_argument(name) else None
        pairs = zip(
            reversed(call.axes(bias)), reversed(call.shape(bias)), reversed(scores), strict=False
        )
        for axis, size, other in pairs:
            if size > 1:
                call.unite(axis, other)
