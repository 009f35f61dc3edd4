"""What holds for every group: the policy, and what overrides it."""

from __future__ import annotations

__all__ = ["GroupRule", "matched_groups", "rules_of"]

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase

from prunekit.errors import PlanError, did_you_mean
from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.plan.target import Override, Policy


@dataclass(frozen=True)
class GroupRule:
    """What a policy says of one group."""

    multiple: int
    """Units, not channels: widths that change are multiples of it."""
    least: int
    """Units: it gets no narrower."""
    ratio: float | None = None
    """Share of its units that leaves, if that is laid down."""
    protected: bool = False

    def may_have(self, width: int, before: int) -> bool:
        """Whether a width is one to choose."""
        return width == before or (width % self.multiple == 0 and width >= self.least)


def rules_of(graph: ChannelGraph, policy: Policy) -> dict[str, GroupRule]:
    """The rule of every group.

    What is rounded is the number of channels that the kernels around a group see. Mostly that is
    its width. A unit behind a pixel shuffle of r is one channel of the layer that follows and
    r * r of the one before, so both come out as multiples. Of a convolution in groups, and of the
    width of heads, it is what each group and each head has. Only where whole heads leave is it
    another number: their width, times as many as there are.

    Raises:
        PlanError: a glob matches nothing, an override says nothing or means nothing, or two
            contradict each other.
    """
    chosen: dict[str, dict[str, tuple[float | bool, str]]] = {g.name: {} for g in graph.groups}
    for pattern in policy.protect:
        for name in matched_groups(graph, pattern, "protect"):
            chosen[name]["protect"] = (True, pattern)
    for number, override in enumerate(policy.overrides):
        where = f"overrides[{number}]"
        said = _said(override, where)
        for name in matched_groups(graph, override.match, where):
            _take(chosen[name], said, override.match, name)
    channels = _channels_of_heads(graph)
    return {name: _rule(said, policy, channels.get(name, 1)) for name, said in chosen.items()}


def matched_groups(graph: ChannelGraph, pattern: str, where: str) -> set[str]:
    """Groups that a glob names: by their own name, a layer that makes their channels, or a tensor.

    Raises `PlanError` if there are none.
    """
    makers = set(graph.output_axes)
    found = {g.name for g in graph.groups if _matches(g, pattern, makers)}
    if not found:
        hint = did_you_mean(pattern, [g.name for g in graph.groups])
        message = f"prune.{where}: '{pattern}' matches no group and no tensor{hint}"
        raise PlanError(message)
    return found


def _matches(group: ChannelGroup, pattern: str, makers: set[tuple[str, int]]) -> bool:
    layers = {m.tensor.rpartition(".")[0] for m in group.members if (m.tensor, m.axis) in makers}
    names = (group.name, *layers, *(member.tensor for member in group.members))
    return any(fnmatchcase(name, pattern) for name in names)


def _said(override: Override, where: str) -> dict[str, float | bool]:
    """What an override says, by the name of the setting."""
    said: dict[str, float | bool] = {}
    for key in ("ratio", "min_width", "round_to"):
        value = getattr(override, key)
        if value is not None:
            said[key] = value
    if override.protect:
        said["protect"] = True
    what = f"prune.{where} ('{override.match}')"
    if not said:
        message = f"{what} says nothing; give it a ratio, protect, min_width or round_to"
        raise PlanError(message)
    if override.protect and len(said) > 1:
        others = " and ".join(key for key in said if key != "protect")
        message = f"{what} has protect together with {others}, which exclude each other; keep one"
        raise PlanError(message)
    if not 0 < said.get("ratio", 0.5) < 1:
        message = f"{what} has ratio {said['ratio']:g}; it is a share, above 0 and below 1"
        raise PlanError(message)
    if said.get("min_width", 1) < 1 or said.get("round_to", 1) < 1:
        message = f"{what} has a min_width or round_to below 1"
        raise PlanError(message)
    return said


def _take(
    chosen: dict[str, tuple[float | bool, str]],
    said: Mapping[str, float | bool],
    pattern: str,
    group: str,
) -> None:
    """Add what an override says of a group to what was said before."""
    for key, value in said.items():
        clash = _clash(key, chosen)
        if clash is not None and (clash, value) != (key, chosen[clash][0]):
            message = (
                f"prune.overrides: group '{group}' gets {clash} by '{chosen[clash][1]}' and {key} "
                f"by '{pattern}', which contradict each other; narrow one of the globs"
            )
            raise PlanError(message)
    for key, value in said.items():
        chosen[key] = (value, pattern)


def _clash(key: str, chosen: Iterable[str]) -> str | None:
    """What was said that cannot hold together with a setting."""
    for other in chosen:
        if other == key or "protect" in (other, key):
            return other
    return None


def _channels_of_heads(graph: ChannelGraph) -> dict[str, int]:
    """Width of a head, by group; a bias with one number a head or a fused q, k, v do not count."""
    return {
        group.name: min({m.indices.shape[1] for m in group.members} - {1}, default=1)
        for group in graph.groups
        if group.kind == "heads"
    }


def _rule(said: Mapping[str, tuple[float | bool, str]], policy: Policy, channels: int) -> GroupRule:
    round_to = int(said["round_to"][0]) if "round_to" in said else policy.round_to
    min_width = int(said["min_width"][0]) if "min_width" in said else policy.min_width
    return GroupRule(
        round_to // math.gcd(round_to, channels),
        -(-min_width // channels),
        said["ratio"][0] if "ratio" in said else None,
        "protect" in said,
    )
