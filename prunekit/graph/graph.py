"""The channel dependency graph of a network: trace it, ask what may leave, and prove it."""

from __future__ import annotations

__all__ = ["ChannelGraph", "check_traceable", "fingerprint", "trace"]

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.errors import TraceError, did_you_mean
from prunekit.graph.copying import unwrap
from prunekit.graph.counts import SizeRule, narrower
from prunekit.graph.draws import draws_of
from prunekit.graph.flow import Flow, Step, find_steps
from prunekit.graph.groups import ChannelGroup, FrozenAxis
from prunekit.graph.integers import Attribute
from prunekit.graph.lengths import SizeField, Term
from prunekit.graph.record import Inputs, Recording, plain, record
from prunekit.graph.rules import RULES, Rule
from prunekit.graph.settings import settle
from prunekit.graph.solve import Attention
from prunekit.graph.structure import Structure, find_structure
from prunekit.graph.verify import LawResult, check_reversal
from prunekit.graph.walk import layers_in, positions_in, walk


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
    balances: tuple[tuple[str, ...], ...] = field(repr=False)
    """Groups whose widths follow from one another, such as the two halves of `chunk(2)`."""
    rules: tuple[SizeRule, ...] = field(repr=False)
    """Sizes that the code computes and that not every choice of widths meets."""
    output_axes: tuple[tuple[str, int], ...] = field(repr=False)
    """Tensor and axis of everything that makes the channels of a convolution or product."""
    flow: Flow = field(repr=False)
    """What `steps` are made from."""
    fingerprint: str = field(repr=False)
    """Digest of the class and of the names, shapes and types of all tensors."""
    operators: int
    """How many operators were recorded."""
    input_shapes: tuple[tuple[int, ...], ...]
    output_shapes: tuple[tuple[int, ...], ...]
    notes: tuple[str, ...] = ()
    """What the reader of the groups should know, such as branches that depend on values."""

    def __repr__(self) -> str:
        """Tell the story in a line a group."""
        axes = f"{len(self.groups)} groups, {len(self.frozen)} frozen axes"
        head = f"ChannelGraph: {self.operators} operators, {axes}"
        rows = [
            f"  {g.name}: {g.kind}, width {g.width}, {g.axes} axes, "
            f"{g.params_share:.1%} of the parameters"
            for g in self.groups
        ]
        return "\n".join([head, *rows, *(f"  note: {note}" for note in self.notes)])

    def __getitem__(self, name: str) -> ChannelGroup:
        """Return the group of this name; `KeyError` if there is none."""
        return {group.name: group for group in self.groups}[name]

    @property
    def widths(self) -> dict[str, int]:
        """Units of every group."""
        return {group.name: group.width for group in self.groups}

    def verify(self, model: nn.Module, inputs: Inputs) -> LawResult:
        """Prove the groups on the model they were found in: reversing their units changes nothing.

        The model is untouched. Raises `TraceError` for another network or other shapes.
        """
        check_traceable(model)
        model = unwrap(model)
        tensors = (*model.named_parameters(), *model.named_buffers())
        if {name: tuple(tensor.shape) for name, tensor in tensors} != dict(self.shapes):
            message = (
                f"the graph was made of another network than this {type(model).__name__}: "
                "name or shape of some tensor differ"
            )
            raise TraceError(message)
        shapes = tuple(tuple(x.shape) for x in tree_leaves(plain(inputs)) if isinstance(x, Tensor))
        if shapes != self.input_shapes:
            message = f"the graph was made at inputs of {self.input_shapes}, not {shapes}"
            raise TraceError(message)
        draws = draws_of(self.flow)
        return check_reversal(model, self.groups, inputs, draws=draws, own_weights=bool(self.notes))

    @cached_property
    def steps(self) -> tuple[Step, ...]:
        """The operators in order of execution, each with the groups on its output."""
        return find_steps(self.flow)

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

    def allows(self, widths: Mapping[str, int]) -> bool:
        """Whether every size that the code computes comes out right at these widths.

        Raises `TraceError` for a group that is not there or a width that it cannot have.
        """
        for name, width in widths.items():
            if name not in self.widths:
                message = f"there is no group '{name}'{did_you_mean(str(name), self.widths)}"
                raise TraceError(message)
            if not isinstance(width, int) or not 0 < width <= self.widths[name]:
                message = f"group '{name}' has from 1 to {self.widths[name]} units, not {width!r}"
                raise TraceError(message)
        return settle(self.rules, {**self.widths, **widths}) is not None

    def narrower(self, names: Sequence[str]) -> Iterator[dict[str, int]]:
        """Ways to narrow groups of one balance, or a single group, that the code allows.

        Raises `TraceError` for a group that is not there, or a part of a balance.
        """
        for name in names:
            if name not in self.widths:
                message = f"there is no group '{name}'{did_you_mean(str(name), self.widths)}"
                raise TraceError(message)
        for balance in self.balances:
            if not set(names).isdisjoint(balance) and not set(names) >= set(balance):
                message = f"groups {', '.join(balance)} only get narrower together; name them all"
                raise TraceError(message)
        rules = [rule for rule in self.rules if rule.groups <= set(names)]
        for widths in narrower(names, rules, self.widths):
            if settle(rules, widths) is not None:
                yield widths

    def settings(self, widths: Mapping[str, int]) -> dict[Attribute, int]:
        """Attributes that need another value at these widths, since sizes are computed from them.

        Raises `TraceError` where no value is right; `allows` says so before.
        """
        found = settle(self.rules, {**self.widths, **widths})
        if found is None:
            message = f"no attribute has a value with which the code computes the widths {widths}"
            raise TraceError(message)
        return found

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


def trace(
    model: nn.Module,
    example_inputs: Inputs,
    *,
    attention: Attention = "head_dim",
    rules: Mapping[str, Rule] | None = None,
    opaque: Sequence[str] = (),
) -> ChannelGraph:
    """Record one forward pass and solve for the groups.

    Args:
        model: any module that runs eagerly; of a wrapper such as `nn.DataParallel` the module
            inside. It is not changed, and no weight is copied.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments of
            the shapes that the model takes, such as `(1, 3, 48, 48)`; values do not matter.
        attention: what of an attention may shrink: the width of its heads, their number, or
            neither.
        rules: rules of operators of your own, by name: `{"mylib.op": pointwise}`.
        opaque: globs on paths of modules that are taken for unknown: they and what they touch
            stay as they are.

    Raises:
        TraceError: the model is no module, holds no parameters, or fails on the inputs; a name
            of `rules` or `opaque` means nothing.
    """
    check_traceable(model)
    model = unwrap(model)
    _check_options(model, attention, rules or {}, opaque)
    recording = record(model, example_inputs)
    walked = walk(
        recording,
        {**RULES, **(rules or {})},
        positions=positions_in(model),
        layers=layers_in(model),
        opaque=opaque,
    )
    return _graph(recording, find_structure(recording, walked, model, attention), model)


def _graph(recording: Recording, structure: Structure, model: nn.Module) -> ChannelGraph:
    return ChannelGraph(
        groups=structure.groups,
        frozen=structure.frozen,
        shapes={name: recording.shapes[value.index] for name, value in recording.state.items()},
        parameters=recording.parameters,
        terms=structure.terms,
        fields=structure.fields,
        balances=structure.balances,
        rules=structure.rules,
        output_axes=structure.output_axes,
        flow=structure.flow,
        fingerprint=fingerprint(model),
        operators=len(recording.operators),
        input_shapes=tuple(recording.shapes[value.index] for value in recording.inputs),
        output_shapes=tuple(recording.shapes[value.index] for value in recording.outputs),
        notes=recording.notes,
    )


def _check_options(
    model: nn.Module, attention: str, rules: Mapping[str, Rule], opaque: Sequence[str]
) -> None:
    choices = ("head_dim", "heads", "off")
    if attention not in choices:
        hint = did_you_mean(str(attention), choices) or f"; one of {', '.join(choices)}"
        message = f"attention={attention!r} is no choice{hint}"
        raise TraceError(message)
    if not isinstance(rules, Mapping):  # callers without a type checker
        message = f"rules={rules!r}: give a mapping, such as {{'mylib.op': rule}}"  # type: ignore[unreachable]
        raise TraceError(message)
    _check_rules(rules)
    if isinstance(opaque, str) or not isinstance(opaque, Sequence):
        message = f"opaque={opaque!r}: give a list of globs, such as [{opaque!r}]"
        raise TraceError(message)
    paths = [name for name, _ in model.named_modules() if name]
    for glob in map(str, opaque):
        if not any(fnmatchcase(path, glob) for path in paths):
            message = f"opaque: '{glob}' matches no module{did_you_mean(glob, paths)}"
            raise TraceError(message)


def _check_rules(rules: Mapping[str, Rule]) -> None:
    for name, rule in rules.items():
        if not isinstance(name, str) or "." not in name or not callable(rule):
            message = (
                f"rules={{{name!r}: ...}}: a rule is a function, under the name of its operator "
                "with the library before it, such as 'mylib.op'"
            )
            raise TraceError(message)
        library, operator = name.split(".", 1)
        if not hasattr(getattr(torch.ops, library), operator):
            message = (
                f"rules: torch has no operator '{name}'; import what registers it before, and give "
                "its name without overload"
            )
            raise TraceError(message)


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
    model = unwrap(model)
    tensors = (*model.named_parameters(), *model.named_buffers())
    lines = [type(model).__qualname__]
    lines += sorted(f"{name} {tuple(t.shape)} {t.dtype}" for name, t in tensors)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
