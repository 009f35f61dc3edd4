"""Plans: which units stay, as plain data, made from a graph, scores and a target."""

from __future__ import annotations

__all__ = ["AttributeChange", "GroupPlan", "Plan", "Policy", "Target", "TensorPlan", "make_plan"]

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prunekit.errors import FileFormatError, PlanError, did_you_mean
from prunekit.graph import ChannelGraph, ChannelGroup

Scores = NDArray[np.float64]
Widths = dict[str, int]


@dataclass(frozen=True)
class Target:
    """What a plan must meet: at least this share of something is removed."""

    kind: Literal["channel_ratio", "macs_ratio", "params_ratio"]
    ratio: float
    """Share removed, above 0 and below 1."""


@dataclass(frozen=True)
class Policy:
    """How a target is spread over the groups."""

    allocation: Literal["local", "global"] = "local"
    """The same share of every group, or one ranking of all units."""
    round_to: int = 8
    """Widths that change become multiples of this."""
    min_width: int = 8
    """No group gets narrower."""
    protect: tuple[str, ...] = ()
    """Globs on names of groups or tensors that stay whole."""


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


def make_plan(
    graph: ChannelGraph, scores: Mapping[str, Scores], target: Target, policy: Policy
) -> Plan:
    """Choose widths that meet the target, keep the best units of every group.

    A `channel_ratio` is met as nearly as the rounding allows. A `macs_ratio` or `params_ratio` is
    met or exceeded, by as little as single steps of single groups allow.

    Raises:
        PlanError: nothing can be pruned, the target is out of reach (the message says what is in
            reach), or a glob of `protect` matches nothing.
    """
    groups = _prunable(graph, policy)
    ladders = {group.name: _ladder(group.width, policy) for group in groups}
    widths = _Chooser(groups, ladders, scores, policy).widths(graph, target)
    kept = {name: _best(scores[name], width) for name, width in widths.items()}
    return _plan(graph, kept)


def _prunable(graph: ChannelGraph, policy: Policy) -> list[ChannelGroup]:
    """Groups that are not protected and whose removal can be proven by zeroing."""
    if not graph.groups:
        reasons = sorted({f.reason.text for f in graph.frozen})
        message = f"nothing can be pruned: every axis is frozen ({'; '.join(reasons)})"
        raise PlanError(message)
    protected: set[str] = set()
    for pattern in policy.protect:
        matched = {g.name for g in graph.groups if _matches(g, pattern)}
        if not matched:
            hint = did_you_mean(pattern, [g.name for g in graph.groups])
            message = f"prune.protect: '{pattern}' matches no group and no tensor{hint}"
            raise PlanError(message)
        protected |= matched
    groups = [g for g in graph.groups if g.exact and g.name not in protected]
    if not groups:
        message = "nothing can be pruned: every group is protected or reduced over by an operator"
        raise PlanError(message)
    return groups


def _matches(group: ChannelGroup, pattern: str) -> bool:
    names = (group.name, *(member.tensor for member in group.members))
    return any(fnmatchcase(name, pattern) for name in names)


def _ladder(width: int, policy: Policy) -> list[int]:
    """Widths that a group may have, ascending; the last is its own."""
    step = policy.round_to
    return [w for w in range(step, width, step) if w >= policy.min_width] + [width]


class _Chooser:
    """Finds the width of every group."""

    def __init__(
        self,
        groups: Sequence[ChannelGroup],
        ladders: Mapping[str, Sequence[int]],
        scores: Mapping[str, Scores],
        policy: Policy,
    ) -> None:
        self._ladders = ladders
        self._policy = policy
        # importance relative to the mean of the group, ascending: what leaves first
        self._ascending = {
            g.name: np.sort(scores[g.name]) / max(float(np.mean(scores[g.name])), 1e-300)
            for g in groups
        }
        owners = np.repeat(np.arange(len(groups)), [g.width for g in groups])
        ranking = np.argsort(np.concatenate(list(self._ascending.values())), kind="stable")
        self._leaves = owners[ranking]  # number of the group of every unit, least important first

    def widths(self, graph: ChannelGraph, target: Target) -> Widths:
        if target.kind == "channel_ratio":
            return self._at(target.ratio)
        cost = graph.macs if target.kind == "macs_ratio" else graph.params
        limit = (1 - target.ratio) * cost()
        self._check_reachable(cost, limit, target)
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = (low + high) / 2
            low, high = (middle, high) if cost(self._at(middle)) > limit else (low, middle)
        return self._step_down(self._at(low), cost, limit)

    def _at(self, ratio: float) -> Widths:
        """Widths when this share of the channels leaves, as nearly as the ladders allow."""
        if self._policy.allocation == "local":
            wanted = {name: len(s) * (1 - ratio) for name, s in self._ascending.items()}
        else:
            first = self._leaves[: round(ratio * len(self._leaves))]
            gone = np.bincount(first, minlength=len(self._ascending))
            wanted = {
                name: float(len(s) - left)
                for (name, s), left in zip(self._ascending.items(), gone, strict=True)
            }
        return {name: _nearest(self._ladders[name], width) for name, width in wanted.items()}

    def _check_reachable(self, cost: Callable[[Widths], int], limit: float, target: Target) -> None:
        narrowest = {name: ladder[0] for name, ladder in self._ladders.items()}
        if cost(narrowest) > limit:
            reach = math.floor(1000 * (1 - cost(narrowest) / cost({}))) / 1000
            message = (
                f"{target.kind} {target.ratio:g} is out of reach: {reach:g} can be removed with "
                f"min_width {self._policy.min_width} and round_to {self._policy.round_to}; "
                "lower the target or these"
            )
            raise PlanError(message)

    def _step_down(self, widths: Widths, cost: Callable[[Widths], int], limit: float) -> Widths:
        """Narrow single groups, the best step first, until the cost is within the limit."""
        while cost(widths) > limit:
            narrower = self._neighbours(widths, -1)
            ranks = {name: self._rank(name, widths, w, cost) for name, w in narrower.items()}
            least = min(gone for gone, _ in ranks.values())
            level = [name for name, (gone, _) in ranks.items() if gone == least]
            short = [name for name in level if cost(narrower[name]) > limit]
            if short:  # not there yet
                best = min(short, key=lambda name: ranks[name])
            else:  # any of them does: the one that overshoots least
                best = max(level, key=lambda name: cost(narrower[name]))
            widths = narrower[best]
        return self._step_up(widths, cost, limit)

    def _step_up(self, widths: Widths, cost: Callable[[Widths], int], limit: float) -> Widths:
        """Give back what the last, coarse step took too much, as long as the limit holds."""
        while True:
            wider = {n: w for n, w in self._neighbours(widths, 1).items() if cost(w) <= limit}
            if not wider:
                return widths
            best = max(wider, key=lambda name: self._rank(name, wider[name], widths, cost))
            widths = wider[best]

    def _neighbours(self, widths: Widths, direction: int) -> dict[str, Widths]:
        """Every choice that is one rung of one group away."""
        found = {}
        for name, ladder in self._ladders.items():
            rung = ladder.index(widths[name]) + direction
            if 0 <= rung < len(ladder):
                found[name] = {**widths, name: ladder[rung]}
        return found

    def _rank(
        self, name: str, wide: Widths, narrow: Widths, cost: Callable[[Widths], int]
    ) -> tuple[float, float]:
        """How much a step hurts: for local allocation first the share of the group that is gone.

        Then, and alone for global allocation, the importance lost for each unit of cost.
        """
        ascending = self._ascending[name]
        lost = ascending[len(ascending) - wide[name] : len(ascending) - narrow[name]].sum()
        price = float(lost) / max(cost(wide) - cost(narrow), 1)
        gone = 1 - narrow[name] / len(ascending)
        return (gone if self._policy.allocation == "local" else 0.0, price)


def _nearest(ladder: Sequence[int], wanted: float) -> int:
    """The rung next to a width; the wider of two that are equally near."""
    return min(reversed(ladder), key=lambda width: abs(width - wanted))


def _best(scores: Scores, width: int) -> tuple[int, ...]:
    """The highest scores; of equal ones the first."""
    return tuple(sorted(np.argsort(-scores, kind="stable")[:width].tolist()))


def _plan(graph: ChannelGraph, kept: Mapping[str, tuple[int, ...]]) -> Plan:
    """Spell a choice of units out for every tensor and attribute."""
    units = {g.name: kept.get(g.name, tuple(range(g.width))) for g in graph.groups}
    widths = {name: len(chosen) for name, chosen in units.items()}
    return Plan(
        groups=tuple(GroupPlan(g.name, g.width, units[g.name]) for g in graph.groups),
        tensors=_tensor_plans(graph, units),
        attributes=tuple(
            AttributeChange(f.module, f.attribute, before, after)
            for f in graph.fields
            if (before := f.length.at(graph.widths)) != (after := f.length.at(widths))
        ),
        fingerprint=graph.fingerprint,
        params=(graph.params(), graph.params(widths)),
        macs=(graph.macs(), graph.macs(widths)),
    )


def _tensor_plans(
    graph: ChannelGraph, units: Mapping[str, tuple[int, ...]]
) -> tuple[TensorPlan, ...]:
    stays: dict[str, dict[int, NDArray[np.bool_]]] = {}
    for group in graph.groups:
        if len(units[group.name]) == group.width:
            continue
        gone = np.setdiff1d(np.arange(group.width), units[group.name])
        for member in group.members:
            axes = stays.setdefault(member.tensor, {})
            mask = axes.setdefault(
                member.axis, np.ones(graph.shapes[member.tensor][member.axis], dtype=np.bool_)
            )
            mask[member.indices[gone]] = False
    return tuple(
        TensorPlan(
            name,
            graph.shapes[name],
            {axis: tuple(np.flatnonzero(mask).tolist()) for axis, mask in axes.items()},
        )
        for name, axes in stays.items()
    )


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
