"""Classes of groups that are wired alike: only units of one class are compared with each other.

After "Isomorphic Pruning for Vision Models" (Fang et al., ECCV 2024): weights of structures that
differ are distributed differently, so that a ranking over all of them takes one kind first.
"""

from __future__ import annotations

__all__ = ["classes_of"]

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping

from prunekit.graph import ChannelGraph, ChannelGroup

_ROUNDS = 4
"""How far around an operator its neighbours tell it from others of the same kind."""


def classes_of(graph: ChannelGraph) -> dict[str, int]:
    """Number the classes of groups, by name, in the order in which they are first seen.

    A group is seen as the operators that make it, hand it on and read it, with the slices of their
    weights that belong to it. Two are of one class if these graphs are the same: the same operators
    on weights of the same shape, wired alike. The widths take no part. (Graphs are compared by
    refinement of neighbours, as Weisfeiler and Lehman do, a few operators far.)
    """
    reader = _Reader(graph)
    signatures = {group.name: reader.signature(group) for group in graph.groups}
    numbers: dict[Hashable, int] = {}
    return {n: numbers.setdefault(found, len(numbers)) for n, found in signatures.items()}


class _Reader:
    """Describes the surroundings of groups, in numbers that stand for the same thing in all."""

    def __init__(self, graph: ChannelGraph) -> None:
        self._steps = graph.steps
        self._parameters = graph.parameters
        self._shapes = graph.shapes
        self._numbers: dict[Hashable, int] = {}
        self._outputs: dict[str, dict[int, tuple[tuple[int, int], ...]]] = defaultdict(dict)
        widths = graph.widths
        for number, step in enumerate(self._steps):
            for axis in step.axes:
                for band in axis.bands:
                    place = (axis.axis, band.channels // widths[band.group])
                    known = self._outputs[band.group].get(number, ())
                    self._outputs[band.group][number] = (*known, place)
        self._readers: dict[int, list[int]] = defaultdict(list)
        self._users: dict[str, list[int]] = defaultdict(list)
        for number, step in enumerate(self._steps):
            for source in step.sources:
                self._readers[source].append(number)
            for tensor in step.state:
                self._users[tensor].append(number)
        self._free = {(m.tensor, m.axis) for group in graph.groups for m in group.members}

    def signature(self, group: ChannelGroup) -> Hashable:
        """What a group has in common with all others of its class."""
        carriers = self._outputs[group.name]
        nodes = {*carriers, *self._with_weights_of(group)}
        # what has no weights is known by what it reads; of weights it is known whose they are
        readers = {reader for number in carriers for reader in self._readers[number]}
        nodes |= {reader for reader in readers if not self._steps[reader].state}
        slices: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for member in group.members:
            slices[member.tensor].append((member.axis, member.indices.shape[1]))
        labels = {
            node: self._number(
                (
                    self._steps[node].operator,
                    carriers.get(node, ()),
                    sorted(self._tensor(name, slices) for name in self._steps[node].state),
                )
            )
            for node in sorted(nodes)
        }
        return (group.kind, group.exact, self._refined(labels))

    def _with_weights_of(self, group: ChannelGroup) -> set[int]:
        """Steps that use some weight of a group."""
        tensors = {member.tensor for member in group.members}
        return {number for tensor in tensors for number in self._users[tensor]}

    def _tensor(self, name: str, slices: Mapping[str, list[tuple[int, int]]]) -> tuple[object, ...]:
        """Shape of a parameter or buffer, without the axes that may shrink, and what it lends."""
        shape = tuple(
            0 if (name, axis) in self._free else size
            for axis, size in enumerate(self._shapes[name])
        )
        return (name in self._parameters, shape, tuple(sorted(slices.get(name, []))))

    def _refined(self, labels: dict[int, int]) -> Hashable:
        """Tell nodes apart by their neighbours, then forget which node is which."""
        before = {n: [s for s in self._steps[n].sources if s in labels] for n in labels}
        after: dict[int, list[int]] = defaultdict(list)
        for node, sources in before.items():
            for source in sources:
                after[source].append(node)
        for _ in range(_ROUNDS):
            labels = {
                node: self._number(
                    (label, _values(labels, before[node]), _values(labels, after[node]))
                )
                for node, label in labels.items()
            }
        return tuple(sorted(labels.values()))

    def _number(self, label: object) -> int:
        return self._numbers.setdefault(repr(label), len(self._numbers))


def _values(labels: Mapping[int, int], nodes: Iterable[int]) -> list[int]:
    return sorted(labels[node] for node in nodes)
