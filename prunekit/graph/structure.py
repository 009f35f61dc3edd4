"""From what the operators said to groups, frozen axes, costs and constraints."""

from __future__ import annotations

__all__ = ["Structure", "find_structure"]

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from prunekit.graph.counts import Agreement, SizeRule, agree, read_attribute
from prunekit.graph.flow import Flow
from prunekit.graph.groups import (
    ChannelGroup,
    FrozenAxis,
    Member,
    StateAxis,
    find_frozen,
    find_groups,
    params_share,
)
from prunekit.graph.integers import Attribute, AxisSize
from prunekit.graph.labels import Axis, Facts, Labels, Reason
from prunekit.graph.lengths import Length, LengthReader, SizeField, Term, terms_of
from prunekit.graph.naming import Ends, name_groups
from prunekit.graph.record import Recording
from prunekit.graph.rules import Axes, Contraction
from prunekit.graph.solve import Attention, Solution, Solver
from prunekit.graph.walk import UNREAD, Walk

_IMAGE_CHANNELS = 4
"""An input or output with more channels than RGBA is not taken for an image."""

Found = list[tuple[Labels, tuple[Member, ...]]]
"""Classes and members of every group."""


@dataclass(frozen=True)
class Structure:
    """What a graph knows of the network."""

    groups: tuple[ChannelGroup, ...]
    frozen: tuple[FrozenAxis, ...]
    terms: tuple[Term, ...]
    fields: tuple[SizeField, ...]
    balances: tuple[tuple[str, ...], ...]
    rules: tuple[SizeRule, ...]
    output_axes: tuple[tuple[str, int], ...]
    flow: Flow


def find_structure(
    recording: Recording, walked: Walk, model: nn.Module, attention: Attention
) -> Structure:
    """Solve, and describe what came out."""
    axes = [
        StateAxis(name, position, labels)
        for name, state in walked.state.items()
        for position, labels in enumerate(state)
        if labels is not None
    ]
    solution, found = _solve(recording, walked, model, axes, attention)
    containers = {n for n, m in model.named_modules() if isinstance(m, nn.Sequential)}
    groups = _describe(recording, walked, solution, found, containers)
    lengths = LengthReader([g.name for g in groups], [g.classes for g in groups], solution)
    agreement = _agree(recording, walked, model, lengths, {g.name: g.width for g in groups})
    return Structure(
        groups=groups,
        frozen=tuple(find_frozen(axes, solution)),
        terms=terms_of(walked.contractions, lengths),
        fields=_fields(recording, walked, model, lengths, agreement),
        balances=tuple(names for names in agreement.balances if len(names) > 1),
        rules=agreement.rules,
        output_axes=_output_axes(walked),
        flow=Flow(
            recording, walked.known, walked.contractions, walked.counted, solution, lengths, groups
        ),
    )


def _output_axes(walked: Walk) -> tuple[tuple[str, int], ...]:
    """Axes of parameters and buffers that make the channels of some convolution or product."""
    rows = {id(contraction.rows) for contraction in walked.contractions}
    return tuple(
        (name, position)
        for name, axes in walked.state.items()
        for position, axis in enumerate(axes)
        if axis is not None and id(axis) in rows
    )


def _solve(
    recording: Recording,
    walked: Walk,
    model: nn.Module,
    axes: Sequence[StateAxis],
    attention: Attention,
) -> tuple[Solution, Found]:
    """Solve, freeze what cannot be a group after all, and again until there is nothing such."""
    solver = Solver(walked.facts, attention)
    marks = _marks(walked, axes)
    while True:
        solution = solver.solve()
        found = find_groups(axes, solution, marks)
        kinds = _Kinds(walked.facts, solution)
        unfit = [
            (classes, reason)
            for classes, members in found
            if (reason := _unfit(classes, members, recording, kinds, walked.unread)) is not None
        ]
        if not unfit:
            unfit = _conflicts(recording, walked, model, solution, found)
        if not unfit:
            return solution, found
        for classes, reason in unfit:
            solver.freeze(np.asarray(classes), reason)


def _marks(walked: Walk, axes: Sequence[StateAxis]) -> list[Labels]:
    """Axes whose lengths are counted; units that lie on them differently are no one group."""
    counted = [count.axis for count in walked.facts.counts]
    counted += [axis for contraction in walked.contractions for axis in contraction.axes]
    others = {id(axis): axis.reshape(-1) for axis in counted}
    for axis in axes:
        others.pop(id(axis.labels), None)
    return list(others.values())


def _unfit(
    classes: Labels,
    members: Sequence[Member],
    recording: Recording,
    kinds: _Kinds,
    unread: Collection[str],
) -> Reason | None:
    """Why a group cannot be one, if it cannot."""
    if all(member.tensor in unread for member in members):
        return UNREAD
    width, image = len(members[0].indices), _image_channels(recording)
    if not any(member.tensor in recording.parameters for member in members):
        return Reason("no parameter is on it", cause="space")
    if width == 1:
        return Reason("its channels could only leave all together", cause="code")
    if width <= image and kinds.of(classes) == "channel":
        return Reason(f"no wider than the image ({image} channels)", cause="image")
    return None


def _image_channels(recording: Recording) -> int:
    """Channels of the image that goes in or comes out; 0 where there is none."""
    shapes = [recording.shapes[v.index] for v in (*recording.inputs, *recording.outputs)]
    # (N, C, H, W), (C, H, W), and for clips (N, T, C, H, W) or (N, C, T, H, W)
    channels = [min(shape[1:-2] or shape[:1]) for shape in shapes if len(shape) >= 3]  # noqa: PLR2004
    return max((c for c in channels if c <= _IMAGE_CHANNELS), default=0)


def _conflicts(
    recording: Recording, walked: Walk, model: nn.Module, solution: Solution, found: Found
) -> list[tuple[Labels, Reason]]:
    """Groups for which the code computes a size that no narrower width meets."""
    names = [str(number) for number in range(len(found))]
    classes = {name: labels for name, (labels, _) in zip(names, found, strict=True)}
    lengths = LengthReader(names, list(classes.values()), solution)
    widths = {name: len(labels) for name, labels in classes.items()}
    agreement = _agree(recording, walked, model, lengths, widths)
    return [(classes[name], reason) for blamed, reason in agreement.conflicts for name in blamed]


def _agree(
    recording: Recording,
    walked: Walk,
    model: nn.Module,
    lengths: LengthReader,
    widths: Mapping[str, int],
) -> Agreement:
    def known(leaf: AxisSize) -> tuple[Axis, int]:
        return walked.known[leaf.value][leaf.dim], recording.shapes[leaf.value][leaf.dim]

    counts, divided = walked.facts.counts, recording.divided
    return agree(counts, lengths, known, model, widths, divided=divided)


def _describe(
    recording: Recording,
    walked: Walk,
    solution: Solution,
    found: Found,
    containers: set[str],
) -> tuple[ChannelGroup, ...]:
    shapes = {name: recording.shapes[value.index] for name, value in recording.state.items()}
    sizes = {name: int(np.prod(shapes[name])) for name in recording.parameters}
    names = name_groups(_ends(found, walked.contractions, solution), containers)
    kinds = _Kinds(walked.facts, solution)
    return tuple(
        ChannelGroup(
            name=name,
            kind=kinds.of(classes),
            width=len(classes),
            members=members,
            exact=not bool(solution.reduced[classes].any()),
            params_share=params_share(members, shapes, sizes),
            classes=classes,
        )
        for name, (classes, members) in zip(names, found, strict=True)
    )


class _Kinds:
    """Tells heads, the width of heads and groups of convolutions from other channels."""

    def __init__(self, facts: Facts, solution: Solution) -> None:
        heads = _marked(facts.heads, solution)
        conv_groups = _marked(facts.conv_groups, solution)
        count = len(solution.classes)
        self._heads = np.zeros(count, dtype=np.bool_)
        self._head_dims = np.zeros(count, dtype=np.bool_)
        self._conv_groups = np.zeros(count, dtype=np.bool_)
        for product in facts.products:
            factors = [solution.of(factor) for factor in product.factors]
            is_heads = [bool(heads[factor].any()) for factor in factors]
            for factor, mine in zip(factors, is_heads, strict=True):
                if any(is_heads) and not all(is_heads):
                    (self._heads if mine else self._head_dims)[factor] = True
                self._conv_groups[factor] |= conv_groups[factor]

    def of(self, classes: Labels) -> str:
        """Kind of the group that has these classes."""
        for marks, kind in (
            (self._heads, "heads"),
            (self._head_dims, "head_dim"),
            (self._conv_groups, "conv_groups"),
        ):
            if marks[classes].any():
                return kind
        return "channel"


def _marked(labels: Sequence[Labels], solution: Solution) -> NDArray[np.bool_]:
    marks = np.zeros(len(solution.classes), dtype=np.bool_)
    for one in labels:
        marks[solution.of(one)] = True
    return marks


def _ends(found: Found, contractions: Sequence[Contraction], solution: Solution) -> list[Ends]:
    names = [str(number) for number in range(len(found))]
    lengths = LengthReader(names, [classes for classes, _ in found], solution)
    makers: list[dict[str, int]] = [{} for _ in found]
    readers: list[dict[str, int]] = [{} for _ in found]
    for contraction in contractions:
        for axis, into in ((contraction.makes, makers), (contraction.reads, readers)):
            for name, each in lengths.of(axis).each.items() if axis is not None else ():
                into[int(name)][contraction.module] = each
    return [
        Ends(tuple(made), tuple(read), max(made.values(), default=1), len(members))
        for made, read, (_, members) in zip(makers, readers, found, strict=True)
    ]


def _fields(
    recording: Recording,
    walked: Walk,
    model: nn.Module,
    lengths: LengthReader,
    agreement: Agreement,
) -> tuple[SizeField, ...]:
    """Attributes that really hold the length that was seen, and that may change."""
    modules = dict(model.named_modules())
    fields = {}
    for (module, attribute), axis in {**_compared(recording, walked), **walked.facts.sizes}.items():
        if axis is None or read_attribute(model, Attribute(module, attribute)) != len(axis):
            continue
        length = lengths.of(axis)
        if length.each:
            fields[module, attribute] = SizeField(module, attribute, length)
    for field in _layer_fields(modules, walked.state, lengths):
        fields.setdefault((field.module, field.attribute), field)
    for found, length in agreement.attributes.items():
        fields[found.module, found.path] = SizeField(found.module, found.path, length)
    return tuple(fields.values())


def _compared(recording: Recording, walked: Walk) -> dict[tuple[str, str], Axis]:
    """Axes whose length the code compares with an attribute, by that."""
    found: dict[tuple[str, str], Axis] = {}
    for pair in recording.compared:
        for one, other in (pair, pair[::-1]):
            if isinstance(one, Attribute) and isinstance(other, AxisSize):
                axis = walked.known[other.value][other.dim]
                if axis is not None:
                    found.setdefault((one.module, one.path), axis)
    return found


_LAYER_SIZES: tuple[tuple[type | tuple[type, ...], str, int], ...] = (
    (nn.Linear, "out_features", 0),
    (nn.Linear, "in_features", 1),
    (nn.Bilinear, "out_features", 0),
    (nn.Bilinear, "in1_features", 1),
    (nn.Bilinear, "in2_features", 2),
    (nn.Embedding, "num_embeddings", 0),
    (nn.Embedding, "embedding_dim", 1),
    (_NormBase, "num_features", 0),
    (nn.GroupNorm, "num_channels", 0),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), "out_channels", 0),
    ((nn.Conv1d, nn.Conv2d, nn.Conv3d), "in_channels", 1),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), "in_channels", 0),
    ((nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d), "out_channels", 1),
)
"""Layers of torch, the attribute that tells a size, and the axis of the weight that has it."""


def _layer_fields(
    modules: Mapping[str, nn.Module], state: Mapping[str, Axes], lengths: LengthReader
) -> Iterator[SizeField]:
    """Sizes of layers whose weight is used without calling them; those in groups count apart."""
    for name, module in modules.items():
        if isinstance(module, nn.LayerNorm | nn.RMSNorm):
            yield from _normalised(name, state.get(f"{name}.weight", ()), lengths)
        if isinstance(module, nn.MultiheadAttention):
            yield from _attending(name, module, state.get(f"{name}.out_proj.weight", ()), lengths)
        weight = state.get(f"{name}.weight", ())
        for attribute, axis in _sizes_of(module):
            labels = weight[axis] if len(weight) > axis else None
            if labels is not None and len(labels) == getattr(module, attribute):
                length = lengths.of(labels)
                if length.each:
                    yield SizeField(name, attribute, length)


def _sizes_of(module: nn.Module) -> list[tuple[str, int]]:
    """Attributes of a layer that tell the length of an axis of its weight, and which."""
    groups = getattr(module, "groups", 1)
    if groups == 1:
        return [
            (attribute, axis) for kind, attribute, axis in _LAYER_SIZES if isinstance(module, kind)
        ]
    if isinstance(module, nn.Conv1d | nn.Conv2d | nn.Conv3d) and groups == module.in_channels:
        return [(attribute, 0) for attribute in ("groups", "in_channels", "out_channels")]
    return []


def _normalised(name: str, weight: Axes, lengths: LengthReader) -> Iterator[SizeField]:
    """The trailing sizes that a norm runs over."""
    for position, labels in enumerate(weight):
        if labels is not None and (length := lengths.of(labels)).each:
            yield SizeField(name, f"normalized_shape[{position}]", length)


def _attending(
    name: str, module: nn.MultiheadAttention, weight: Axes, lengths: LengthReader
) -> Iterator[SizeField]:
    """Widths of torch's attention, which asks for one width of what goes in and what comes out."""
    for labels, attributes in zip(
        weight, (("embed_dim", "kdim", "vdim"), ("head_dim",)), strict=False
    ):
        length = Length(0, {}) if labels is None else lengths.of(labels)
        for attribute in attributes:
            heads = module.num_heads if attribute == "head_dim" else 1
            if getattr(module, attribute) * heads == len(labels if labels is not None else ()):
                each = {group: count // heads for group, count in length.each.items()}
                yield SizeField(name, attribute, Length(length.fixed // heads, each))
