"""Prune every network of the registry, prove it, save it and load it in another process.

python -m benchmarks.prune_everything [GLOB ...] [--ratios R ...] [--rounding N ...] [--peers]
    [--json FILE] [--fresh] [--jobs N] [--timeout S]

Each network is built with random weights at its published size in a process of its own, on one
thread, and pruned by each channel ratio with widths rounded to each number (`min_width` is the
same number), by L2 magnitude, every group the same share. For each of these, a case:

* `plan` and `rebuild` are seconds of processor time; `verify` is the proof at two sizes, with the
  network's own weights and with generic ones in float64. What all proofs of a network have in
  common is computed in the first case. `search` is what looking for groups that
  do not survive took, where the first plan failed the proof, and `held` how many of all groups
  stay whole for it
* `macs` and `params`: shares removed, of multiply-accumulates at the traced size; `as_predicted`
  is whether a trace of the slim network counts what the plan foretold, and the slim network has
  as many parameters
* `loaded`, for the first case: a fresh process builds the network anew, loads the slim file into
  it, and computes the same output to the bit

With `--peers`, torch-pruning and torch-kirigami are asked for half of the channels of the same
networks in the same run, as `benchmarks.peers_trace` says.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

import prunekit
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
from benchmarks.peers_trace import peer_jobs
from prunekit.files import write_atomic
from prunekit.graph import ChannelGraph, trace
from prunekit.measure.environment import environment
from prunekit.pipeline import stages
from prunekit.progress import Silent
from prunekit.recipe import PruneSection
from prunekit.surgery import Original, save_slim

TIMEOUT = 900.0
RATIOS = (0.5, 0.25, 0.75)
ROUNDING = (1, 8)
PEERS = ("torch-pruning", "torch-kirigami")
PEER_LIMIT = 120.0
SOURCES = (*ENGINE, "prunekit/plan", "prunekit/score", "benchmarks/prune_everything.py")
GOOD = 0.4  # share of the MACs
FAST = 5.0  # seconds


def main() -> None:
    """Measure all, or be the child that measures one."""
    parser = argparse.ArgumentParser(description=__doc__)
    append_options(parser, timeout=TIMEOUT)
    parser.add_argument("--ratios", type=float, nargs="+", default=RATIOS)
    parser.add_argument("--rounding", type=int, nargs="+", default=ROUNDING)
    parser.add_argument("--peers", action="store_true", help="the peers as well")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(loaded_digest(*options.load))
        return
    if options.child:
        (net,) = matching([options.child])
        measure(net, options.ratios, options.rounding, options.out)
        return
    cases = ["--ratios", *map(str, options.ratios), "--rounding", *map(str, options.rounding)]
    limits = Limits(options.timeout, options.memory, options.jobs)
    every, nets = matching([]), matching(options.names)
    ours = {net.name: Job(["--child", net.name, *cases], SOURCES) for net in every}
    theirs = peer_jobs(every, PEERS, PEER_LIMIT)
    kept = read_rows(options.json, ours | theirs)
    rows = {name: row for name, row in kept.items() if name in theirs or has_all(row, options)}

    def keep(row: Row) -> None:
        rows[row["name"]] = row
        if options.json:
            write_atomic(options.json, json.dumps(content(list(rows.values())), indent=1) + "\n")

    def run(module: str, jobs: Mapping[str, Job]) -> None:
        wanted = {name: job for name, job in jobs.items() if options.fresh or name not in rows}
        measure_all(f"benchmarks.{module}", wanted, limits, keep)

    asked = {net.name: ours[net.name] for net in nets}
    run("prune_everything", asked)
    peers = peer_jobs(nets, PEERS, PEER_LIMIT) if options.peers else {}
    run("peers_trace", peers)
    show([rows[name] for name in (*asked, *peers)])


def has_all(row: Row, options: argparse.Namespace) -> bool:
    """Whether a row has every case that is asked for, or never will."""
    cases = {(case["ratio"], case["round_to"]) for case in row.get("cases", ())}
    asked = {(ratio, multiple) for ratio in options.ratios for multiple in options.rounding}
    return row["status"] != "ok" or asked <= cases


def measure(net: Architecture, ratios: Sequence[float], rounding: Sequence[int], out: Path) -> None:
    """Prune one network in every way; what is known is written after each."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    tell = report_to(out)
    row: Row = {"package": net.package, "cases": []}
    try:
        torch.manual_seed(0)
        model, inputs = net.build(), net.example()
        graph, original = trace(model, inputs), Original(model, inputs)
        for multiple in rounding:
            for ratio in ratios:
                first = not row["cases"]
                row["cases"].append(
                    {"ratio": ratio, "round_to": multiple, "verdict": "not finished"}
                )
                tell({**row, "status": "ok"})
                row["cases"][-1] |= case(net, (original, graph), ratio, multiple, load=first)
                row["peak_mb"] = peak_mb()
    except Exception as error:  # noqa: BLE001 - any failure of other people's code is a result
        tell({**row, "status": "error", "why": failure(error)})
    else:
        tell({**row, "status": "ok"})


class Watch(Silent):
    """Keeps how long each stage took in all, and how it ended."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage, self._started = "", 0.0

    def start(self, stage: str, total: int | None = None) -> None:  # noqa: ARG002
        """Begin to time a stage, which ends the one before."""
        self.finish()
        self._stage, self._started = stage, time.process_time()

    def finish(self, note: str = "") -> None:  # noqa: ARG002
        """End the stage."""
        if self._stage:
            took = time.process_time() - self._started
            self.seconds[self._stage] = round(self.seconds.get(self._stage, 0) + took, 4)
        self._stage = ""


def case(
    net: Architecture,
    traced: tuple[Original, ChannelGraph],
    ratio: float,
    multiple: int,
    *,
    load: bool,
) -> Row:
    """Prune one network in one way."""
    original, graph = traced
    section = PruneSection.model_validate(
        {
            "method": "filter",
            "target": {"channel_ratio": ratio},
            "round_to": multiple,
            "min_width": multiple,
        }
    )
    watch, inputs = Watch(), net.example()
    try:
        pruned = stages.prune(
            original.model,
            graph,
            section,
            inputs,
            original.options,
            seed=0,
            progress=watch,
            original=original,
        )
    except prunekit.PrunekitError as error:
        return {"verdict": type(error).__name__, "why": failure(error), **timed(watch)}
    plan, check = pruned.plan, pruned.verification
    found = trace(pruned.model, inputs)
    counted = sum(p.numel() for p in pruned.model.parameters())
    predicted = plan.params[1] == found.params() == counted and plan.macs[1] == found.macs()
    held = [group for group in plan.groups if group.reason]
    return {
        "verdict": "proven",
        "exact": plan.exact,
        "sizes": len(check.input_shapes),
        "max_error": check.max_error,
        "limit": check.limit,
        "generic_error": check.generic_error,
        "macs": round(1 - plan.macs[1] / max(plan.macs[0], 1), 4),
        "params": round(1 - plan.params[1] / plan.params[0], 4),
        "as_predicted": predicted,
        "groups": len(plan.groups),
        "held": len(held),
        "why_held": sorted({group.reason[:300] for group in held})[:3],
        **timed(watch),
        **({"loaded": loads(net, pruned)} if load else {}),
    }


def timed(watch: Watch) -> Row:
    """Seconds of the stages."""
    names = {"plan": "plan", "rebuild": "rebuild", "verify": "verify", "find what breaks": "search"}
    return {short: watch.seconds.get(name, 0.0) for name, short in names.items()}


def loads(net: Architecture, pruned: stages.Pruned) -> str:
    """Whether a fresh process makes the same network of the file."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "slim.safetensors"
        try:
            save_slim(file, pruned.model, pruned.plan)
            command = [sys.executable, "-m", "benchmarks.prune_everything", "--load", net.name]
            done = subprocess.run([*command, str(file)], capture_output=True, text=True, check=True)
        except prunekit.PrunekitError as error:
            return failure(error)
        except subprocess.CalledProcessError as error:
            return (error.stderr.strip().splitlines() or ["failed"])[-1][:300]
    same = done.stdout.strip().splitlines()[-1] == digest(pruned.model.eval(), net)
    return "bit-exact" if same else "differs"


def loaded_digest(name: str, file: str) -> str:
    """Be the fresh process."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    (net,) = matching([name])
    torch.manual_seed(1)
    return digest(prunekit.load(file, net.build()), net)


def digest(model: nn.Module, net: Architecture) -> str:
    """Digest of all that a network computes of the example."""
    torch.manual_seed(2)
    with torch.no_grad():
        results = [x for x in tree_leaves(model(*net.example())) if isinstance(x, Tensor)]
    content = [
        x.detach().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes() for x in results
    ]
    return hashlib.sha256(b"".join(content)).hexdigest()


def content(rows: Sequence[Row]) -> dict[str, Any]:
    """What is written."""
    return {
        "convention": __doc__,
        "environment": environment(),
        "summary": summary([row for row in rows if "tool" not in row]),
        "networks": sorted(rows, key=lambda row: row["name"]),
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Counts over networks and cases, and the names of those that miss."""
    cases = [(row["name"], case) for row in rows for case in row.get("cases", ())]
    proven = [(name, case) for name, case in cases if case["verdict"] == "proven"]
    half = [(n, c) for n, c in proven if c["ratio"] == 0.5 and c["round_to"] == 1]
    slow = [n for n, c in proven if c["plan"] + c["rebuild"] > FAST]
    loaded = [(n, c["loaded"]) for n, c in proven if "loaded" in c]
    return {
        "networks": len(rows),
        "cases": len(cases),
        "proven": len(proven),
        "not_proven": [
            f"{n} at {c['ratio']}, {c['round_to']}: {c['verdict']}"
            for n, c in cases
            if c["verdict"] != "proven"
        ],
        "not_as_predicted": sorted({n for n, c in proven if not c["as_predicted"]}),
        "at_half_macs_down_by_40_percent": sum(c["macs"] >= GOOD for _, c in half),
        "at_half": len(half),
        "at_half_less": {n: c["macs"] for n, c in half if c["macs"] < GOOD},
        "median_macs_at_half": median([c["macs"] for _, c in half]) if half else None,
        "plan_and_rebuild_above_5_s": sorted(set(slow)),
        "loaded_bit_exact": sum(how == "bit-exact" for _, how in loaded),
        "loaded_otherwise": {n: how for n, how in loaded if how != "bit-exact"},
        "failed": {row["name"]: row.get("why") for row in rows if row["status"] != "ok"},
    }


def show(rows: Sequence[Row]) -> None:
    """Print a line a network and ratio, and what the peers did."""
    table = Table(
        "network", "ratio", "round", "verdict", "macs", "params", "held", "plan", "verify"
    )
    for row in rows:
        for case in row.get("cases", ()):
            told = [f"{-case[key]:.0%}" if key in case else "" for key in ("macs", "params")]
            held = f"{case['held']}/{case['groups']}" if "held" in case else ""
            seconds = [f"{case.get(key, 0):.1f}" for key in ("plan", "verify")]
            what = (str(case["ratio"]), str(case["round_to"]), case["verdict"])
            table.add_row(row["name"], *what, *told, held, *seconds)
    console = Console()
    console.print(table)
    peers = [row for row in rows if "tool" in row]
    if peers:
        other = Table("network", "tool", "verdict")
        for row in peers:
            other.add_row(row["network"], row["tool"], row.get("verdict") or row["status"])
        console.print(other)
    console.print_json(json.dumps(summary([row for row in rows if "tool" not in row])))


if __name__ == "__main__":
    main()
