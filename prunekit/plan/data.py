"""Plans: which units stay, as plain data that can be written, read and composed."""

from __future__ import annotations

__all__ = [
    "AttributeChange",
    "GroupDifference",
    "GroupPlan",
    "Plan",
    "PlanDifference",
    "TensorPlan",
    "inside",
]

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from typing import Any

from prunekit.errors import FileFormatError, PlanError


@dataclass(frozen=True)
class GroupPlan:
    """What stays of a group."""

    name: str
    width: int
    """Units before."""
    kept: tuple[int, ...] = field(repr=False)
    """Units that stay, ascending; none if the group leaves with a block."""
    reason: str = ""
    """Why all of them stay, if something asked for that."""


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
class GroupDifference:
    """What two plans do differently with a group."""

    name: str
    only_here: tuple[int, ...]
    """Units that the first plan keeps and the second does not."""
    only_there: tuple[int, ...]
    """Units that the second plan keeps and the first does not."""


@dataclass(frozen=True)
class PlanDifference:
    """What two plans for one network do differently; false if nothing."""

    groups: tuple[GroupDifference, ...]
    tensors: tuple[str, ...]
    """Names of parameters and buffers of which they keep other slices."""
    attributes: tuple[tuple[str, int | None, int | None], ...]
    """Attributes, such as `body.0.width`, and their values by each; None if one leaves it alone."""
    blocks: tuple[tuple[str, bool], ...] = ()
    """Blocks that one of them removes, and whether it is the first plan that does."""

    def __bool__(self) -> bool:
        """Whether there is a difference."""
        return bool(self.groups or self.tensors or self.attributes or self.blocks)

    def __repr__(self) -> str:
        """Tell the story in a line a group and attribute."""
        rows = [
            f"  {g.name}: {len(g.only_here)} units stay here only, {len(g.only_there)} there only"
            for g in self.groups
        ]
        rows += [
            f"  {name}: {_or_as_is(a)} here, {_or_as_is(b)} there" for name, a, b in self.attributes
        ]
        rows += [f"  {n}: removed {'here' if here else 'there'} only" for n, here in self.blocks]
        head = f"PlanDifference: {len(self.groups)} groups, {len(self.tensors)} tensors"
        return "\n".join([head, *rows])


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
    exact: bool = True
    """No operator reduces over channels that leave, as a norm does: to remove them is to set them
    to zero. Otherwise such operators have to be run over those that stay."""
    blocks: tuple[str, ...] = ()
    """Paths of modules that are removed whole, none inside another: each becomes the identity, and
    no tensor inside is listed above."""

    @property
    def widths(self) -> dict[str, int]:
        """Units that stay of every group."""
        return {group.name: len(group.kept) for group in self.groups}

    def __repr__(self) -> str:
        """Tell the story in a line a group."""
        head = f"Plan: params {_change(self.params)}, macs {_change(self.macs)}"
        rows = [f"  {name}: removed" for name in self.blocks]
        rows += [f"  {g.name}: {_change_of(g)}" for g in self.groups]
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
        blocks = _outermost((*self.blocks, *later.blocks))
        return Plan(
            groups=_regrouped(self.groups, later.groups),
            tensors=tuple(
                _composed(first.get(name), second.get(name))
                for name in {**first, **second}
                if not inside(name, blocks)
            ),
            attributes=tuple(a for a in changes.values() if not inside(a.module, blocks)),
            fingerprint=self.fingerprint,
            params=(self.params[0], later.params[1]),
            macs=(self.macs[0], later.macs[1]),
            exact=self.exact and later.exact,
            blocks=blocks,
        )

    def diff(self, other: Plan) -> PlanDifference:
        """Tell what another plan for the same network does differently.

        Raises `PlanError` for a plan of another network.
        """
        if self.fingerprint != other.fingerprint:
            message = "the two plans are for different networks, so they cannot be compared"
            raise PlanError(message)
        here, there = ({g.name: g.kept for g in plan.groups} for plan in (self, other))
        slices = [{t.name: dict(t.kept) for t in plan.tensors} for plan in (self, other)]
        values = [
            {f"{a.module}.{a.attribute}".strip("."): a.after for a in plan.attributes}
            for plan in (self, other)
        ]
        return PlanDifference(
            tuple(
                GroupDifference(
                    name, _without(here[name], there[name]), _without(there[name], here[name])
                )
                for name in here
                if here[name] != there.get(name, here[name])
            ),
            tuple(n for n in {**slices[0], **slices[1]} if slices[0].get(n) != slices[1].get(n)),
            tuple(
                (n, values[0].get(n), values[1].get(n))
                for n in {**values[0], **values[1]}
                if values[0].get(n) != values[1].get(n)
            ),
            tuple(
                (name, name in self.blocks)
                for name in dict.fromkeys((*self.blocks, *other.blocks))
                if (name in self.blocks) != (name in other.blocks)
            ),
        )

    def to_json(self) -> str:
        """Write as JSON, without losing anything."""
        data = asdict(self)
        if not self.blocks:
            del data["blocks"]
        return json.dumps({"format": _FORMAT, **data}, separators=(",", ":"))

    @staticmethod
    def from_json(text: str) -> Plan:
        """Read what `to_json` wrote. Raises `FileFormatError` for anything else."""
        try:
            data = json.loads(text)
            if data["format"] != _FORMAT:
                message = f"the plan has format {data['format']!r}; this version reads {_FORMAT!r}"
                raise FileFormatError(message)
            blocks = _blocks(data.get("blocks", []))
            return Plan(
                groups=tuple(_group(g, may_leave=bool(blocks)) for g in data["groups"]),
                tensors=tuple(_tensor(t) for t in data["tensors"]),
                attributes=tuple(_attribute(a) for a in data["attributes"]),
                fingerprint=_text(data["fingerprint"]),
                params=_pair(data["params"]),
                macs=_pair(data["macs"]),
                exact=_truth(data.get("exact", True)),
                blocks=blocks,
            )
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            message = f"not a plan of prunekit ({type(error).__name__}: {error})"
            raise FileFormatError(message) from error


_FORMAT = "prunekit-plan/1"


def inside(name: str, blocks: Collection[str]) -> bool:
    """Whether a path of a module or tensor is that of a block, or of something in it."""
    return any(name == block or name.startswith(f"{block}.") for block in blocks)


def _outermost(blocks: Sequence[str]) -> tuple[str, ...]:
    """Those that are not inside another, each once."""
    return tuple(b for b in dict.fromkeys(blocks) if not inside(b, {*blocks} - {b}))


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


def _without(units: tuple[int, ...], others: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(units) - set(others)))


def _or_as_is(value: int | None) -> str:
    return "as it was" if value is None else str(value)


def _change_of(group: GroupPlan) -> str:
    stays = f" ({group.reason})" if group.reason else ""
    return f"{group.width} -> {len(group.kept)}{stays}"


def _change(pair: tuple[int, int]) -> str:
    before, after = pair
    return f"{before:,} -> {after:,} ({after / before - 1:+.1%})" if before else "0"


def _blocks(data: Sequence[Any]) -> tuple[str, ...]:
    """Paths of modules, of which none is in another."""
    if not isinstance(data, list):
        message = f"blocks are {data!r}, which is no list"
        raise TypeError(message)
    blocks = tuple(_text(name) for name in data)
    if "" in blocks or _outermost(blocks) != blocks:
        message = f"blocks {', '.join(map(repr, blocks))} are not modules outside of one another"
        raise ValueError(message)
    return blocks


def _group(data: dict[str, Any], *, may_leave: bool) -> GroupPlan:
    width = _integer(data["width"])
    gone = may_leave and data["kept"] == []
    kept = () if gone else _kept(data["kept"], width)
    return GroupPlan(_text(data["name"]), width, kept, _text(data.get("reason", "")))


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


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        message = f"{value!r} is neither true nor false"
        raise TypeError(message)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r} is not text"
        raise TypeError(message)
    return value
