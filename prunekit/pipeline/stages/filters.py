"""Prune a network: trace, plan, rebuild and prove."""

from __future__ import annotations

__all__ = ["Pruned", "carry_out", "measure", "probe_on", "prune", "read_graph", "rebuild", "soften"]

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from prunekit.data.pairs import ImagePair
from prunekit.errors import PlanError, SurgeryError, VerificationError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions, trace
from prunekit.measure.sensitivity import Measurements, Probe, sample
from prunekit.methods import METHODS, SoftFilters, Wanted, measure_filters, wanted_of
from prunekit.pipeline.aim import Aim, aim_at, confirm
from prunekit.pipeline.stages.data import open_cache
from prunekit.plan import Plan, Reached, Sensitivity
from prunekit.plan.overrides import rules_of
from prunekit.progress import Progress, Silent
from prunekit.recipe import CacheSection, PruneSection, SensitivitySection
from prunekit.score import CRITERIA, Calibration, Criterion, Evidence, gather
from prunekit.surgery import Original, Verification, apply, find_culprits, prove


@dataclass(frozen=True, eq=False)
class Pruned:
    """What one pruning stage made."""

    plan: Plan
    model: nn.Module
    verification: Verification
    reached: tuple[Reached, ...] = ()
    """What the plan came to, target by target."""


def read_graph(
    model: nn.Module, inputs: Inputs, options: TraceOptions, *, progress: Progress
) -> ChannelGraph:
    """Trace a network."""
    progress.start("trace")
    graph = trace(
        model,
        inputs,
        attention=options.attention,
        rules=options.rules,
        opaque=options.opaque,
    )
    progress.finish(f"{graph.operators} operators, {len(graph.groups)} groups")
    return graph


def prune(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    inputs: Inputs,
    options: TraceOptions,
    *,
    seed: int,
    progress: Progress,
    criterion: Criterion | None = None,
    calibration: Calibration | None = None,
    probe: Probe | None = None,
    aim: Aim | None = None,
    original: Original | None = None,
) -> Pruned:
    """Plan by the graph of the model, rebuild and verify; the model given is untouched.

    Groups that the network's own code does not let shrink, such as one whose width it takes the
    root of, show in the proof: they are found, stay whole, and it is planned anew.

    Args:
        model: the network to prune.
        graph: of it.
        section: what to do.
        inputs: for the proof.
        options: as it was traced.
        seed: of chance.
        progress: told what is going on.
        criterion: in place of that of the section.
        calibration: what it looks at, if it does.
        probe: what an allocation that measures does so on.
        aim: what `aim_at` found for this graph and section, if that was asked before.
        original: what earlier proofs of the same network with the same inputs have kept.

    Raises:
        DataError: the criterion looks at images and there is no calibration data.
        PlanError: the target cannot be met with what is left.
        SurgeryError: the plan cannot be carried out, and no group alone is to blame.
        VerificationError: the proof fails, likewise.
    """
    _check_finite(model, graph)
    held: dict[str, str] = {}
    criterion = criterion or CRITERIA[section.criterion]
    original = original or Original(model, inputs, options)
    aim = aim or aim_at(section, model, graph, inputs, options, progress=progress)
    evidence = _gather(model, graph, criterion, calibration, progress)
    while True:
        sensitivity = None
        if probe is not None:
            sensitivity = measure_filters(
                model,
                graph,
                section,
                probe,
                seed=seed,
                held=held,
                criterion=criterion,
                evidence=evidence,
            )
        method = partial(
            METHODS[section.method],
            model,
            graph,
            section,
            seed=seed,
            held=held,
            criterion=criterion,
            evidence=evidence,
            sensitivity=sensitivity,
        )
        plan_for = _planner(method, progress)
        plan, measured = plan_for(aim.wanted), None
        try:
            if aim.latency is not None:
                plan, measured = confirm(aim, model, plan, plan_for, progress=progress)
            pruned = rebuild(original, plan, aim, measured=measured, progress=progress)
        except (SurgeryError, VerificationError):
            progress.finish("does not hold")
            found = find_culprits(original, graph, plan, progress=progress)
            if not found:
                raise
            held |= found
            progress.warn(_told(found))
        else:
            if unmet := _unmet(graph, section, plan):
                progress.warn(unmet)
            return pruned


def _check_finite(model: nn.Module, graph: ChannelGraph) -> None:
    """Refuse weights of which nothing can be proven, whatever the criterion looks at."""
    members = {member.tensor for group in graph.groups for member in group.members}
    for name, parameter in model.named_parameters():
        if name in members and not parameter.is_meta and not parameter.isfinite().all():
            message = f"the weight '{name}' holds numbers that are not finite; repair it first"
            raise PlanError(message)


def _unmet(graph: ChannelGraph, section: PruneSection, plan: Plan) -> str:
    """Which group does not lose the share that an override lays down, and why; "" if all do."""
    rules = rules_of(graph, wanted_of(section).policy)
    for group in plan.groups:
        rule = rules.get(group.name)
        if rule is None or rule.ratio is None or section.iterative or group.reason:
            continue
        wanted, stay = (1 - rule.ratio) * group.width, len(group.kept)
        if stay == group.width or abs(stay - wanted) > rule.multiple / 2:
            return (
                f"an override takes {rule.ratio:.0%} of '{group.name}', but {stay} of its "
                f"{group.width} units stay: they are a multiple of {rule.multiple}, and "
                f"{rule.least} or more"
            )
    return ""


def _told(held: Mapping[str, str]) -> str:
    """That groups stay whole, and why."""
    names = ", ".join(f"'{name}'" for name in list(held)[:3])
    more = f" and {len(held) - 3} more" if len(held) > 3 else ""  # noqa: PLR2004
    return f"groups {names}{more} stay whole: {next(iter(held.values()))}"


def _planner(method: Callable[..., Plan], progress: Progress) -> Callable[[Wanted], Plan]:
    """Plan with a method for whatever is wanted."""

    def plan_for(wanted: Wanted) -> Plan:
        progress.start("plan")
        plan = method(wanted=wanted)
        progress.finish(f"macs {_percent(plan.macs)}, params {_percent(plan.params)}")
        return plan

    return plan_for


def rebuild(
    original: Original,
    plan: Plan,
    aim: Aim,
    *,
    measured: float | None = None,
    progress: Progress,
) -> Pruned:
    """Carry out a plan and prove it; `measured` is what its latency came to, if it was timed."""
    pruned = carry_out(original, plan, progress=progress)
    return replace(pruned, reached=aim.reached(pruned.plan, measured))


def soften(
    aim: Aim,
    section: PruneSection,
    rehearsed: Plan,
    *,
    seed: int,
    criterion: Criterion | None = None,
    calibration: Calibration | None = None,
) -> SoftFilters:
    """Take part in a training, at the end of which it is settled which units leave.

    Args:
        aim: of the network that is going to train.
        section: says when; it has `soft`.
        rehearsed: what `prune` would do with the network as it is. Groups that it holds stay whole.
        seed: of chance.
        criterion: in place of that of the section.
        calibration: what it looks at, if it does.
    """
    course = section.soft
    assert course is not None
    criterion = criterion or CRITERIA[section.criterion]
    held = {group.name: group.reason for group in rehearsed.groups if group.reason}

    def plan_for(model: nn.Module, share: float) -> Plan:
        return METHODS[section.method](
            model,
            aim.graph,
            section,
            seed=seed,
            held=held,
            criterion=criterion,
            evidence=_gather(model, aim.graph, criterion, calibration, Silent()),
            wanted=aim.wanted.partly(share, aim.origin.costs),
        )

    return SoftFilters(
        plan_for,
        aim.graph.output_axes,
        begin=course.begin,
        until=course.until,
        every=course.every,
        told=section.model_dump_json(),
    )


def carry_out(original: Original, plan: Plan, *, progress: Progress) -> Pruned:
    """Rebuild a network as a plan says, and prove it. Raises as `apply` and `prove` do."""
    progress.start("rebuild")
    slim = apply(plan, original.model)
    blocks = f", {len(plan.blocks)} modules replaced" if plan.blocks else ""
    progress.finish(f"{len(plan.tensors)} tensors sliced{blocks}")
    progress.start("verify")
    plan, verification = prove(original, slim, plan)
    progress.finish(f"largest error {verification.max_error:.1e} ({verification.dtype})")
    if verification.amplified:
        progress.warn(
            "the network amplifies rounding, so its own weights prove little; the proof is that of "
            f"generic weights, with an error of {verification.generic_error:.1e} of what removal "
            "changes"
        )
    return Pruned(plan, slim, verification)


def measure(
    model: nn.Module,
    graph: ChannelGraph,
    section: PruneSection,
    probe: Probe,
    *,
    seed: int,
    calibration: Calibration | None = None,
) -> Sensitivity:
    """Measure what removing units of each group alone costs, as `prune` does with the same.

    Raises:
        DataError: the criterion looks at images and there is no calibration data.
        PlanError: no group may get narrower.
        MeasureError: the network gives no image.
    """
    criterion = CRITERIA[section.criterion]
    evidence = _gather(model, graph, criterion, calibration, probe.progress)
    return measure_filters(
        model, graph, section, probe, seed=seed, held={}, criterion=criterion, evidence=evidence
    )


def probe_on(
    pairs: Sequence[ImagePair],
    section: SensitivitySection,
    cache: CacheSection,
    *,
    border: int,
    progress: Progress,
) -> Probe:
    """Make ready what sensitivity is measured on; figures are kept beside decoded images."""
    return Probe(
        sample(pairs, section.images, section.crop),
        border,
        section.points,
        Measurements(open_cache(cache).folder),
        progress,
    )


def _gather(
    model: nn.Module,
    graph: ChannelGraph,
    criterion: Criterion,
    calibration: Calibration | None,
    progress: Progress,
) -> Evidence:
    return gather(
        model, graph.groups, criterion, calibration, outputs=graph.output_axes, progress=progress
    )


def _percent(pair: tuple[int, int]) -> str:
    before, after = pair
    return f"{after / before - 1:+.1%}"
