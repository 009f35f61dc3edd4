"""Plans: which units stay, as plain data that can be written, read and composed."""

from __future__ import annotations

__all__ = ["AttributeChange", "GroupPlan", "Plan", "TensorPlan"]

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from prunekit.errors import FileFormatError


@dataclass(frozen=True)
class GroupPlan:
    """What stays of a group."""

    name: str
    width: int
    """Units before."""
    kept: tuple[int, ...] = field(repr=False)
    """Units that stay, ascending."""


@dataclass(frozen=True)
class TensorPlan:
    """What stays of a parameter or buffer."""

    name: str
    shape: tuple[int, ...]
    """Before."""
    kept: Mapping[int, tuple[int, ...]] = field(repr=False)
    """Indices that stay, by axis; other axes stay whole."""

    @property
    def shape_after(self) -> tuple[int, ...]:
        """Shape in the slim network."""
        return tuple(
            len(self.kept[axis]) if axis in self.kept else size
            for axis, size in enumerate(self.shape)
        )


@dataclass(frozen=True)
class AttributeChange:
    """A size that a module keeps in an attribute."""

    module: str
    attribute: str
    before: int
    after: int


@dataclass(frozen=True)
class Plan:
    """Everything that turns a fresh dense network into the slim one; plain data."""

    groups: tuple[GroupPlan, ...]
    tensors: tuple[TensorPlan, ...]
    attributes: tuple[AttributeChange, ...]
    fingerprint: str
    """Of the dense network."""
    params: tuple[int, int]
    """Before and after."""
    macs: tuple[int, int]
    """Before and after, at the traced input size."""

    def __repr__(self) -> str:
        """Tell the story in a line a group."""
        head = f"Plan: params {_change(self.params)}, macs {_change(self.macs)}"
        rows = [f"  {g.name}: {g.width} -> {len(g.kept)}" for g in self.groups]
        return "\n".join([head, *rows])

    def then(self, later: Plan) -> Plan:
        """Compose with a plan made for the network that this one leaves.

        Applying the result once gives what applying both in turn gives.
        """
        first = {tensor.name: tensor for tensor in self.tensors}
        second = {tensor.name: tensor for tensor in later.tensors}
        changes = {(a.module, a.attribute): a for a in self.attributes}
        for change in later.attributes:
            key = (change.module, change.attribute)
            before = changes[key].before if key in changes else change.before
            changes[key] = replace(change, before=before)
        return Plan(
            groups=_regrouped(self.groups, later.groups),
            tensors=tuple(
                _composed(first.get(name), second.get(name)) for name in {**first, **second}
            ),
            attributes=tuple(changes.values()),
            fingerprint=self.fingerprint,
            params=(self.params[0], later.params[1]),
            macs=(self.macs[0], later.macs[1]),
        )

    def to_json(self) -> str:
        """Write as JSON, without losing anything."""
        return json.dumps({"format": _FORMAT, **asdict(self)}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read what `to_json` wrote. Raises `FileFormatError` for anything else."""
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT:
                message = f"the plan has format {data['format']!r}; this version reads {_FORMAT!r}"
                raise FileFormatError(message)
            return Plan(
                groups=tuple(_group(g) for g in data["groups"]),
                tensors=tuple(_tensor(t) for t in data["tensors"]),
                attributes=tuple(_attribute(a) for a in data["attributes"]),
                fingerprint=_text(data["fingerprint"]),
                params=_pair(data["params"]),
                macs=_pair(data["macs"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            message = f"not a plan of prunekit ({type(error).__name__}: {error})"
            raise FileFormatError(message) from error


_FORMAT = "prunekit-plan/1"


def _regrouped(first: Sequence[GroupPlan], second: Sequence[GroupPlan]) -> tuple[GroupPlan, ...]:
    """Groups of both, in the units of the dense network where those are still the same.

    Some are frozen by then, since they became as narrow as the image; others are new, since of a
    grouped convolution the groups became wider than the channels within.
    """
    again = {group.name: group for group in second}
    merged = []
    for group in first:
        later = again.get(group.name)
        same = later is not None and later.width == len(group.kept)
        kept = tuple(group.kept[unit] for unit in later.kept) if later and same else group.kept
        merged.append(replace(group, kept=kept))
    known = {group.name for group in first}
    return (*merged, *(group for group in second if group.name not in known))


def _composed(first: TensorPlan | None, second: TensorPlan | None) -> TensorPlan:
    if first is None or second is None:
        alone = first or second
        assert alone is not None
        return alone
    kept = dict(first.kept)
    for axis, places in second.kept.items():
        before = kept.get(axis, range(first.shape[axis]))
        kept[axis] = tuple(before[place] for place in places)
    return replace(first, kept=kept)


def _change(pair: tuple[int, int]) -> str:
    before, after = pair
    return f"{before:,} -> {after:,} ({after / before - 1:+.1%})" if before else "0"


def _group(data: dict[str, Any]) -> GroupPlan:
    width = _integer(data["width"])
    return GroupPlan(_text(data["name"]), width, _kept(data["kept"], width))


def _tensor(data: dict[str, Any]) -> TensorPlan:
    shape = tuple(_integer(size) for size in data["shape"])
    sizes = {str(axis): size for axis, size in enumerate(shape)}
    kept = {int(axis): _kept(indices, sizes[axis]) for axis, indices in data["kept"].items()}
    return TensorPlan(_text(data["name"]), shape, kept)


def _attribute(data: dict[str, Any]) -> AttributeChange:
    module, attribute = _text(data["module"]), _text(data["attribute"])
    return AttributeChange(module, attribute, _integer(data["before"]), _integer(data["after"]))


def _kept(data: Sequence[Any], size: int) -> tuple[int, ...]:
    """Indices of an axis of this size, ascending."""
    kept = tuple(_integer(index) for index in data)
    if not kept or kept[0] < 0 or kept[-1] >= size or any(a >= b for a, b in pairwise(kept)):
        message = f"kept indices are not ascending and within {size}"
        raise ValueError(message)
    return kept


def _pair(data: Sequence[Any]) -> tuple[int, int]:
    before, after = data
    return _integer(before), _integer(after)


def _integer(value: object) -> int:
    if type(value) is not int:  # nor a boolean
        message = f"{value!r} is not a whole number"
        raise TypeError(message)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r} is not text"
        raise TypeError(message)
    return value
