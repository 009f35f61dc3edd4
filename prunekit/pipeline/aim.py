"""What a pruning stage works towards: targets, what they cost at which widths, what is in reach."""

from __future__ import annotations

__all__ = ["Aim", "aim_at", "confirm", "graph_at"]

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from prunekit.errors import PlanError, RecipeError, SurgeryError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions, trace
from prunekit.measure.latency import measure_latency
from prunekit.measure.mode import placement
from prunekit.measure.table import LatencyTable
from prunekit.methods import Wanted, wanted_of
from prunekit.plan import (
    Cost,
    Origin,
    PeakMemory,
    Plan,
    Reached,
    Resource,
    Target,
    check_reach,
    limits_of,
    macs_cost,
    narrowest_plan,
    reached,
)
from prunekit.progress import Progress
from prunekit.recipe import PruneSection, Round
from prunekit.surgery import apply

_ROUNDS = 8
"""Plans that are rebuilt and timed at most until one meets a latency."""

_CLOSE = 0.95
"""Share of the time allowed from which on a plan is near enough."""

_AIMED = 0.985
"""Share of it that the next plan is made for."""

_TIGHTER = 0.95
"""Share of it that is asked for next where that makes the same plan, which is too slow."""

_REPEATS, _WARMUP = 7, 2


@dataclass(frozen=True, eq=False)
class Aim:
    """Targets of a stage, found in reach."""

    graph: ChannelGraph
    wanted: Wanted
    size: tuple[int, int] | None
    """Width and height of the output at which macs, memory and latency count; None: as traced."""
    timed: Tensor | None = field(default=None, repr=False)
    """The input that the network is timed on; None if no target is about latency."""
    floor: float = 0.0
    """What the table holds for the least that can be left of the time."""

    @property
    def latency(self) -> Target | None:
        """The target that has to be confirmed by measuring."""
        return next((t for t in self.wanted.targets if t.resource == "latency"), None)

    def reached(self, plan: Plan, measured: float | None) -> tuple[Reached, ...]:
        """What a plan comes to, with what was measured of its latency."""
        origin = self.wanted.origin
        limits = limits_of(self.graph, self.wanted.targets, self.wanted.costs, origin)
        return tuple(
            replace(one, reached=measured)
            if measured is not None and one.target.resource == "latency"
            else one
            for one in reached(limits, plan, origin)
        )

    @property
    def origin(self) -> Origin:
        """The network that targets are about: this one, or the one that rounds began with."""
        if self.wanted.origin is not None:
            return self.wanted.origin
        return Origin(self.graph.widths, _dense_costs(self.graph, self.wanted))


def aim_at(
    section: PruneSection,
    model: nn.Module,
    graph: ChannelGraph,
    inputs: Inputs,
    options: TraceOptions,
    *,
    turn: Round | None = None,
    origin: Origin | None = None,
    progress: Progress,
) -> Aim:
    """Read the targets of a section and see that they can be met, before any other work.

    For a latency the network is timed, as it is and as narrow as it gets. If the section prunes in
    rounds, the aim is that of one `turn`, and ratios are of the `origin` that the rounds began
    with; the whole target must be in reach nevertheless.

    Raises:
        PlanError: a target is out of reach (the message says what is in reach), or means nothing.
        RecipeError: the network or the number of processes does not go with the target.
    """
    wanted, size = wanted_of(section), section.target.output_size
    resources = {target.resource for target in wanted.targets}
    sized, image = (graph, inputs) if size is None else graph_at(size, model, graph, options)
    costs: dict[Resource, Cost] = {}
    if sized is not graph:
        costs = {"macs": macs_cost(sized), "memory": PeakMemory(sized)}
    timed = None
    if "latency" in resources:
        timed = _checked_for_timing(image)
        costs["latency"] = _table(sized, model, timed, wanted, progress)
    wanted = replace(_absolute(wanted, origin), costs=costs, origin=origin)
    reach = check_reach(graph, wanted.targets, wanted.policy, costs=costs, origin=origin)
    floor = next((_left(r.target, r.reached) for r in reach if _is_time(r.target)), 0.0)
    if turn is not None:
        wanted = wanted.partly(turn.share, _dense_costs(graph, wanted))
        wanted = replace(wanted, may_be_nothing=True)  # all rounds together may not
    return Aim(graph, wanted, size, timed, floor)


def _is_time(target: Target) -> bool:
    return target.resource == "latency"


def _absolute(wanted: Wanted, origin: Origin | None) -> Wanted:
    """Say a share of a latency in milliseconds, once the network that it is of is gone."""
    if origin is None:
        return wanted
    targets = (
        Target("latency_ms", (1 - t.amount) * origin.costs["latency"])
        if t.kind == "latency_ratio"
        else t
        for t in wanted.targets
    )
    return replace(wanted, targets=tuple(targets))


def _dense_costs(graph: ChannelGraph, wanted: Wanted) -> dict[Resource, float]:
    """What the network that targets are about costs, for every target but those on channels."""
    limits = limits_of(graph, wanted.targets, wanted.costs, wanted.origin)
    return {limit.target.resource: limit.dense for limit in limits if not limit.is_of_channels}


def _left(target: Target, amount: float) -> float:
    """What is left of a cost: a share for a ratio, else the amount itself."""
    return 1 - amount if target.is_ratio else amount


def graph_at(
    size: tuple[int, int], model: nn.Module, graph: ChannelGraph, options: TraceOptions
) -> tuple[ChannelGraph, Tensor]:
    """Trace at an output size; the graph, and the input.

    Raises `PlanError` or `RecipeError` for a network that does not take it.
    """
    shape = graph.input_shapes[0]
    if graph.scale is None or len(graph.input_shapes) != 1 or len(shape) != len("NCHW"):
        message = (
            "prune.target.output_size needs a network that takes one image and enlarges it by a "
            "whole number; leave it out, and targets count at the traced size"
        )
        raise RecipeError(message)
    width, height = (side // graph.scale for side in size)
    if not width or not height:
        message = f"prune.target.output_size {size[0]}x{size[1]} leaves no input pixel"
        raise RecipeError(message)
    device, dtype = placement(model)
    image = torch.rand((1, shape[1], height, width), generator=torch.Generator().manual_seed(0)).to(
        device, dtype
    )
    sized = trace(
        model, image, attention=options.attention, rules=options.rules, opaque=options.opaque
    )
    if sized.widths != graph.widths:
        message = (
            f"at {size[0]}x{size[1]} output pixels the network has other groups than at the traced "
            "size, so its costs there are not known; set model.input_shape to that size instead"
        )
        raise PlanError(message)
    return sized, image


def _checked_for_timing(inputs: Inputs) -> Tensor:
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        message = (
            "a latency target is measured, so that several processes would plan differently; prune "
            "in one process, or ask for macs_ratio"
        )
        raise RecipeError(message)
    if not isinstance(inputs, Tensor) or inputs.ndim != len("NCHW"):
        message = (
            "a latency target needs a network that takes one image; ask for macs_ratio instead"
        )
        raise RecipeError(message)
    return inputs


def _table(
    graph: ChannelGraph, model: nn.Module, image: Tensor, wanted: Wanted, progress: Progress
) -> LatencyTable:
    """Time operators, on the scale of the network as it is and as narrow as it gets."""
    narrowest = narrowest_plan(graph, wanted.policy)
    try:
        slim = apply(narrowest, model)
    except SurgeryError:  # some group cannot leave; it is found out later
        slim = None
    dense_ms, slim_ms = _times(model, slim or model, image, progress)
    points: list[tuple[Mapping[str, int], float]] = [({}, dense_ms)]
    if slim is not None:
        points.append((narrowest.widths, slim_ms))
    progress.start("time operators")
    table = LatencyTable(graph, model, image)
    table.calibrated(*points)
    progress.finish(f"{table.measured} different ones")
    return table


def _times(
    dense: nn.Module, slim: nn.Module, image: Tensor, progress: Progress
) -> tuple[float, float]:
    """Median milliseconds of both, measured in turns."""
    batch, channels, height, width = image.shape
    found = measure_latency(
        {"dense": dense, "slim": slim},
        input_shape=(batch, channels, height, width),
        repeats=_REPEATS,
        warmup=_WARMUP,
        progress=progress,
    )
    return found["dense"].median_ms, found["slim"].median_ms


def confirm(
    aim: Aim,
    model: nn.Module,
    plan: Plan,
    plan_for: Callable[[Wanted], Plan],
    *,
    progress: Progress,
) -> tuple[Plan, float]:
    """Rebuild and time a plan, and others for corrected amounts, until the latency is met.

    Returns the plan that comes nearest without exceeding it, and what it came to as measured.

    Raises:
        PlanError: no plan of some rounds met it.
        SurgeryError: a plan cannot be carried out.
    """
    target, image = aim.latency, aim.timed
    assert target is not None
    assert image is not None
    most = amount = _left(target, target.amount)
    tries: list[tuple[float, Plan]] = []
    seen: list[tuple[float, float]] = []
    for _ in range(_ROUNDS):
        dense_ms, slim_ms = _times(model, apply(plan, model), image, progress)
        tries.append((slim_ms / dense_ms if target.is_ratio else slim_ms, plan))
        seen.append((amount, tries[-1][0]))
        if _CLOSE * most <= tries[-1][0] <= most:
            break
        amount = max(_corrected(seen, most), aim.floor)
        again = _planned(aim, target, amount, plan_for)
        while _same(again, plan) and tries[-1][0] > most and amount > aim.floor:
            amount = max(amount * _TIGHTER, aim.floor)
            again = _planned(aim, target, amount, plan_for)
        if again is None or _same(again, plan):
            break
        plan = again
    met = [one for one in tries if one[0] <= most]
    if not met:
        least = min(left for left, _ in tries)
        came = f"{1 - least:.3f}" if target.is_ratio else f"{least:.4g}"
        message = (
            f"{target.kind} {target.amount:g} was not met: of {len(tries)} plans that were rebuilt "
            f"and timed, the fastest came to {came}; ask for less"
        )
        raise PlanError(message)
    left, plan = max(met, key=lambda one: one[0])
    return plan, _left(target, left)


def _corrected(seen: Sequence[tuple[float, float]], most: float) -> float:
    """What to ask the table for, by what was asked for and came of it.

    Between one that was too slow and one that was fast enough, once there are both; before that
    in proportion.
    """
    wanted = _AIMED * most
    slow = min((one for one in seen if one[1] > most), default=None)
    fast = max((one for one in seen if one[1] <= most), default=None)
    if slow is None or fast is None or fast[0] >= slow[0]:
        asked, came = seen[-1]
        return asked * wanted / came
    share = min(0.9, max(0.1, (wanted - fast[1]) / (slow[1] - fast[1])))
    return fast[0] + share * (slow[0] - fast[0])


def _planned(
    aim: Aim, target: Target, left: float, plan_for: Callable[[Wanted], Plan]
) -> Plan | None:
    """The plan for a corrected amount; None if there is none."""
    slack = 1 + 1e-9  # the least that can be left is in reach
    corrected = _left(target, left * slack)
    try:
        return plan_for(aim.wanted.tightened(target, corrected))
    except PlanError:  # nothing to remove, or so much that another target or a held group forbids
        return None


def _same(one: Plan | None, other: Plan) -> bool:
    return one is not None and one.groups == other.groups
