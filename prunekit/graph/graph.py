"""The channel dependency graph of a network: trace it, ask what may leave, and prove it."""

from __future__ import annotations

__all__ = [
    "ChannelGraph",
    "Length",
    "SizeField",
    "Term",
    "check_traceable",
    "fingerprint",
    "trace",
]

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from prunekit.errors import TraceError
from prunekit.graph.groups import (
    ChannelGroup,
    FrozenAxis,
    Member,
    StateAxis,
    find_frozen,
    find_groups,
    params_share,
)
from prunekit.graph.labels import Facts, Labels, Reason
from prunekit.graph.naming import Ends, name_groups
from prunekit.graph.record import Inputs, Recording, record
from prunekit.graph.rules import Axes, Call, Contraction, apply_rule
from prunekit.graph.solve import Solution, solve
from prunekit.graph.verify import LawResult, check_reversal

_IMAGE_CHANNELS = 4
"""An input or output with more channels than RGBA is not taken for an image."""


@dataclass(frozen=True)
class Length:
    """Length of an axis as a function of the widths."""

    fixed: int
    """Channels that always stay."""
    each: Mapping[str, int]
    """Channels that a unit of each group has on the axis."""

    def at(self, widths: Mapping[str, int]) -> int:
        """Length when each group has this many units left."""
        return self.fixed + sum(each * widths[name] for name, each in self.each.items())


@dataclass(frozen=True)
class Term:
    """Multiply-accumulates of one operator as a function of the widths."""

    module: str
    constant: int
    axes: tuple[Length, ...]
    """The lengths that multiply the constant."""

    def macs(self, widths: Mapping[str, int]) -> int:
        """Multiply-accumulates when each group has this many units left."""
        return self.constant * math.prod(axis.at(widths) for axis in self.axes)


@dataclass(frozen=True)
class SizeField:
    """An attribute of a module that keeps the length of an axis, such as `out_channels`."""

    module: str
    attribute: str
    length: Length


@dataclass(frozen=True, eq=False)
class ChannelGraph:
    """Which slices of which tensors leave together, and which axes must stay.

    Every axis longer than 1 of every parameter and buffer is in a group, or frozen with a reason,
    or part of it is in each.
    """

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenAxis, ...]
    shapes: Mapping[str, tuple[int, ...]] = field(repr=False)
    """Shape of every parameter and buffer."""
    parameters: frozenset[str] = field(repr=False)
    """Which of them are parameters."""
    terms: tuple[Term, ...] = field(repr=False)
    """What each operator costs."""
    fields: tuple[SizeField, ...] = field(repr=False)
    """Attributes that have to follow the widths."""
    fingerprint: str = field(repr=False)
    """Digest of the class and of the names, shapes and types of all tensors."""
    operators: int
    """How many operators were recorded."""
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        """Tell the story in a line a group."""
        axes = f"{len(self.groups)} groups, {len(self.frozen)} frozen axes"
        head = f"ChannelGraph: {self.operators} operators, {axes}"
        rows = [
            f"  {g.name}: width {g.width}, {g.axes} axes, {g.params_share:.1%} of the parameters"
            for g in self.groups
        ]
        return "\n".join([head, *rows])

    def __getitem__(self, name: str) -> ChannelGroup:
        """Return the group of this name; `KeyError` if there is none."""
        return {group.name: group for group in self.groups}[name]

    @property
    def widths(self) -> dict[str, int]:
        """Units of every group."""
        return {group.name: group.width for group in self.groups}

    def verify(self, model: nn.Module, inputs: Inputs) -> LawResult:
        """Prove the groups on the model they were found in: reversing their units changes nothing.

        The model is untouched.
        """
        return check_reversal(model, self.groups, inputs)

    @property
    def scale(self) -> int | None:
        """Magnification from the first input to the first output; None if they tell none."""
        if not self.input_shapes or not self.output_shapes:
            return None
        lr, hr = self.input_shapes[0][-2:], self.output_shapes[0][-2:]
        if len(lr) != 2 or len(hr) != 2:  # noqa: PLR2004 (height, width)
            return None
        factors = {(big // small, big % small) for small, big in zip(lr, hr, strict=True)}
        (factor, rest), *others = factors
        return factor if not others and not rest and factor else None

    def macs(self, widths: Mapping[str, int] | None = None) -> int:
        """Multiply-accumulates at the traced size when groups have these widths."""
        full = {**self.widths, **(widths or {})}
        return sum(term.macs(full) for term in self.terms)

    def params(self, widths: Mapping[str, int] | None = None) -> int:
        """Parameters when groups have these widths."""
        lengths = {name: list(self.shapes[name]) for name in self.parameters}
        for group in self.groups:
            removed = group.width - (widths or {}).get(group.name, group.width)
            for member in group.members:
                if member.tensor in lengths:
                    lengths[member.tensor][member.axis] -= removed * member.indices.shape[1]
        return sum(int(np.prod(shape)) for shape in lengths.values())


def trace(model: nn.Module, example_inputs: Inputs) -> ChannelGraph:
    """Record one forward pass and solve for the groups.

    Args:
        model: any module that runs eagerly. It is not changed and no weight is copied.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments of
            the shapes that the model takes, such as `(1, 3, 48, 48)`; values do not matter.

    Raises:
        TraceError: the model is no module, holds no parameters, or fails on the inputs.
    """
    check_traceable(model)
    recording = record(model, example_inputs)
    facts, known, contractions = _apply_rules(recording)
    axes = [
        StateAxis(name, position, labels)
        for name, value in recording.state.items()
        for position, labels in enumerate(known[value.index])
        if labels is not None
    ]
    solution, found = _solve(facts, axes, recording)
    containers = {n for n, m in model.named_modules() if isinstance(m, nn.Sequential)}
    groups = _describe(found, solution, contractions, recording, containers)
    lengths = _Lengths(groups, solution)
    return ChannelGraph(
        groups=groups,
        frozen=tuple(find_frozen(axes, solution)),
        shapes={name: recording.shapes[value.index] for name, value in recording.state.items()},
        parameters=recording.parameters,
        terms=_terms(contractions, lengths),
        fields=_fields(facts, model, lengths),
        fingerprint=fingerprint(model),
        operators=len(recording.operators),
        input_shapes=tuple(recording.shapes[value.index] for value in recording.inputs),
        output_shapes=tuple(recording.shapes[value.index] for value in recording.outputs),
    )


def check_traceable(model: nn.Module) -> None:
    """Raise `TraceError` for what no inputs could make traceable."""
    if not isinstance(model, nn.Module):  # callers without a type checker
        message = f"a torch.nn.Module is traced, not {type(model).__name__}"  # type: ignore[unreachable]
        raise TraceError(message)
    if next(model.parameters(), None) is None:
        message = f"{type(model).__name__} has no parameters, so there is nothing to prune"
        raise TraceError(message)
    if any(isinstance(module, torch.jit.ScriptModule) for module in model.modules()):
        message = (
            f"{type(model).__name__} is TorchScript, whose layers cannot be rebuilt; "
            "give the Python module that it was made of"
        )
        raise TraceError(message)


def fingerprint(model: nn.Module) -> str:
    """Digest of the class and of the names, shapes and types of all parameters and buffers."""
    tensors = (*model.named_parameters(), *model.named_buffers())
    lines = [type(model).__qualname__]
    lines += sorted(f"{name} {tuple(t.shape)} {t.dtype}" for name, t in tensors)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _solve(
    facts: Facts, axes: Sequence[StateAxis], recording: Recording
) -> tuple[Solution, list[tuple[Labels, tuple[Member, ...]]]]:
    """Solve, freeze what is no wider than the image, and again until there is nothing such."""
    while True:
        solution = solve(facts)
        found = find_groups(axes, solution)
        fixed = [classes for classes, members in found if _is_fixed(members, recording)]
        if not fixed:
            return solution, found
        for classes in fixed:
            every_label = np.flatnonzero(np.isin(solution.classes, classes))
            facts.freeze(every_label, _fixed_reason(recording))


def _apply_rules(recording: Recording) -> tuple[Facts, dict[int, Axes], list[Contraction]]:
    """Walk the recording once; every operator adds what it says."""
    facts = Facts()
    known = _Known(recording.shapes)
    for value in recording.state.values():
        known[value.index] = facts.axes(recording.shapes[value.index])
    state = dict(known)
    contractions: list[Contraction] = []
    for operator in recording.operators:
        call = Call(operator, recording.shapes, known, facts, contractions)
        for output, axes in zip(operator.outputs, apply_rule(call), strict=True):
            known[output.index] = axes
    for output in recording.outputs:
        for axis in known[output.index]:
            facts.freeze(axis, Reason("output of the model"))
    _freeze_unread(facts, recording, state)
    return facts, {**known, **state}, contractions


def _freeze_unread(facts: Facts, recording: Recording, state: Mapping[int, Axes]) -> None:
    """What is only read in training, such as an extra head, belongs with nobody knows what."""
    read = {value.index for operator in recording.operators for value in operator.operands}
    for value in recording.state.values():
        if value.index not in read:
            for axis in state[value.index]:
                facts.freeze(axis, Reason("not read in evaluation mode"))


class _Known(dict[int, "Axes"]):
    """Axes by value; what no operator made (inputs, constants in the code) is of fixed size."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._shapes = shapes

    def __missing__(self, index: int) -> Axes:
        return (None,) * len(self._shapes[index])


def _image_channels(recording: Recording) -> int:
    """Channels of the image that goes in or comes out; 0 where there is none."""
    shapes = [recording.shapes[v.index] for v in (*recording.inputs, *recording.outputs)]
    channels = [shape[-3] for shape in shapes if len(shape) >= 3]  # noqa: PLR2004 (C, H, W)
    return max((c for c in channels if c <= _IMAGE_CHANNELS), default=0)


def _is_fixed(members: Sequence[Member], recording: Recording) -> bool:
    """Whether a group carries the image itself, or no parameter."""
    narrow = len(members[0].indices) <= _image_channels(recording)
    return narrow or not any(member.tensor in recording.parameters for member in members)


def _fixed_reason(recording: Recording) -> Reason:
    return Reason(f"no wider than the image ({_image_channels(recording)} channels)")


def _describe(
    found: Sequence[tuple[Labels, tuple[Member, ...]]],
    solution: Solution,
    contractions: Sequence[Contraction],
    recording: Recording,
    containers: set[str],
) -> tuple[ChannelGroup, ...]:
    shapes = {name: recording.shapes[value.index] for name, value in recording.state.items()}
    sizes = {name: int(np.prod(shapes[name])) for name in recording.parameters}
    owner = _owners([classes for classes, _ in found], solution)
    names = name_groups(_ends(found, contractions, solution, owner), containers)
    return tuple(
        ChannelGroup(
            name=name,
            kind="channel",
            width=len(classes),
            members=members,
            exact=not bool(solution.reduced[classes].any()),
            params_share=params_share(members, shapes, sizes),
            classes=classes,
        )
        for name, (classes, members) in zip(names, found, strict=True)
    )


def _owners(classes: Sequence[Labels], solution: Solution) -> NDArray[np.int64]:
    """Number of the group of every class; -1 for classes in none."""
    owner = np.full(len(solution.classes), -1, dtype=np.int64)
    for number, group in enumerate(classes):
        owner[group] = number
    return owner


def _ends(
    found: Sequence[tuple[Labels, tuple[Member, ...]]],
    contractions: Sequence[Contraction],
    solution: Solution,
    owner: NDArray[np.int64],
) -> list[Ends]:
    makers: list[dict[str, int]] = [{} for _ in found]
    readers: list[dict[str, int]] = [{} for _ in found]
    for contraction in contractions:
        for axis, into in ((contraction.makes, makers), (contraction.reads, readers)):
            if axis is None:
                continue
            numbers, counts = np.unique(owner[solution.of(axis)], return_counts=True)
            for number, count in zip(numbers, counts, strict=True):
                if number >= 0:
                    into[number][contraction.module] = count // len(found[number][0])
    return [
        Ends(tuple(made), tuple(read), max(made.values(), default=1), len(members))
        for made, read, (_, members) in zip(makers, readers, found, strict=True)
    ]


class _Lengths:
    """Turns labels into lengths."""

    def __init__(self, groups: Sequence[ChannelGroup], solution: Solution) -> None:
        self._groups = groups
        self._solution = solution
        self._owner = _owners([group.classes for group in groups], solution)

    def of(self, labels: Labels) -> Length:
        owners = self._owner[self._solution.of(labels)]
        numbers, counts = np.unique(owners, return_counts=True)
        lengths = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
        fixed = lengths.pop(-1, 0)
        groups = self._groups
        return Length(fixed, {groups[n].name: c // groups[n].width for n, c in lengths.items()})


def _terms(contractions: Sequence[Contraction], lengths: _Lengths) -> tuple[Term, ...]:
    return tuple(
        Term(c.module, c.constant, tuple(lengths.of(axis) for axis in c.axes)) for c in contractions
    )


def _fields(facts: Facts, model: nn.Module, lengths: _Lengths) -> tuple[SizeField, ...]:
    """Attributes that really hold the length that the operator saw, and that may change."""
    modules = dict(model.named_modules())
    fields = []
    for (module, attribute), axis in facts.sizes.items():
        if axis is None or getattr(modules[module], attribute, None) != len(axis):
            continue
        length = lengths.of(axis)
        if length.each:
            fields.append(SizeField(module, attribute, length))
    return tuple(fields)
