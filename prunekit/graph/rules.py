"""What each operator says about the channels of its operands: one table, by family.

A rule is a function of a `Call`. It returns the axes of the operator's outputs, and tells
`Facts` which labels are equal, form a product, or must stay. An operator without a rule freezes
every axis that it touches: unknown is never guessed. CONTRIBUTING.md adds one, step by step.
"""

from __future__ import annotations

__all__ = ["Call", "Contraction", "Rule", "RULES", "apply_rule"]

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from prunekit.graph.labels import Axis, Facts, Labels, Reason
from prunekit.graph.record import Operator, Value

Axes = tuple[Axis, ...]


@dataclass(frozen=True)
class Contraction:
    """Multiply-accumulates of one operator: a constant times the widths of some axes."""

    module: str
    constant: int
    axes: tuple[Labels, ...]
    """The axes whose widths multiply the constant."""
    makes: Axis
    """Channels of its output."""
    reads: Axis
    """Channels of its operand over which it sums."""


@dataclass(frozen=True)
class Call:
    """An operator at work: its arguments, the shapes, and what is known of their axes."""

    operator: Operator
    shapes: Sequence[tuple[int, ...]]
    known: dict[int, Axes]
    """Axes of every value so far, by its number; rules do not write here."""
    facts: Facts
    contractions: list[Contraction]

    def axes(self, value: Any) -> Axes:
        """Axes of an argument; a number or an absent tensor has none."""
        return self.known[value.index] if isinstance(value, Value) else ()

    def shape(self, value: Any) -> tuple[int, ...]:
        """Shape of an argument; a number is a scalar."""
        return self.shapes[value.index] if isinstance(value, Value) else ()

    def argument(self, name: str) -> Any:
        """Argument by the name that the operator's schema gives it."""
        names = [a.name for a in self.operator.function._schema.arguments]
        return self.operator.arguments[names.index(name)]

    def has_argument(self, name: str) -> bool:
        """Whether this overload of the operator takes an argument of that name."""
        return any(a.name == name for a in self.operator.function._schema.arguments)

    @property
    def result(self) -> tuple[int, ...]:
        """Shape of the first output."""
        return self.shape(self.operator.outputs[0])

    def reason(self, text: str) -> Reason:
        """A reason that names this operator and its module."""
        return Reason(text, self.operator.name, self.operator.module)

    def unite(self, first: Axis, second: Axis) -> Axis:
        """Two axes are the same here; a fixed one freezes the other."""
        return self.facts.unite(first, second, self.reason("meets an axis of fixed size"))

    def merge(self, axes: Sequence[Axis], sizes: Sequence[int]) -> Axis:
        """Neighbouring axes become one, the last fastest."""
        return self.facts.merge(axes, sizes, self.reason("several axes seen as one"))

    def grid(self, axis: Axis, factors: Sequence[Axis], sizes: Sequence[int]) -> None:
        """An axis is the product of these factors, the last fastest."""
        free = axis is not None and sum(factor is not None for factor in factors) > 1
        text = "axis seen as several" if free else "meets an axis of fixed size"
        self.facts.grid(axis, factors, sizes, self.reason(text))

    def split(self, axis: Axis, sizes: Sequence[int]) -> Axes:
        """See an axis as several, the last fastest."""
        return self.facts.split(axis, sizes, self.reason("axis seen as several"))

    def split_into(self, axis: Axis, first: Axis, sizes: tuple[int, int]) -> None:
        """The leading factor of an axis is `first`; what is inside it is free."""
        (inner,) = self.facts.axes((sizes[1],))
        self.grid(axis, (first, inner), sizes)

    def sized(self, **attributes: Axis) -> None:
        """The calling module, if it is the usual one, keeps these lengths in these attributes."""
        for name, axis in attributes.items():
            self.facts.sizes[self.operator.module, name] = axis

    def fixed(self, size: int) -> Labels:
        """Labels for an axis that must stay."""
        labels = self.facts.fresh(size)
        self.freeze([labels], "joined to an axis of fixed size")
        return labels

    def count(
        self, constant: int, axes: Sequence[tuple[Axis, int]], makes: Axis, reads: Axis
    ) -> None:
        """Note multiply-accumulates: `constant` times the sizes of `axes`."""
        fixed = math.prod(size for axis, size in axes if axis is None)
        labelled = tuple(axis for axis, _ in axes if axis is not None)
        self.contractions.append(
            Contraction(self.operator.module, constant * fixed, labelled, makes, reads)
        )

    def freeze(self, axes: Sequence[Axis], text: str) -> None:
        """These axes must stay."""
        for axis in axes:
            self.facts.freeze(axis, self.reason(text))


Rule = Callable[[Call], Sequence[Axes]]
"""Axes of every output, from a call."""


def apply_rule(call: Call) -> Sequence[Axes]:
    """Look the operator up and apply its rule."""
    rule = RULES.get(call.operator.name)
    if rule is None:
        rule = _pointwise if _is_pointwise(call.operator) else _unknown
    try:
        return rule(call)
    except (IndexError, TypeError, ValueError) as error:  # a form that the rule does not foresee
        return _freeze_all(call, f"form of an operator that its rule does not know ({error})")


def _is_pointwise(operator: Operator) -> bool:
    return torch.Tag.pointwise in operator.function.tags


# Unknown and constant ------------------------------------------------------------------------


def _unknown(call: Call) -> Sequence[Axes]:
    return _freeze_all(call, "operator without a rule")


def _freeze_all(call: Call, why: str) -> Sequence[Axes]:
    for value in _values(call.operator.arguments):
        call.freeze(call.axes(value), why)
    return _fixed(call)


def _fixed(call: Call) -> Sequence[Axes]:
    """Outputs whose sizes nobody changes, such as `aten.zeros`."""
    return [(None,) * len(call.shape(output)) for output in call.operator.outputs]


def _values(arguments: Any) -> list[Value]:
    if isinstance(arguments, Value):
        return [arguments]
    if isinstance(arguments, list | tuple):
        return [value for item in arguments for value in _values(item)]
    return []


# Element-wise --------------------------------------------------------------------------------


def _pointwise(call: Call) -> Sequence[Axes]:
    operands = [call.axes(value) for value in _values(call.operator.arguments)]
    shapes = [call.shape(value) for value in _values(call.operator.arguments)]
    result = []
    for position in range(1, len(call.result) + 1):
        aligned = [
            axes[-position]
            for axes, shape in zip(operands, shapes, strict=True)
            if len(shape) >= position and shape[-position] > 1
        ]
        result.append(_all_equal(call, aligned))
    return [tuple(reversed(result))] * len(call.operator.outputs)


def _all_equal(call: Call, axes: Sequence[Axis]) -> Axis:
    if not axes:
        return None
    first = axes[0]
    for other in axes[1:]:
        first = call.unite(first, other)
    return first


def _same(call: Call) -> Sequence[Axes]:
    """The axes of the first operand pass through."""
    return [call.axes(call.operator.arguments[0])]


# Contractions --------------------------------------------------------------------------------


def _convolution(call: Call) -> Sequence[Axes]:
    x, weight, bias = (call.argument(name) for name in ("input", "weight", "bias"))
    conv_groups, transposed = call.argument("groups"), call.argument("transposed")
    batch, channels, *space = call.axes(x)
    first, second, *kernel = call.axes(weight)
    rows, columns, *extent = call.shape(weight)
    call.freeze(kernel, "extent of a convolution kernel")
    call.freeze(space, "a convolution slides over it")
    (member,) = call.facts.axes((conv_groups,))
    if conv_groups > 1:
        call.split_into(first, member, (conv_groups, rows // conv_groups))
    if transposed:
        call.unite(channels, first)
        makes = call.merge((member, second), (conv_groups, columns))
    else:
        call.grid(channels, (member, second), (conv_groups, columns))
        makes = first
    if isinstance(bias, Value):
        call.unite(makes, call.axes(bias)[0])
    call.sized(in_channels=channels, out_channels=makes, groups=member)
    positions = math.prod(call.shape(x)[2:] if transposed else call.result[2:])
    constant = call.result[0] * positions * math.prod(extent)
    call.count(constant, ((first, rows), (second, columns)), makes, channels)
    return [(batch, makes, *(None for _ in call.result[2:]))]


def _addmm(call: Call) -> Sequence[Axes]:
    bias, left, right = (call.argument(name) for name in ("self", "mat1", "mat2"))
    (product,) = _matrix_product(call, left, right)
    added = call.axes(bias)
    for axis, size, other in zip(
        reversed(added), reversed(call.shape(bias)), reversed(product), strict=False
    ):
        if size > 1:
            call.unite(axis, other)
    return [product]


def _mm(call: Call) -> Sequence[Axes]:
    return _matrix_product(call, *call.operator.arguments[:2])


def _matrix_product(call: Call, left: Value, right: Value) -> Sequence[Axes]:
    """`(..., m, k) @ (..., k, n)`; the leading axes are batches."""
    *batch, rows, summed = call.axes(left)
    *other_batch, read, columns = call.axes(right)
    if call.shape(left)[-1] > 1:
        call.unite(summed, read)
    together = [call.unite(a, b) for a, b in zip(batch, other_batch, strict=True)]
    *leading, height, depth = call.shape(left)
    width = call.shape(right)[-1]
    axes = ((rows, height), (summed, depth), (columns, width))
    call.sized(in_features=summed, out_features=columns)
    call.count(math.prod(leading), axes, columns, summed)
    return [(*together, rows, columns)]


# Data movement -------------------------------------------------------------------------------


def _view(call: Call) -> Sequence[Axes]:
    """Any reshape whose old and new axes are products of common factors."""
    value = call.operator.arguments[0]
    old, new = call.shape(value), call.result
    factors = _common_factors(old, new)
    if factors is None:
        call.freeze(call.axes(value), f"reshape from {old} to {new} mixes axes")
        return _fixed(call)
    pieces: list[tuple[int, Axis]] = []
    for axis, sizes in zip(call.axes(value), _deal(factors, old), strict=True):
        split = call.split(axis, sizes)
        pieces.extend(zip(sizes, split, strict=True))
    remaining = iter(pieces)
    joined = []
    for sizes in _deal(factors, new):
        parts = [next(remaining)[1] for _ in sizes]
        joined.append(call.merge(parts, sizes))
    return [tuple(joined)]


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


def _permute(call: Call) -> Sequence[Axes]:
    axes = call.axes(call.operator.arguments[0])
    return [tuple(axes[d] for d in call.operator.arguments[1])]


def _transpose(call: Call) -> Sequence[Axes]:
    value, first, second = call.operator.arguments
    axes = list(call.axes(value))
    axes[first], axes[second] = axes[second], axes[first]
    return [tuple(axes)]


def _matrix_transpose(call: Call) -> Sequence[Axes]:
    return [tuple(reversed(call.axes(call.operator.arguments[0])))]


def _expand(call: Call) -> Sequence[Axes]:
    axes = call.axes(call.operator.arguments[0])
    return [(*(None for _ in range(len(call.result) - len(axes))), *axes)]


def _cat(call: Call) -> Sequence[Axes]:
    values, dim = call.operator.arguments[:2]  # a third is `out`
    dim %= len(call.result)
    operands = [call.axes(value) for value in values]
    result = list(_all_operands_equal(call, operands, except_dim=dim))
    if any(axes[dim] is not None for axes in operands):
        parts = [
            call.fixed(call.shape(value)[dim]) if axes[dim] is None else axes[dim]
            for value, axes in zip(values, operands, strict=True)
        ]
        result[dim] = np.concatenate(parts)
    return [tuple(result)]


def _all_operands_equal(call: Call, operands: Sequence[Axes], *, except_dim: int) -> Sequence[Axis]:
    return [
        None if size == 1 or dim == except_dim else _all_equal(call, [o[dim] for o in operands])
        for dim, size in enumerate(call.result)
    ]


def _selection(call: Call) -> Sequence[Axes]:
    """Slices whose bounds are numbers in the code: an axis that they cut must stay."""
    value = call.operator.arguments[0]
    dim = call.argument("dim") % len(call.shape(value))
    results: list[Axes] = []
    for output in call.operator.outputs:
        axes = list(call.axes(value))
        if len(call.shape(output)) < len(axes):  # select and unbind drop the axis
            call.freeze([axes.pop(dim)], "index written in the code")
        elif call.shape(output)[dim] != call.shape(value)[dim]:
            call.freeze([axes[dim]], "cut at a position written in the code")
            axes[dim] = None
        results.append(tuple(axes))
    return results


def _pixel_shuffle(call: Call) -> Sequence[Axes]:
    value, factor = call.operator.arguments
    *batch, channels, _, _ = call.axes(value)
    square = factor * factor
    (kept,) = call.facts.axes((call.shape(value)[-3] // square,))
    call.grid(channels, (kept, None), (call.shape(value)[-3] // square, square))
    return [(*batch, kept if channels is not None else None, None, None)]


def _pixel_unshuffle(call: Call) -> Sequence[Axes]:
    value, factor = call.operator.arguments
    *batch, channels, _, _ = call.axes(value)
    square = factor * factor
    return [(*batch, call.merge((channels, None), (call.shape(value)[-3], square)), None, None)]


# Normalisation, reduction, space -------------------------------------------------------------


def _batch_norm(call: Call) -> Sequence[Axes]:
    batch, channels, *space = call.axes(call.operator.arguments[0])
    for value in call.operator.arguments[1:5]:  # weight, bias, running mean and variance
        if isinstance(value, Value) and call.shape(value)[0] > 1:
            channels = call.unite(channels, call.axes(value)[0])
    call.sized(num_features=channels)
    return [(batch, channels, *space), *_fixed(call)[1:]]


def _reduction(call: Call) -> Sequence[Axes]:
    value = call.operator.arguments[0]
    axes = call.axes(value)
    every = range(len(axes))
    dims = call.argument("dim") if call.has_argument("dim") else None
    gone = {d % len(axes) for d in ([dims] if isinstance(dims, int) else dims or every)}
    call.facts.reduced.extend(axis for d in gone if (axis := axes[d]) is not None)
    if len(call.result) == len(axes):
        return [tuple(None if d in gone else axes[d] for d in every)] * len(call.operator.outputs)
    return [tuple(axes[d] for d in every if d not in gone)] * len(call.operator.outputs)


def _spatial(call: Call) -> Sequence[Axes]:
    """Pools, resizing, padding of height and width: batch and channel pass."""
    value = call.operator.arguments[0]
    axes, shape = call.axes(value), call.shape(value)
    pad = call.argument("pad") if call.has_argument("pad") else ()
    # as much may be cut off one end as is put on the other: the channels move
    padded = {len(axes) - 1 - place // 2 for place, length in enumerate(pad) if length}
    kept: list[Axis] = []
    for dim, axis in enumerate(axes):
        if dim >= 2 or shape[dim] != call.result[dim] or dim in padded:  # noqa: PLR2004
            call.freeze([axis], "axis is resampled")
            kept.append(None)
        else:
            kept.append(axis)
    return [tuple(kept)] * len(call.operator.outputs)


# The table -----------------------------------------------------------------------------------

_FAMILIES: Mapping[Rule, str] = {
    _pointwise: "copy_ _prelu_kernel",
    _same: "clone contiguous detach alias lift_fresh _to_copy",
    _convolution: "convolution",
    _addmm: "addmm",
    _mm: "mm bmm",
    _view: "view _unsafe_view reshape unsqueeze squeeze _reshape_alias flatten",
    _permute: "permute",
    _transpose: "transpose",
    _matrix_transpose: "t",
    _expand: "expand",
    _cat: "cat",
    _selection: "slice select split split_with_sizes unbind narrow",
    _pixel_shuffle: "pixel_shuffle",
    _pixel_unshuffle: "pixel_unshuffle",
    _batch_norm: (
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training "
        "cudnn_batch_norm"
    ),
    _reduction: "mean sum amax amin",
    _spatial: (
        "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d upsample_nearest2d "
        "upsample_bilinear2d upsample_bicubic2d constant_pad_nd reflection_pad2d "
        "replication_pad2d"
    ),
    _fixed: "zeros ones empty full arange scalar_tensor new_zeros new_ones new_full",
}

RULES: Mapping[str, Rule] = MappingProxyType(
    {f"aten.{name}": rule for rule, names in _FAMILIES.items() for name in names.split()}
)
"""Rule of every operator that is not element-wise, by its name without overload."""
