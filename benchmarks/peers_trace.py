"""Put each network through prunekit, torch-pruning and torch-kirigami: how long, and is it right.

python -m benchmarks.peers_trace [GLOB ...] [--tools T ...] [--json FILE] [--fresh] [--jobs N]

Each network and tool has a process of its own, one thread, the same inputs, and 120 s for all of
it. Seconds are processor time, so that what else runs counts little.

`seconds` is what a tool needs before it can prune: torch-pruning `build_dependency` and
`get_all_groups`, torch-kirigami `DependencyGraph.build` and `discover_candidates`, prunekit
`trace`; `graph_seconds` is the first part of it. The median of three (no more once they took
20 s); memory is the largest of the process by then, libraries, weights and, for torch-pruning, the
forward pass included. Whether prunekit's groups keep the law of reversal is in
`benchmarks.coverage`.

Then each tool is asked to take half of the channels by L2 magnitude, each group on its own, with
the defaults of its documentation. torch-pruning has to be told the output layers: it is told those
that run last, make no more channels than an image has, or make what prunekit finds to be outputs;
and the heads of attentions that are called `qkv` and `num_heads`, as in its examples. All weights
are drawn at random first, so that none is zero, and in float64 where the network runs so.

What became of it, by the strongest check that applies:

* equal: the slim network runs at both sizes and computes what the dense one does with everything
  removed set to zero, within 1e-11 of the largest output (1e-4 in float32; `dtype` says which);
  `error` is told as a share of what zeroing changed
* runs: it runs and its outputs have the right shape at both sizes (at one, if it takes but one).
  Only this is asked where zeroing does not mean removing, because something is normalised or
  reduced over channels (`weaker` names the operator), where the weights are no slices of the
  dense ones, or where zeroing changes little more than rounding; a wrong coupling can pass it
* nothing removed: the tool went through and every parameter is still there
* refused: the tool says that it cannot, and changes nothing
* differs, wrong shape, does not run: wrong, and nothing said so
* analysis or pruning, with error or timeout: that is where it stopped; `why`
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.architectures import Architecture, matching
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
from benchmarks.coverage import REPEATS, SLOW, spread
from benchmarks.peer_tools import TOOLS, Refusal, Tool, output_layers
from benchmarks.removal import judge, outputs, reduces_channels
from prunekit.files import write_atomic
from prunekit.graph.compare import edited_copy, generic
from prunekit.graph.record import record
from prunekit.measure.environment import environment

TIMEOUT = 120.0
OURS = "prunekit"
SOURCES = tuple(f"benchmarks/{name}.py" for name in ("peers_trace", "peer_tools", "removal"))


def main() -> None:
    """Measure all, or be the child that measures one network with one tool."""
    parser = argparse.ArgumentParser(description=__doc__)
    append_options(parser, timeout=TIMEOUT)
    parser.add_argument("--tools", nargs="+", choices=list(TOOLS), default=list(TOOLS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        (net,) = matching([options.child])
        measure(net, options.tools[0], options.out, options.timeout)
        return
    every = peer_jobs(matching([]), list(TOOLS), options.timeout)
    rows = read_rows(options.json, every)
    jobs = peer_jobs(matching(options.names), options.tools, options.timeout)
    wanted = {name: job for name, job in jobs.items() if options.fresh or name not in rows}

    def keep(row: Row) -> None:
        rows[row["name"]] = row
        if options.json:
            write_atomic(options.json, json.dumps(content(list(rows.values())), indent=1) + "\n")

    # the children keep the time themselves; this ends those that hang in a library
    limits = Limits(8 * options.timeout, options.memory, options.jobs)
    measure_all("benchmarks.peers_trace", wanted, limits, keep)
    show([rows[name] for name in jobs])


def peer_jobs(nets: Sequence[Architecture], tools: Sequence[str], limit: float) -> dict[str, Job]:
    """A job for each network and tool; what the peers do does not hang on our engine."""
    return {
        f"{net.name} {tool}": Job(
            ["--child", net.name, "--tools", tool, "--timeout", str(limit)],
            (*ENGINE, *SOURCES) if tool == OURS else (ENGINE[2], *SOURCES),
        )
        for net in nets
        for tool in tools
    }


def measure(net: Architecture, tool: str, out: Path, seconds: float) -> None:
    """Analyse, halve, judge; what is known is written after every stage."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tell = report_to(out)
    row: Row = {"network": net.name, "tool": tool, "status": "error", "stage": "build"}
    try:
        model, inputs = net.build(), net.example()
        tell(row := {**row, "stage": "analysis"})
        with limited(seconds):
            for known in analysed(TOOLS[tool], model, inputs):
                tell(row := {**row, **known})
            tell(row := {**row, "stage": "pruning"})
            row = {**row, **halved(TOOLS[tool], model, net)}
    except Refusal as error:
        tell({**row, "status": "ok", "verdict": "refused", "why": failure(error)})
    except OutOfTimeError:
        tell({**row, "status": "timeout", "why": f"more than {seconds:.0f} s"})
    except Exception as error:  # noqa: BLE001 - any failure of other people's code is a result
        tell({**row, "why": failure(error)})
    else:
        tell({**row, "status": "ok"})


class OutOfTimeError(BaseException):
    """A stage took too long; no `Exception`, lest a tool takes it for an error of the network."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Stop what runs inside after some seconds of processor time."""

    def stop(*_: object) -> None:
        raise OutOfTimeError

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def analysed(tool: Tool, model: nn.Module, inputs: Sequence[Any]) -> Iterator[Row]:
    """Seconds of the graph; then groups, seconds and memory of all the analysis."""
    graphs: list[float] = []
    seconds: list[float] = []
    groups = 0
    while len(seconds) < (1 if sum(seconds) > SLOW else REPEATS):
        started = time.process_time()
        graph = tool.build(model, inputs)
        graphs.append(time.process_time() - started)
        yield {"graph_seconds": round(median(graphs), 4)}
        groups = tool.groups(model, graph)
        seconds.append(time.process_time() - started)
    yield {
        "groups": groups,
        "seconds": round(median(seconds), 4),
        "spread": [round(min(seconds), 4), round(max(seconds), 4)],
        "peak_mb": peak_mb(),
    }


def halved(tool: Tool, model: nn.Module, net: Architecture) -> Row:
    """What became of the network that lost half of its channels."""
    dtype = precision(model, net.example())
    inputs = converted(net.example(), dtype)
    larger = converted(net.example(larger=True), dtype) if net.step else None
    dense = edited_copy(model, generic(model), dtype)
    victim = edited_copy(model, generic(model), dtype)
    for network in (dense, victim):  # weights that the network computes and keeps are equal then
        outputs(network, inputs)
    weaker = reduces_channels(record(model, net.example()))
    slim = tool.halve(victim, inputs, output_layers(victim, inputs, outputs))
    outcome = judge(dense, slim.eval(), inputs, larger, equality=weaker is None)
    return {**vars(outcome), "dtype": str(dtype).removeprefix("torch."), "weaker": weaker}


def precision(model: nn.Module, inputs: Sequence[Any]) -> torch.dtype:
    """float64 if the network runs so with random weights, otherwise float32."""
    try:
        results = outputs(
            edited_copy(model, generic(model), torch.float64), converted(inputs, torch.float64)
        )
    except Exception:  # noqa: BLE001 - the network's own code can fail in any way
        return torch.float32
    return torch.float64 if all(x.isfinite().all() for x in results) else torch.float32


def converted(inputs: Sequence[Any], dtype: torch.dtype) -> tuple[Any, ...]:
    """Inputs of this type."""
    return tuple(x.to(dtype) if isinstance(x, Tensor) else x for x in inputs)


def content(rows: Sequence[Row]) -> Row:
    """Everything that is kept, summary first."""
    rows = sorted(rows, key=lambda row: row["name"])
    return {
        "convention": __doc__,
        "environment": environment(),
        "summary": summary(rows),
        "networks": rows,
    }


def summary(rows: Sequence[Row]) -> Row:
    """By tool: how many networks end how, and seconds as a multiple of prunekit's."""
    ours = {row["network"]: row["seconds"] for row in built(rows, OURS)}
    told: Row = {}
    for tool in TOOLS:
        mine = [row for row in rows if row.get("tool") == tool]
        ratios = [
            row["seconds"] / ours[row["network"]]
            for row in built(rows, tool)
            if row["network"] in ours
        ]
        told[tool] = {
            "networks": len(mine),
            "graphs": sum("graph_seconds" in row for row in mine),
            "analysed": len(built(rows, tool)),
            "ends": dict(Counter(map(ending, mine)).most_common()),
            "seconds": spread([row["seconds"] for row in built(rows, tool)]),
            "seconds_by_prunekit": spread(ratios),
        }
    return told


def built(rows: Sequence[Row], tool: str) -> list[Row]:
    """Rows of a tool that got through the analysis."""
    return [row for row in rows if row.get("tool") == tool and "seconds" in row]


def ending(row: Row) -> str:
    """How a network ended, in two words."""
    if "verdict" in row:
        return str(row["verdict"])
    return f"{row.get('stage', 'process')}: {row['status']}"


def show(rows: Sequence[Row]) -> None:
    """Print a line a network, with the tools side by side, and the summary."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    tools = [tool for tool in TOOLS if any(row.get("tool") == tool for row in rows)]
    table = Table("network", *(head for tool in tools for head in (tool, "s", "MiB")))
    by_name = {row["name"]: row for row in rows}
    for network in dict.fromkeys(row["name"].split(" ")[0] for row in rows):
        cells: list[str] = []
        for tool in tools:
            row = by_name[f"{network} {tool}"]
            seconds, peak = row.get("seconds"), row.get("peak_mb")
            cells += [ending(row), f"{seconds:.2f}" if seconds else "", f"{peak or '':.6}"]
        table.add_row(network, *cells)
    console.print(table)
    for tool, told in summary(rows).items():
        console.print(tool, told, highlight=False)


if __name__ == "__main__":
    main()
