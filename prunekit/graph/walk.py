"""Walk a recording once: every operator adds what it says of the labels."""

from __future__ import annotations

__all__ = ["UNREAD", "Walk", "layers_in", "positions_in", "walk"]

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn

from prunekit.graph.integers import AxisSize, leaves
from prunekit.graph.labels import Facts, Labels, Reason
from prunekit.graph.record import Recording
from prunekit.graph.rules import DRAWN_IN_TRAINING, Axes, Call, Contraction, Rule, apply_rule
from prunekit.graph.tape import Operator
from prunekit.graph.zeros import Zeros

UNREAD = Reason("not read in evaluation mode", cause="unread")
"""Why what nothing reads must stay: it could not be proven."""

_CHANNELS = -3
"""Where the channels of an image are, with or without a batch."""


@dataclass(frozen=True)
class Walk:
    """What the operators said, and the axes of every value."""

    facts: Facts
    known: Mapping[int, Axes]
    """Axes of every value while the operators ran, by its number."""
    shapes: Sequence[tuple[int, ...]]
    """Shape of every value, by its number."""
    state: Mapping[str, Axes]
    """Axes of every parameter and buffer."""
    contractions: tuple[Contraction, ...]
    counted: tuple[int, ...]
    """How many contractions there were after each operator."""
    reduced: Sequence[Sequence[Labels]]
    """Axes over which each operator reduces."""
    unread: frozenset[str]
    """Parameters and buffers that nothing reads in evaluation mode."""


def walk(
    recording: Recording,
    rules: Mapping[str, Rule],
    *,
    positions: Collection[str] = (),
    layers: Collection[str] = (),
    opaque: Sequence[str] = (),
) -> Walk:
    """Apply the rule of every operator.

    Args:
        recording: what was called.
        rules: by name of the operator.
        positions: buffers of whole numbers or truth values, whose axes are no channels.
        layers: paths of torch's own layers.
        opaque: globs on paths of modules that are taken for unknown.
    """
    facts = Facts()
    known = _Known(recording.shapes)
    state = {n: facts.axes(recording.shapes[v.index]) for n, v in recording.state.items()}
    for name, value in recording.state.items():
        if name not in positions:
            known[value.index] = state[name]
    _name_images(facts, recording, known)
    in_evaluation = recording.read
    read = in_evaluation | {v.index for o in recording.training for v in o.operands}
    contractions: list[Contraction] = []
    counted = []
    reduced: list[Sequence[Labels]] = []
    asked, zeros = _Asked(recording, known, read, layers, facts, _Opaque(opaque)), Zeros(known)
    for operator in recording.operators:
        before, noted = len(facts.reduced), len(contractions)
        asked(operator, rules, contractions)
        facts.reduced += zeros.summed(operator, contractions[noted:])
        counted.append(len(contractions))
        reduced.append(facts.reduced[before:])
    before = len(facts.reduced)
    for operator in recording.training:
        asked(operator, {**rules, **DRAWN_IN_TRAINING}, [])
    del facts.reduced[before:]  # what training normalises over is not proven, and need not be
    for output in (*recording.outputs, *recording.trained):
        for axis in known[output.index]:
            facts.freeze(axis, Reason("output of the model", cause="image"))
    _mark_computed(facts, recording, known)
    _freeze_state(facts, recording, state, read, positions)
    unread = frozenset(n for n, v in recording.state.items() if v.index not in in_evaluation)
    return Walk(
        facts,
        known,
        recording.shapes,
        state,
        tuple(contractions),
        tuple(counted),
        reduced,
        unread,
    )


def positions_in(model: nn.Module) -> set[str]:
    """Buffers of whole numbers or truth values: what is in them are indices, masks, counters."""
    return {name for name, buffer in model.named_buffers() if not _is_numeric(buffer)}


def layers_in(model: nn.Module) -> set[str]:
    """Paths of torch's own layers."""
    named = model.named_modules()
    return {name for name, module in named if type(module).__module__.startswith("torch.nn.")}


def _is_numeric(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.is_complex()


def _mark_computed(facts: Facts, recording: Recording, known: dict[int, Axes]) -> None:
    """What is computed from the length of an axis depends on all of its indices at once."""
    told = {leaf for expression in recording.computed for leaf in leaves(expression)}
    axes = [known[leaf.value][leaf.dim] for leaf in told if isinstance(leaf, AxisSize)]
    facts.reduced += [axis for axis in axes if axis is not None]


def _name_images(facts: Facts, recording: Recording, known: dict[int, Axes]) -> None:
    """Channels of an input are labelled although they stay, so that what meets them learns why."""
    for value in recording.inputs:
        shape = recording.shapes[value.index]
        if len(shape) < -_CHANNELS or value.index in known:
            continue
        axes = list(known[value.index])
        (axes[_CHANNELS],) = facts.axes((shape[_CHANNELS],))
        facts.freeze(axes[_CHANNELS], Reason("input of the model", cause="image"))
        known[value.index] = tuple(axes)


def _freeze_state(
    facts: Facts,
    recording: Recording,
    state: Mapping[str, Axes],
    read: Collection[int],
    positions: Collection[str],
) -> None:
    """What is read only in training belongs with nobody knows what; positions are no channels."""
    for name, value in recording.state.items():
        reason = None
        if name in positions:
            reason = Reason("holds positions", cause="space")
        elif value.index not in read:
            reason = UNREAD
        for axis in state[name] if reason else ():
            assert reason is not None
            facts.freeze(axis, reason)


@dataclass(frozen=True)
class _Asked:
    """Asks the rule of an operator, and writes down the axes that it makes."""

    recording: Recording
    known: dict[int, Axes]
    read: Collection[int]
    layers: Collection[str]
    facts: Facts
    closed: _Opaque

    def __call__(
        self, operator: Operator, rules: Mapping[str, Rule], costs: list[Contraction]
    ) -> None:
        shapes = self.recording.shapes
        call = Call(operator, shapes, self.known, self.read, self.layers, self.facts, costs)
        if self.closed.holds(operator.module):
            outputs = call.freeze_all("module that the caller declared opaque", "opaque")
        else:
            outputs = apply_rule(call, rules)
        for output, axes in zip(operator.outputs, outputs, strict=True):
            self.known[output.index] = axes


class _Known(dict[int, "Axes"]):
    """Axes by value; what no operator made (constants in the code) is of fixed size."""

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        super().__init__()
        self._shapes = shapes

    def __missing__(self, index: int) -> Axes:
        return (None,) * len(self._shapes[index])


class _Opaque:
    """Modules that the caller declared opaque, with all that is in them."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._globs = globs
        self._answers: dict[str, bool] = {}

    def holds(self, module: str) -> bool:
        if not self._globs:
            return False
        if module not in self._answers:
            parts = module.split(".")
            paths = [".".join(parts[: n + 1]) for n in range(len(parts))]
            self._answers[module] = any(fnmatchcase(p, g) for p in paths for g in self._globs)
        return self._answers[module]
