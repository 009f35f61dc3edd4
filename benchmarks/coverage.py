"""Trace every network of the registry: what may leave, what must stay and why, and is it proven.

python -m benchmarks.coverage [GLOB ...] [--json FILE] [--fresh] [--jobs N] [--timeout S]

Each network is built with random weights at its published size in a process of its own, on one
thread. Seconds are processor time, so that what else runs counts little. `trace` is measured three
times (no more once it took 20 s), the median is told; `record` is the part of it that runs the
network on fake tensors, and `solve` all the rest. Memory is the largest of the process so far,
weights and libraries included. The law is that reversing the units of the groups changes nothing,
in float64. benchmarks/requirements.txt lists the packages.

Output axes are the indices on axis 0 of every parameter of two or more axes (axis 1 of the weight
of a transposed convolution). Those at work leave out parameters that evaluation does not read, and
tables that are only looked up, such as relative positions, whose rows are no channels.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from benchmarks.architectures import LEFT_OUT, Architecture, matching
from benchmarks.children import (
    ENGINE,
    Job,
    Limits,
    Row,
    append_options,
    failure,
    measure_all,
    peak_mb,
    read_rows,
    report_to,
)
from benchmarks.shares import OutputAxes, output_axes, prunable_share, transposed, weights_at_work
from benchmarks.timing import timed_trace
from prunekit.files import write_atomic
from prunekit.graph import ChannelGraph
from prunekit.graph.record import Recording
from prunekit.graph.rules import RULES
from prunekit.measure.environment import environment

TIMEOUT = 300.0
REPEATS = 3
SLOW = 20.0  # seconds; a trace that takes longer is not repeated
GOOD = 0.95  # share of the output axes
SOURCES = (*ENGINE, *(f"benchmarks/{name}.py" for name in ("coverage", "shares", "timing")))


def main() -> None:
    """Measure all, or be the child that measures one."""
    parser = argparse.ArgumentParser(description=__doc__)
    append_options(parser, timeout=TIMEOUT)
    parser.add_argument("--skip-verify", action="store_true", help="do not check the law")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        (net,) = matching([options.child])
        cover(net, options.out, verify=not options.skip_verify)
        return
    extra = ["--skip-verify"] if options.skip_verify else []
    jobs = {n.name: Job(["--child", n.name, *extra], SOURCES) for n in matching([])}
    rows = read_rows(options.json, jobs)
    nets = matching(options.names)
    wanted = {n.name: jobs[n.name] for n in nets if options.fresh or n.name not in rows}
    limits = Limits(options.timeout, options.memory, options.jobs)

    def keep(row: Row) -> None:
        rows[row["name"]] = row
        if options.json:
            write_atomic(options.json, json.dumps(content(list(rows.values())), indent=1) + "\n")

    measure_all("benchmarks.coverage", wanted, limits, keep)
    show([rows[net.name] for net in nets])


def cover(net: Architecture, out: Path, *, verify: bool) -> None:
    """Measure one network; what is known is written after every stage."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tell = report_to(out)
    row: Row = {"package": net.package, "note": net.note, "inputs": net.inputs}
    stage = "build"
    try:
        model, inputs = net.build(), net.example()
        row["params"] = sum(parameter.numel() for parameter in model.parameters())
        row["peak_mb"] = {"built": peak_mb()}
        stage = "trace"
        timed = timed_trace(model, inputs, repeats=REPEATS, enough=SLOW)
        row["seconds"], row["repeats"] = timed.figures(), len(timed.traced)
        row["peak_mb"]["traced"] = peak_mb()
        row |= described(timed.graph, model, timed.recording)
        tell({**row, "status": "ok", "law": {"error": "not finished"}})
        stage = "verify"
        row["law"] = law(timed.graph, model, inputs) if verify else {"error": "skipped"}
        row["peak_mb"]["verified"] = peak_mb()
    except Exception as error:  # noqa: BLE001 - any failure of other people's code is a result
        tell({**row, "status": "error", "stage": stage, "why": failure(error)})
    else:
        tell({**row, "status": "ok"})


def described(graph: ChannelGraph, model: nn.Module, recording: Recording) -> Row:
    """What the graph says, as plain values."""
    axes = output_axes(graph, transposed(model))
    at_work = output_axes(graph, transposed(model), weights_at_work(recording))
    return {
        "macs": graph.macs(),
        "operators": graph.operators,
        "without_rule": operators_without_rule(recording),
        "groups": len(graph.groups),
        "units": sum(group.width for group in graph.groups),
        "prunable_params_share": round(prunable_share(graph), 5),
        "output_axes": counted(axes),
        "output_axes_at_work": counted(at_work),
        "frozen": [asdict(why) for why in axes.whys],
    }


def counted(axes: OutputAxes) -> Row:
    """Indices by what becomes of them."""
    return {
        "total": axes.total,
        "grouped": axes.grouped,
        "frozen": axes.frozen,
        "share": round(axes.share, 5),
    }


def operators_without_rule(recording: Recording) -> dict[str, int]:
    """Calls of operators that no rule knows and ATen does not tag as element-wise."""
    return dict(
        Counter(
            operator.name
            for operator in recording.operators
            if operator.name not in RULES and torch.Tag.pointwise not in operator.function.tags
        )
    )


def law(graph: ChannelGraph, model: nn.Module, inputs: tuple[Any, ...]) -> Row:
    """Whether reversing the units of the groups changes nothing."""
    started = time.process_time()
    try:
        result = graph.verify(model, inputs)
    except Exception as error:  # noqa: BLE001 - any failure is a result
        found: Row = {"error": failure(error)}
    else:
        found = {"holds": result.holds, "violators": list(result.violators)}
    return {**found, "seconds": round(time.process_time() - started, 3)}


def content(rows: Sequence[Row]) -> Row:
    """Everything that is kept, summary first."""
    rows = sorted(rows, key=lambda row: row["name"])
    return {
        "convention": __doc__,
        "environment": environment(),
        "summary": summary(rows),
        "left_out": dict(LEFT_OUT),
        "networks": rows,
    }


def summary(rows: Sequence[Row]) -> Row:
    """How many networks trace, keep the law, and are free; with every miss and why."""
    traced = [row for row in rows if "output_axes" in row]
    proven = [row for row in traced if row["law"].get("holds")]
    free = [row for row in traced if row["output_axes"]["share"] >= GOOD]
    return {
        "networks": len(rows),
        "traced": len(traced),
        "law_holds": len(proven),
        "free": len(free),
        "free_at_work": sum(row["output_axes_at_work"]["share"] >= GOOD for row in traced),
        "free_means": f"at least {GOOD:.0%} of the output axes are in groups",
        "trace_seconds": spread([row["seconds"]["trace"]["median"] for row in traced]),
        "misses": {row["name"]: why for row in rows if (why := miss(row))},
        "frozen": frozen_everywhere(traced),
        "operators_without_rule": networks_by_operator(traced),
    }


def spread(values: Sequence[float]) -> Row:
    """Median, 95th percentile, largest."""
    if not values:
        return {}
    ordered = sorted(values)
    return {
        "median": median(ordered),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
    }


def miss(row: Row) -> str:
    """What a network falls short of, and why; nothing if it does not."""
    if "output_axes" not in row:
        return f"{row['status']} in {row.get('stage', 'the process')}: {row['why']}"
    said = []
    checked = row["law"]
    if not checked.get("holds") and checked.get("error") != "skipped":
        broken = ", ".join(checked.get("violators", ())[:3])
        why = row.get("why") or checked.get("error")
        said.append(f"law: broken by {broken}" if broken else f"law: {why}")
    if row["output_axes"]["share"] < GOOD:
        most = row["frozen"][:2]
        named = "; ".join(f"{w['reason']} {w['operator']} x{w['indices']}" for w in most)
        said.append(f"{row['output_axes']['share']:.0%} free: {named}")
    return " | ".join(said)


def frozen_everywhere(rows: Sequence[Row]) -> list[Row]:
    """Reasons over all networks: how many networks have it, and how many indices; most first."""
    networks: Counter[tuple[str, str]] = Counter()
    indices: Counter[tuple[str, str]] = Counter()
    for row in rows:
        for why in row["frozen"]:
            key = (why["reason"], why["operator"])
            networks[key] += 1
            indices[key] += why["indices"]
    return [
        {"reason": key[0], "operator": key[1], "networks": networks[key], "indices": count}
        for key, count in indices.most_common()
    ]


def networks_by_operator(rows: Sequence[Row]) -> dict[str, int]:
    """How many networks call each operator that has no rule, most first."""
    return dict(Counter(name for row in rows for name in row.get("without_rule", ())).most_common())


def show(rows: Sequence[Row]) -> None:
    """Print the table and the summary."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    heads = ("ops", "groups", "params", "axes", "at work", "record s", "solve s", "MiB", "law")
    table = Table("network", *heads, "why")
    for row in sorted(rows, key=lambda row: row["name"]):
        table.add_row(row["name"], *cells(row))
    console.print(table)
    told = summary(rows)
    for why in told["frozen"][:20]:
        console.print(
            f"{why['networks']:4d} networks {why['indices']:8d} indices: "
            f"{why['reason']} {why['operator']}",
            highlight=False,
        )
    console.print(f"operators without a rule: {told['operators_without_rule']}")
    total = told["networks"]
    console.print(
        f"traced {told['traced']}/{total}, law holds {told['law_holds']}/{total}, "
        f">= {GOOD:.0%} output axes {told['free']}/{total}, at work {told['free_at_work']}/{total}"
    )


def cells(row: Row) -> list[str]:
    """A row of the table after its name."""
    if "output_axes" not in row:
        return [*[""] * 9, miss(row)]
    checked = row["law"]
    holds = {True: "holds", False: "BROKEN", None: "-"}[checked.get("holds")]
    return [
        f"{row['operators']}",
        f"{row['groups']}",
        f"{row['prunable_params_share']:.1%}",
        f"{row['output_axes']['share']:.1%}",
        f"{row['output_axes_at_work']['share']:.1%}",
        f"{row['seconds']['record']['median']:.2f}",
        f"{row['seconds']['solve']['median']:.2f}",
        f"{row['peak_mb']['traced']:.0f}",
        holds,
        miss(row),
    ]


if __name__ == "__main__":
    main()
