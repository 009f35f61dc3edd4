"""Rules of operators that work on each element, make tensors, or are not known."""

from __future__ import annotations

__all__ = [
    "drawn",
    "escaped",
    "fixed",
    "like",
    "made",
    "noise",
    "nothing",
    "pointwise",
    "same",
    "unknown",
]

from collections.abc import Sequence

from prunekit.graph.rules.call import Axes, Call, values_in


def unknown(call: Call) -> Sequence[Axes]:
    """Never guessed: everything it touches stays."""
    return call.freeze_all("operator without a rule", "unknown")


def pointwise(call: Call) -> Sequence[Axes]:
    """Operands are aligned from the end; those in one place are the same channel."""
    axes = call.broadcast(values_in(call.operator.arguments))
    return [axes[len(axes) - len(call.shape(output)) :] for output in call.operator.outputs]


def same(call: Call) -> Sequence[Axes]:
    """The axes of the first operand pass through."""
    return [call.axes(call.first)] * len(call.operator.outputs)


def drawn(call: Call) -> Sequence[Axes]:
    """Random numbers: which index gets which depends on how many there are."""
    axes = call.axes(call.first)
    call.freeze(axes, "random numbers are drawn along it", "values")
    return [axes] * len(call.operator.outputs)


def like(call: Call) -> Sequence[Axes]:
    """A tensor that is made with the sizes of another has its channels."""
    return [call.axes(call.first)]


def made(call: Call) -> Sequence[Axes]:
    """A tensor made from sizes, such as a first hidden state: its channels are those it meets."""
    name = "size" if call.has_argument("size") else None
    given = call.argument(name) if name else call.result
    return [tuple(call.made(size) for size in given)]


def noise(call: Call) -> Sequence[Axes]:
    """Random numbers that are made, such as the rotations of a hash: others if there are fewer."""
    (axes,) = made(call)
    for axis in axes:
        call.reduce(axis)
    return [axes]


def escaped(call: Call) -> Sequence[Axes]:
    """Values that leave for Python or numpy, where nothing is recorded."""
    return call.freeze_all("values leave for Python or numpy", "values")


def fixed(call: Call) -> Sequence[Axes]:
    """Outputs whose sizes nobody changes, such as `aten.arange`."""
    return call.fixed_outputs()


def nothing(call: Call) -> Sequence[Axes]:
    """Looks at values and makes no tensor that has axes."""
    return call.fixed_outputs()
