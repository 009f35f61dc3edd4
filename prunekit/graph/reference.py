"""Run a network with channels switched off, its norms and means over the channels that stay.

To remove a channel is to set its slices to zero, except where an operator reduces over channels: a
mean over 48 of 64 channels is not the mean over 64 of which 16 are zero, and a product of two
kernels sums `elu(0) + 1` too. Here those operators, and no others, are run on the channels that
stay.
"""

from __future__ import annotations

__all__ = ["References", "Removed", "run_without"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.utils._pytree import tree_leaves, tree_map

from prunekit.errors import VerificationError
from prunekit.graph.attributes import trace_attributes
from prunekit.graph.compare import Edit, converted, converted_copy
from prunekit.graph.draws import NOISE
from prunekit.graph.integers import Attribute, AxisSize
from prunekit.graph.labels import Axis
from prunekit.graph.options import TraceOptions
from prunekit.graph.precision import is_double
from prunekit.graph.record import (
    Inputs,
    ModulePath,
    Recording,
    Way,
    follow,
    plain,
    record,
    shapes_of,
    tensors_in,
)
from prunekit.graph.rules import RULES
from prunekit.graph.solve import Solution
from prunekit.graph.structure import find_structure
from prunekit.graph.tape import Operator, Tape, Value, called
from prunekit.graph.walk import Walk, layers_in, positions_in, walk

_SIZED = {
    "aten.native_layer_norm": 1,
    "aten._fused_rms_norm": 1,
}
"""Norms that are told the trailing sizes that they run over, and which argument that is."""

_ATTENTION = "aten._scaled_dot_product_"

_PRODUCTS = frozenset({"aten.bmm", "aten.mm"})

_COUNTS = frozenset({"aten.nonzero", "aten.masked_select"})
_WRITES = frozenset(
    {
        "aten._index_put_impl_",
        "aten._unsafe_index_put",
        "aten.index_put",
        "aten.index_put_",
        "aten.masked_scatter",
        "aten.masked_scatter_",
    }
)

_OF_STORAGE = frozenset({"dtype", "layout", "memory_format"})
"""Arguments that are declared as integers, and are no sizes."""

_SAME = 1e-9

Scales = Mapping[Attribute, tuple[int, int]]
"""Sizes that modules keep, before and after channels leave."""

Removed = Mapping[str, Mapping[int, Sequence[int]]]
"""Indices that leave, by parameter or buffer and by axis."""


@dataclass(frozen=True, eq=False)
class _Reference:
    """A recording of a network, and what its labels and classes say."""

    operators: Sequence[Operator]
    walked: Walk
    solution: Solution


class References:
    """Recordings of one network, kept for every size that it runs at."""

    def __init__(self) -> None:
        self._kept: dict[tuple[object, ...], _Reference] = {}
        self.reused = False
        """Whether one was followed by the network with other weights or in another type."""

    def kept(self, inputs: Inputs) -> _Reference | None:
        """What was recorded at that size, if anything was."""
        found = self._kept.get(shapes_of(inputs))
        self.reused |= found is not None
        return found

    def keep(self, inputs: Inputs, reference: _Reference) -> None:
        """From now on the one of that size."""
        self._kept[shapes_of(inputs)] = reference


def run_without(
    model: nn.Module,
    inputs: Inputs,
    removed: Removed,
    *,
    edit: Edit,
    dtype: torch.dtype | None,
    options: TraceOptions,
    scales: Scales | None = None,
    references: References | None = None,
) -> list[Tensor]:
    """All tensors that a model computes with channels switched off.

    Args:
        model: it stays as it is.
        inputs: what the model is called with.
        removed: the slices that leave.
        edit: sets them to zero.
        dtype: type to compute in; its own if None.
        options: how the network was traced when the slices were found.
        scales: sizes that the code keeps, and of whose root it makes a scale, which then is that of
            what is left, as for an attention of torch.
        references: recordings of the same network, maybe with other weights; if it runs other
            operators now, it is recorded anew.

    Raises:
        VerificationError: an operator that reduces over them cannot be run on a part of them, or
            the code makes something else than a scale of the `scales`.
    """
    tensors = tree_map(lambda x: converted(x, dtype), plain(inputs))
    references = References() if references is None else references
    wide = dtype == torch.float64 or is_double(model)

    def followed(reference: _Reference, sizes: Mapping[Attribute, int]) -> _Followed:
        private = converted_copy(model, edit, dtype)
        trace_attributes(model, private, sizes)
        leaving = _Leaving(reference, removed)
        tape = _Follower(ModulePath(private), reference, leaving, noting=bool(scales))
        way = Way(tape, wide=wide, left=leaving.left)
        return _Followed(tape, tensors_in(follow(model, private, tensors, way)))

    def computed(reference: _Reference) -> list[Tensor]:
        plainly = followed(reference, {})
        if not scales:
            return plainly.results
        scaled = followed(reference, {size: after for size, (_, after) in scales.items()})
        _check_scales(plainly.tape, scaled.tape, scales)
        return scaled.results

    if kept := references.kept(inputs):
        with suppress(VerificationError):
            return computed(kept)
    fresh = _reference(model, tensors, dtype, options, wide=wide)
    references.keep(inputs, fresh)
    return computed(fresh)


@dataclass(frozen=True, eq=False)
class _Followed:
    """A run, what it computed with beside the tensors that it was given and made, and results."""

    tape: _Follower
    results: list[Tensor]


def _check_scales(plainly: _Follower, scaled: _Follower, scales: Scales) -> None:
    """Where sizes were exchanged, only scales may change: of that width, by the root of it."""
    alike = len(plainly.constants) == len(scaled.constants) and all(
        map(torch.equal, plainly.constants, scaled.constants)
    )
    pairs = zip(plainly.operators, scaled.operators, strict=True)
    if alike and all(scaled.rescales(one, other, scales) for one, other in pairs):
        return
    names = ", ".join(sorted(f"'{size!r}'" for size in scales))
    message = (
        f"the code computes with {names} otherwise than by the root of it, as a scale of what is "
        "that wide; protect the groups that it follows from"
    )
    raise VerificationError(message)


def _reference(
    model: nn.Module,
    tensors: Inputs,
    dtype: torch.dtype | None,
    options: TraceOptions,
    *,
    wide: bool,
) -> _Reference:
    recording = _recorded(model, tensors, dtype, wide=wide)
    walked = walk(
        recording,
        {**RULES, **(options.rules or {})},
        positions=positions_in(model),
        layers=layers_in(model),
        opaque=options.opaque,
    )
    structure = find_structure(recording, walked, model, options.attention)
    return _Reference(recording.operators, walked, structure.flow.solution)


def _recorded(
    model: nn.Module, tensors: Inputs, dtype: torch.dtype | None, *, wide: bool
) -> Recording:
    """What the dense network runs, with values, since kernels may be others without."""
    base = converted_copy(model, lambda _, tensor: tensor, dtype)
    return record(base, tensors, wide=wide, on_values=True)


class _Leaving:
    """Tells which indices of an axis leave."""

    def __init__(self, reference: _Reference, removed: Removed) -> None:
        self._walked = walked = reference.walked
        self._solution = solution = reference.solution
        self._gone = np.zeros(len(solution.classes), dtype=np.bool_)
        for name, axes in removed.items():
            for position, indices in axes.items():
                labels = walked.state[name][position]
                if labels is not None:
                    self._gone[solution.of(labels[np.asarray(indices, dtype=np.int64)])] = True

    def mask(self, axis: Axis) -> NDArray[np.bool_]:
        """For every index whether it leaves."""
        if axis is None:
            return np.zeros(0, dtype=np.bool_)
        return np.asarray(self._gone[self._solution.of(axis.reshape(-1))])

    def left(self, axis: AxisSize) -> int:
        """Length of an axis when they have left."""
        gone = int(self.mask(self._walked.known[axis.value][axis.dim]).sum())
        return self._walked.shapes[axis.value][axis.dim] - gone

    def kept(self, axes: Sequence[Axis]) -> dict[int, Tensor]:
        """Indices that stay, for every axis of which some leave."""
        masks = {position: self.mask(axis) for position, axis in enumerate(axes)}
        return {
            position: torch.from_numpy(np.flatnonzero(~mask))
            for position, mask in masks.items()
            if mask.any()
        }


class _Follower(Tape):  # type: ignore[no-untyped-call]
    """Follows a recording, and runs what reduces over leaving channels without them."""

    def __init__(
        self,
        module: Callable[[], str],
        reference: _Reference,
        leaving: _Leaving,
        *,
        noting: bool = False,
    ) -> None:
        super().__init__(module)
        self.constants: list[Tensor] = []
        """What the code brings in by itself, if that is noted."""
        self._noting, self._running = noting, False
        self._operators = reference.operators
        self._walked = reference.walked
        self._leaving = leaving
        self._loose: set[int] = set()
        """Values of which the size follows from what others are."""
        self._by_mask = False

    def run(
        self,
        func: OpOverload,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Call an operator as it is, or on the channels that stay."""
        number = len(self.operators)
        if number >= len(self._operators) or self._operators[number].function is not func:
            message = (
                f"the network does not run the same operators twice ({func} comes unexpected), so "
                "its norms cannot be proven"
            )
            raise VerificationError(message)
        tensors = [x for x in tree_leaves((args, dict(kwargs))) if isinstance(x, Tensor)]
        self._by_mask = any(x.dtype == torch.bool for x in tensors)
        self._running = True
        if not self._reduces(number):
            return func(*args, **kwargs)
        return self._without(number, func, self.complete(func, args, kwargs))

    def _new(self, tensor: Tensor) -> Value:
        """Number a tensor; one that no operator made, and no caller gave, is the code's own."""
        if self._noting and self.inputs and not self._running:
            self.constants.append(tensor.detach().clone())
        return super()._new(tensor)

    def add(
        self, function: OpOverload, arguments: tuple[Any, ...], outputs: tuple[Value, ...]
    ) -> None:
        """Write down a call; but for numbers to compute with, it must be the recorded one."""
        super().add(function, arguments, outputs)
        self._running = False
        number = len(self.operators) - 1
        self._loosen(self.operators[number])
        if number < len(self._operators) and not self._repeats(number):
            message = (
                f"{self.operators[number].name} in {self._module() or 'the model'} gets another "
                "size or another tensor when channels leave, which the code computes from a width "
                "in a way that is not followed, as in `int(c * 0.5)`; protect the groups it reads"
            )
            raise VerificationError(message)

    def rescales(self, one: Operator, other: Operator, scales: Scales) -> bool:
        """Whether a call with other numbers scales something by the root of how wide it is."""
        pairs = zip(_scalars(one), _scalars(other), strict=True)
        changed = [(before, after) for before, after in pairs if before != after]
        roots = [
            (after / before) ** power
            for before, after in set(scales.values()) & self._widths(other)
            for power in (0.5, -0.5)
        ]
        return all(
            was and any(abs(now / was / root - 1) < _SAME for root in roots) for was, now in changed
        )

    def _widths(self, operator: Operator) -> set[tuple[int, int]]:
        """Length of every axis of what it reads, and what is left of it."""
        return {
            (length, self._leaving.left(AxisSize(value.index, dim)))
            for value in operator.operands
            for dim, length in enumerate(self._walked.shapes[value.index])
        }

    def _repeats(self, number: int) -> bool:
        """Whether the sizes and tensors of a call are those that were recorded."""
        found, recorded = self.operators[number], self._operators[number]
        loose = [value.index in self._loose for value in found.outputs]
        shapes = [self.shapes[value.index] for value in found.outputs]
        before = [self._walked.shapes[value.index] for value in recorded.outputs]
        return (
            _sizes_and_tensors(found) == _sizes_and_tensors(recorded)
            and found.outputs == recorded.outputs
            and all(
                free or now == was for free, now, was in zip(loose, shapes, before, strict=True)
            )
        )

    def _loosen(self, operator: Operator) -> None:
        """Note a size that values decide, as that of `x[mask]`, and what is computed of it."""
        places = operator.name == "aten.index" and self._by_mask
        from_loose = any(value.index in self._loose for value in operator.operands)
        written = operator.name in _WRITES  # into what has a size of its own
        if places or operator.name in _COUNTS or (from_loose and not written):
            self._loose |= {value.index for value in operator.outputs}

    def _reduces(self, number: int) -> bool:
        """Whether the operator reduces over channels that leave."""
        return any(self._leaving.mask(axis).any() for axis in self._walked.reduced[number])

    def _without(self, number: int, func: OpOverload, arguments: Sequence[Any]) -> Any:
        """Run an operator on the channels that stay, and put the result in their places."""
        operator = self._operators[number]
        if func._schema.is_mutable:  # noqa: SLF001 (torch keeps schemas private)
            raise _unprovable(operator)
        if operator.name in NOISE:
            return self._drawn(number, func, arguments)
        if operator.name.startswith(_ATTENTION) and not self._attends_to_leaving(operator):
            return called(func, self._rescaled(operator, func, arguments))
        written = [*operator.arguments, *[None] * (len(arguments) - len(operator.arguments))]
        sliced = [self._sliced(x, y) for x, y in zip(arguments, written, strict=True)]
        if operator.name in _SIZED:
            place = _SIZED[operator.name]
            sliced[place] = list(sliced[0].shape[-len(sliced[place]) :])
        elif operator.name == "aten.native_group_norm":  # of channels, and of places of each
            sliced[4] = sliced[0].shape[1]
            sliced[6] = self._norm_groups_left(operator, arguments[6])
        whole = called(func, arguments)  # it has the memory layout that the rest expects
        try:
            result = called(func, sliced)
            if isinstance(result, Tensor) and self._multiplies_queries(operator):
                result = result * (arguments[0].shape[-1] / sliced[0].shape[-1]) ** 0.5
            outputs = zip(operator.outputs, range(len(operator.outputs)), strict=True)
            return tree_map(lambda x, y: self._spread(number, x, y, outputs), whole, result)
        except RuntimeError as error:
            raise _unprovable(operator) from error

    def _norm_groups_left(self, operator: Operator, norm_groups: int) -> int:
        """Groups of a norm of which something stays: they may leave whole."""
        source: Value = operator.arguments[0]
        gone = self._leaving.mask(self._walked.known[source.index][1]).reshape(norm_groups, -1)
        stay = gone.shape[1] - gone.sum(axis=1)
        if np.unique(stay[stay > 0]).size > 1:
            raise _unprovable(operator)
        return int((stay > 0).sum())

    def _drawn(self, number: int, func: OpOverload, arguments: Sequence[Any]) -> Any:
        """Draw as many random numbers as the slim network does, for the channels that stay."""
        value = self._operators[number].outputs[0]
        kept = self._leaving.kept(self._walked.known[value.index])
        shape = list(arguments[0])
        fewer = [len(kept[d]) if d in kept else size for d, size in enumerate(shape)]
        drawn = called(func, [fewer, *arguments[1:]])
        return self._spread(number, drawn.new_zeros(shape), drawn, iter([(value, 0)]))

    def _multiplies_queries(self, operator: Operator) -> bool:
        """Whether it is queries times keys, scaled before by the root of the width of all channels.

        It comes before the softmax of the same attention; a kernel for all of it takes the width of
        what it is given.
        """
        before = reversed(self._operators[: self._operators.index(operator)])
        same = takewhile(lambda earlier: earlier.scaled_by_width, before)
        softmaxed = any("softmax" in earlier.name for earlier in same)
        return operator.scaled_by_width and operator.name in _PRODUCTS and not softmaxed

    def _attends_to_leaving(self, operator: Operator) -> bool:
        """Whether some of what is attended to leaves, and not only channels of it."""
        key: Value = operator.arguments[1]
        return -2 + len(self._walked.known[key.index]) in self._leaving.kept(
            self._walked.known[key.index]
        )

    def _rescaled(
        self, operator: Operator, func: OpOverload, arguments: Sequence[Any]
    ) -> list[Any]:
        """Arguments of an attention with the scale of the width that stays: zeros add nothing."""
        query: Value = operator.arguments[0]
        gone = int(self._leaving.mask(self._walked.known[query.index][-1]).sum())
        scale = (arguments[0].shape[-1] - gone) ** -0.5
        names = [argument.name for argument in func._schema.arguments]  # noqa: SLF001
        place = names.index("scale")
        return [*arguments[:place], scale, *arguments[place + 1 :]]

    def _sliced(self, argument: Any, written: Any) -> Any:
        if isinstance(argument, Tensor) and isinstance(written, Value):
            for position, kept in self._leaving.kept(self._walked.known[written.index]).items():
                argument = argument.index_select(position, kept.to(argument.device))
            return argument
        if isinstance(argument, list | tuple) and isinstance(written, list | tuple):
            return [self._sliced(x, y) for x, y in zip(argument, written, strict=True)]
        return argument

    def _spread(
        self, number: int, whole: Any, result: Any, outputs: Iterator[tuple[Value, int]]
    ) -> Any:
        """Put the result in its places in the dense one, and zeros beside it where it reduces."""
        if not isinstance(whole, Tensor):
            return result
        value, place = next(outputs)
        axes: Sequence[Axis] = self._walked.known[value.index]
        reduced = {id(axis) for axis in self._walked.reduced[number]}
        base = whole.clone()
        staying = {p: kept.to(base.device) for p, kept in self._leaving.kept(axes).items()}
        for position in (p for p in staying if id(axes[p]) in reduced):
            gone = torch.from_numpy(self._leaving.mask(axes[position])).to(base.device)
            base.index_fill_(position, gone.nonzero().squeeze(1), 0)
        for position, kept in staying.items():
            around = base
            for later in (p for p in staying if p > position):
                around = around.index_select(later, staying[later])
            result = around.index_copy(position, kept, result)
        if whole.shape != result.shape and place:
            return whole  # statistics, which only training reads
        return whole.copy_(result)


def _sizes_and_tensors(operator: Operator) -> list[Any]:
    """The arguments of a call but for numbers with which it computes."""
    schema = operator.function._schema  # noqa: SLF001 (torch keeps schemas private)
    sizes = [
        argument
        for declared, argument in zip(schema.arguments, operator.arguments, strict=True)
        if "int" in str(declared.type) and declared.name not in _OF_STORAGE
    ]
    return [sizes, operator.operands]


def _scalars(operator: Operator) -> list[Any]:
    """The numbers with which it computes."""
    return [
        argument
        for declared, argument in zip(
            operator.function._schema.arguments,  # noqa: SLF001 (torch keeps schemas private)
            operator.arguments,
            strict=True,
        )
        if "int" not in str(declared.type)
        and isinstance(argument, int | float | complex)
        and not isinstance(argument, bool)
    ]


def _unprovable(operator: Operator) -> VerificationError:
    return VerificationError(
        f"{operator.name} in {operator.module or 'the model'} reduces over channels that leave, "
        "and cannot be run on those that stay; protect the groups that it reads"
    )
