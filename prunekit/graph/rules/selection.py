"""Rules of operators that pick elements: slices, splits, indexing, sorting, writing into places."""

from __future__ import annotations

__all__ = [
    "along",
    "best_along",
    "diagonal",
    "embedding",
    "gather",
    "glu",
    "index",
    "index_along",
    "index_put",
    "index_write",
    "masked_scatter",
    "scatter",
    "select",
    "slice_",
    "slice_scatter",
    "split",
    "unfold_along",
]

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

from prunekit.graph.integers import AxisSize, Literal, Number, Operation, Size
from prunekit.graph.labels import Axis, Count
from prunekit.graph.record import Value
from prunekit.graph.rules.call import Axes, Call, values_in
from prunekit.graph.rules.reduction import reduction, without

_CUT = "cut at a position written in the code"
_INDEX = "index written in the code"


def slice_(call: Call) -> Sequence[Axes]:
    """A part of an axis: what lies before a position that is a number in the code must stay."""
    value, dim = call.first, int(call.argument("dim"))
    axes, size = list(call.axes(value)), call.shape(value)[dim]
    axis = axes[dim]
    if axis is None or call.result[dim] == size:
        return [tuple(axes)]
    start, end, step = (call.argument(name) for name in ("start", "end", "step"))
    if step != 1:
        call.freeze([axis], "every so many, counted from the first", "code")
    first, stop = _clipped(start or 0, size), _clipped(size if end is None else end, size)
    for bound in (start, end):
        if bound is not None and -size < bound < size and bound != 0:
            _cut(call, axis, bound)
    axes[dim] = axis[first : max(first, stop) : step]
    return [tuple(axes)]


def _clipped(bound: int, size: int) -> int:
    return min(size, max(0, int(bound) + (size if bound < 0 else 0)))


def _cut(call: Call, axis: Axis, bound: int) -> None:
    """The part before a position, or behind one counted from the end, has a length in the code."""
    assert axis is not None
    part = axis[:bound] if bound > 0 else axis[bound:]
    if isinstance(bound, Size):
        size = bound.expression if bound > 0 else Operation("-", Number(0), bound.expression)
        reason = call.reason("cut at a position that the code computes otherwise", "code")
        call.facts.counts.append(Count(part, size, reason))
    else:
        call.freeze([part], _CUT, "code")


def split(call: Call) -> Sequence[Axes]:
    """Parts in a row. What torch divided evenly must stay even; numbers in the code must stay."""
    value, given = call.operator.arguments[:2]
    dim = int(call.argument("dim")) % len(call.shape(value))
    axes = call.axes(value)
    axis = axes[dim]
    if axis is None or len(call.operator.outputs) == 1:
        return [axes] * len(call.operator.outputs)
    lengths = [call.shape(output)[dim] for output in call.operator.outputs]
    ends = [0, *accumulate(lengths)]
    parts = [axis[a:b] for a, b in pairwise(ends)]
    sizes = list(given) if isinstance(given, list | tuple) else [given] * len(parts)
    for part, size in zip(parts, sizes, strict=True):
        _part(call, part, size, (value, dim, len(parts)))
    return [(*axes[:dim], part, *axes[dim + 1 :]) for part in parts]


def _part(call: Call, part: Axis, size: int, whole: tuple[Value, int, int]) -> None:
    """Say where the length of a part comes from."""
    value, dim, parts = whole
    assert part is not None
    if isinstance(size, Literal | Size):
        text = _CUT if isinstance(size, Literal) else "part that the code computes otherwise"
        reason = call.reason(text, "code")
        if isinstance(size, Literal):
            call.facts.freeze(part, reason)
        else:
            call.facts.counts.append(Count(part, size.expression, reason))
    else:  # chunk
        even = Operation("//", AxisSize(value.index, dim), Number(parts))
        reason = call.reason(f"one of {parts} parts that must stay even", "code")
        call.facts.counts.append(Count(part, even, reason))


def select(call: Call) -> Sequence[Axes]:
    """One index of an axis, or each by itself: the axis must stay."""
    value = call.first
    axes = list(call.axes(value))
    dim = int(call.argument("dim")) % len(axes)
    call.freeze([axes.pop(dim)], _INDEX, "code")
    return [tuple(axes)] * len(call.operator.outputs)


def index(call: Call) -> Sequence[Axes]:
    """Indexing with tensors: the indexed axes must stay, the others pass."""
    value, indices = call.operator.arguments[:2]
    _freeze_indexed(call, value, indices)
    given = values_in(indices)
    rank, depth = len(call.shape(value)), max(len(call.shape(tensor)) for tensor in given)
    if len(given) == 1 and len(call.result) == rank - depth + 1:  # a mask has as many as it covers
        return [_replaced(call.axes(value), indices, covers=depth, makes=1)]
    if len(call.result) != rank - len(given) + depth:
        return call.freeze_all("mixes masks and positions", "values")
    return [_replaced(call.axes(value), indices, covers=1, makes=depth)]


def _freeze_indexed(call: Call, value: Value, indices: Sequence[Any]) -> None:
    for axis, tensor in zip(call.axes(value), indices, strict=False):
        if tensor is not None:
            call.freeze([axis], _INDEX, "code")
    for tensor in values_in(indices):
        call.freeze(call.axes(tensor), "holds positions", "space")


def _replaced(axes: Axes, indices: Sequence[Any], *, covers: int, makes: int) -> Axes:
    """Axes of `value[indices]`: what the indices make is where they are, or first if apart."""
    given = [i for i, tensor in enumerate(indices) if tensor is not None]
    gone = {d for i in given for d in range(i, i + covers)}
    kept = [axis for d, axis in enumerate(axes) if d not in gone]
    place = given[0] if given[-1] - given[0] + 1 == len(given) else 0
    return (*kept[:place], *(None for _ in range(makes)), *kept[place:])


def index_put(call: Call) -> Sequence[Axes]:
    """Writing to places given by tensors."""
    value, indices, source = call.operator.arguments[:3]
    given = values_in(indices)
    _freeze_indexed(call, value, indices)
    if len(given) == 1 and len(call.shape(given[0])) > 1:  # positions or a mask: shapes tell not
        call.freeze((*call.axes(value), *call.axes(source)), "written to by a mask", "values")
        return [call.axes(value)]
    depth = max(len(call.shape(tensor)) for tensor in given)
    target = _replaced(call.axes(value), indices, covers=1, makes=depth)
    pairs = zip(
        reversed(call.axes(source)), reversed(call.shape(source)), reversed(target), strict=False
    )
    for axis, size, other in pairs:
        if size > 1:
            call.unite(axis, other)
    return [call.axes(value)]


def index_write(call: Call) -> Sequence[Axes]:
    """`index_add`, `index_copy`, `index_fill`: one axis is written to by a vector of positions."""
    value, dim, positions, *rest = call.operator.arguments
    call.freeze(call.axes(positions), "holds positions", "space")
    axes = call.axes(value)
    for source in (value, *values_in(rest)):
        mine = call.axes(source)
        if mine:
            call.freeze([mine[dim]], _INDEX, "code")
        for d, (axis, other) in enumerate(zip(axes, mine, strict=False)):
            if d != dim % len(axes) and call.shape(value)[d] > 1:
                call.unite(axis, other)
    return [axes]


def diagonal(call: Call) -> Sequence[Axes]:
    """Two axes are walked along together."""
    axes = list(call.axes(call.first))
    dims = {int(call.argument(name)) % len(axes) for name in ("dim1", "dim2")}
    call.freeze([axes[d] for d in dims], "order along the axis matters", "code")
    return [(*(axis for d, axis in enumerate(axes) if d not in dims), None)]


def along(call: Call) -> Sequence[Axes]:
    """Order along an axis matters (sums up to each, sorting, choosing the largest): it stays."""
    value = call.first
    axes = call.axes(value)
    gone = set(call.dims(call.argument("dim") if call.has_argument("dim") else -1, value))
    call.freeze([axes[d] for d in gone], "order along the axis matters", "code")
    return [without(axes, gone, len(call.shape(output))) for output in call.operator.outputs]


def best_along(call: Call) -> Sequence[Axes]:
    """The largest along an axis, and where: no order if only the value is wanted."""
    if any(output.index in call.read for output in call.operator.outputs[1:]):
        return along(call)
    return reduction(call)


def index_along(call: Call) -> Sequence[Axes]:
    """`index_select`: one axis is indexed by a vector."""
    value, dim, positions = call.operator.arguments[:3]
    axes = list(call.axes(value))
    call.freeze(call.axes(positions), "holds positions", "space")
    if axes:
        call.freeze([axes[dim]], _INDEX, "code")
        axes[dim] = None
    return [tuple(axes)]


def gather(call: Call) -> Sequence[Axes]:
    """One axis is indexed at every place of the others."""
    value, dim, positions = call.operator.arguments[:3]
    return [_at_every_place(call, value, dim, positions)]


def scatter(call: Call) -> Sequence[Axes]:
    """Writing along one axis at every place of the others."""
    value, dim, positions, *rest = call.operator.arguments
    _at_every_place(call, value, dim, positions)
    for source in values_in(rest):
        _at_every_place(call, source, dim, positions)
        pairs = zip(call.axes(value), call.axes(source), strict=True)
        for d, (axis, other) in enumerate(pairs):
            same = call.shape(value)[d] == call.shape(source)[d] > 1
            if d != dim % len(call.shape(value)) and same:
                call.unite(axis, other)
    return [call.axes(value)]


def _at_every_place(call: Call, value: Value, dim: int, positions: Value) -> Axes:
    """The axes other than `dim` go along with those of the positions."""
    axes, shape = list(call.axes(value)), call.shape(value)
    if not axes:
        return ()
    dim %= len(axes)
    call.freeze([axes[dim]], "which index is meant depends on values", "values")
    axes[dim] = None
    for d, (mine, other) in enumerate(zip(axes, call.axes(positions), strict=True)):
        if d != dim:
            length = call.shape(positions)[d]
            if length == shape[d] > 1:
                axes[d] = call.unite(mine, other)
            elif length != shape[d]:
                call.freeze([mine], "the first few are taken", "code")
                axes[d] = None
    return tuple(axes)


def masked_scatter(call: Call) -> Sequence[Axes]:
    """Elements of a source go where a mask is true, in their order."""
    value, mask, source = call.operator.arguments[:3]
    for tensor in (value, mask, source):
        call.freeze(call.axes(tensor), "order of the elements matters", "values")
    return [call.axes(value)]


def slice_scatter(call: Call) -> Sequence[Axes]:
    """A copy in which a part of an axis is replaced."""
    value, source = call.operator.arguments[:2]
    dim = int(call.argument("dim")) % len(call.shape(value))
    axes = call.axes(value)
    call.freeze([axes[dim], call.axes(source)[dim]], _CUT, "code")
    for d, (axis, other) in enumerate(zip(axes, call.axes(source), strict=True)):
        if d != dim and call.shape(value)[d] > 1:
            call.unite(axis, other)
    return [axes]


def embedding(call: Call) -> Sequence[Axes]:
    """Rows of a table: which ones depends on values."""
    table, positions = call.operator.arguments[:2]
    rows, width = call.axes(table)
    call.freeze([rows], "which index is meant depends on values", "values")
    return [(*call.axes(positions), width)]


def glu(call: Call) -> Sequence[Axes]:
    """One half of an axis gates the other."""
    axes = list(call.axes(call.first))
    dim = int(call.argument("dim"))
    axis = axes[dim]
    if axis is not None:
        half = len(axis) // 2
        axes[dim] = call.unite(axis[:half], axis[half:])
    return [tuple(axes)]


def unfold_along(call: Call) -> Sequence[Axes]:
    """`Tensor.unfold`: windows along an axis."""
    value, dim = call.operator.arguments[:2]
    axes = list(call.axes(value))
    call.freeze([axes[dim]], "a window slides over it", "space")
    axes[dim] = None
    return [(*axes, None)]
