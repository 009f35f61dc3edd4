"""Compare criteria on networks with their published weights, aligned, at the same MACs.

python -m benchmarks.criteria [GLOB ...] [--criteria NAME ...] [--ratios 10 20 ...]
    [--sets Set5 BSD100] [--steps 0] [--seeds 3] [--json FILE] [--plot FILE] [--fresh]

Weights and images are looked for in `$PRUNEKIT_DATA`, then in `../shared/data`. A row is a network,
a criterion, a share of the MACs and a seed, and is kept: what is cut short goes on where it was.

* `psnr_y`: dB on Y of BT.601 of 8-bit images, `scale` pixels cut off every side, mean over the
  images of a set, LR by MATLAB's bicubic; float32. `before` any fine-tuning, and `after` `--steps`
  steps of it (Adam, L1, 16 patches of 48 x 48 pixels of LR, from 2e-4 down along a cosine, the same
  for all)
* Groups are those of the channel graph, so layers stay aligned; every group loses the same share
  (`allocation: local`), widths are not rounded. `macs` and `params` are shares removed, at 48 x 48
  pixels of LR; the first is the target, met or exceeded by the least that single steps allow
* Criteria that look at images see 16 batches of 4 patches of the training images, `output` 1 batch
  of 4. `seconds` to measure that, once for all criteria that look at the same; wall clock, on a
  machine that others may use too; of torch-pruning the seconds of its search
* `random` is drawn for every seed, and its mean is shown
* `torch-pruning ...` is its own `BasePruner` on its own groups, told which layers make the output,
  with the same gradients. Its ratio of channels is the smallest, in steps of 1/256, with which as
  many MACs leave. Where it raises, or leaves a network that fails, the row says so
* `below`: where ours is below torch-pruning's importance of the same kind
"""

from __future__ import annotations

import argparse
import copy
import json
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import mean
from typing import Any

import matplotlib as mpl
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.children import ENGINE, Job, Row, failure, read_rows
from benchmarks.peer_tools import output_layers
from benchmarks.trained_networks import (
    Card,
    Pairs,
    build,
    data_folder,
    network_name,
    networks,
    psnr_y,
    row_name,
    training,
)
from prunekit.data.pairs import Folder, load_pairs
from prunekit.data.patches import Patches
from prunekit.errors import PrunekitError
from prunekit.files import write_atomic
from prunekit.graph import ChannelGraph, clone_model, trace
from prunekit.measure.environment import environment
from prunekit.nets import NETWORKS
from prunekit.plan import Policy, Target, make_plan
from prunekit.progress import Silent
from prunekit.score import CRITERIA, NOTHING, Calibration, Criterion, Evidence, gather, score_some
from prunekit.surgery import apply
from prunekit.train.loop import finetune
from prunekit.train.options import TrainOptions

HERE = Path(__file__).parent
SOURCES = (
    *ENGINE,
    "prunekit/plan",
    "prunekit/score",
    "prunekit/nets",
    "prunekit/train",
    "benchmarks/criteria.py",
)
NAMES = ("imdn_x2", "imdn_x4", "rfdn_aim_x4", "rlfn_x2", "pan_x2", "pan_x4", "carn_m", "bsrn_s_x4")
RATIOS = (10, 20, 30, 40, 50, 60, 70)
SIDES = (48, 48)
BATCHES, BATCH_SIZE = 16, 4
PATCH = 48
LEARNING_RATE = 2e-4
STEP = 1 / 256
"""Of torch-pruning's ratio."""
HIGHEST = 7 / 8
"""Ratio that it is asked for at most: near 1 it takes nothing at all."""

PEERS = ("torch-pruning magnitude", "torch-pruning taylor", "torch-pruning lamp")
KINDS = {PEERS[0]: "group_norm", PEERS[1]: "taylor", PEERS[2]: "lamp"}
"""Ours of the same kind."""


@dataclass(frozen=True)
class Case:
    """One row that is wanted."""

    card: Card
    scale: int
    criterion: str
    percent: int
    seed: int
    steps: int

    @property
    def network(self) -> str:
        """Name of the weights."""
        return row_name(self.card, self.scale)

    @property
    def name(self) -> str:
        """Of the row."""
        what = f"{self.network}, {self.criterion}, {self.percent} %, seed {self.seed}"
        return f"{what}, {self.steps} steps"


def main() -> None:
    """Measure every case that is not known yet."""
    options = _arguments()
    warnings.simplefilter("ignore")
    torch.set_num_threads(options.threads)
    wanted = list(cases(options))
    job = Job((), SOURCES)
    rows = {} if options.fresh else earlier(options.json, job)
    for group in by_network(wanted):
        open_cases = [case for case in group if not complete(rows.get(case.name), options.sets)]
        for name, row in measured(open_cases, options.sets):
            rows[name] = {"name": name, "code": job.code, **row}
            print(name, rows[name].get("before", rows[name].get("why")), flush=True)
            if options.json:
                write_atomic(options.json, json.dumps(content(rows), indent=1) + "\n")
    chosen = [rows[case.name] for case in wanted if case.name in rows]
    show(chosen, options.sets[0])
    if options.plot and chosen:
        draw(chosen, options.sets[0], options.plot)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=list(NAMES), help="globs on names of weights")
    everything = [*CRITERIA, *PEERS]
    parser.add_argument("--criteria", nargs="+", choices=everything, default=everything)
    parser.add_argument("--ratios", nargs="+", type=int, default=list(RATIOS), help="percent")
    parser.add_argument("--sets", nargs="+", default=["Set5", "BSD100"])
    parser.add_argument("--steps", type=int, default=0, help="of fine-tuning")
    parser.add_argument("--seeds", type=int, default=3, help="of criterion random")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--plot", type=Path, help="SVG or PNG")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    return parser.parse_args()


def earlier(path: Path | None, job: Job) -> dict[str, Row]:
    """Rows of an earlier run with the same code, also those that are not asked for now."""
    if path is None or not path.exists():
        return {}
    names = [row["name"] for row in json.loads(path.read_text())["networks"]]
    return read_rows(path, dict.fromkeys(names, job))


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """Every network, criterion, ratio and seed; the images that are wanted are the same for all."""
    for card, scale in networks(options.names):
        if network_name(card, scale) not in NETWORKS:
            continue
        for criterion in options.criteria:
            for percent in options.ratios:
                for seed in range(options.seeds if criterion == "random" else 1):
                    yield Case(card, scale, criterion, percent, seed, options.steps)


def by_network(wanted: Sequence[Case]) -> Iterator[list[Case]]:
    """Cases of the same weights and scale together."""
    groups: dict[tuple[str, int], list[Case]] = {}
    for case in wanted:
        groups.setdefault((case.network, case.scale), []).append(case)
    yield from groups.values()


def complete(row: Row | None, sets: Sequence[str]) -> bool:
    """Whether a row of an earlier run has all that is wanted."""
    return row is not None and (row["status"] != "ok" or set(sets) <= set(row["before"]))


def content(rows: Mapping[str, Row]) -> dict[str, Any]:
    """What is written."""
    ordered = [rows[name] for name in sorted(rows)]
    return {
        "convention": __doc__,
        "environment": environment(),
        "below": list(below(ordered)),
        "networks": ordered,
    }


def measured(group: Sequence[Case], sets: Sequence[str]) -> Iterator[tuple[str, Row]]:
    """Rows of the cases of one network, which is built and looked at once."""
    if not group:
        return
    subject = Subject.of(group[0].card, group[0].scale, sets)
    for case in group:
        row: Row = {
            "network": case.network,
            "criterion": case.criterion,
            "percent": case.percent,
            "seed": case.seed,
            "steps": case.steps,
            "dense": subject.dense,
        }
        try:
            yield case.name, {**row, "status": "ok", **subject.measure(case)}
        except Exception as error:  # noqa: BLE001 - any failure is a result
            yield case.name, {**row, "status": "failed", "why": failure(error)}


@dataclass(frozen=True, eq=False)
class Subject:
    """A network, its graph, and images to look at, to train on and to measure on."""

    model: nn.Module
    graph: ChannelGraph
    training: Pairs
    sets: Mapping[str, Pairs]
    dense: Mapping[str, float]
    known: dict[str, tuple[Evidence, float]]

    @staticmethod
    def of(card: Card, scale: int, sets: Sequence[str]) -> Subject:
        """Build it."""
        model = build(card, scale).eval()
        pairs = {name: images(name, scale) for name in sets}
        dense = {name: psnr_y(model, list(each)) for name, each in pairs.items()}
        graph = trace(model, example())
        return Subject(model, graph, training(scale), pairs, dense, {})

    def measure(self, case: Case) -> Row:
        """Prune, measure, fine-tune, measure."""
        slim, seconds = self.peer(case) if case.criterion in PEERS else self.ours(case)
        row: Row = {**self.cost(slim), "seconds": round(seconds, 1), "before": self.psnr(slim)}
        if case.steps:
            options = TrainOptions(steps=case.steps, learning_rate=LEARNING_RATE, patch_size=PATCH)
            finetune(
                slim,
                self.training,
                options,
                teacher=None,
                seed=case.seed,
                device=torch.device("cpu"),
                progress=Silent(),
            )
            row["after"] = self.psnr(slim)
        return row

    def ours(self, case: Case) -> tuple[nn.Module, float]:
        """Prune aligned groups by a criterion."""
        criterion = CRITERIA[case.criterion]
        evidence, seconds = self.evidence(criterion)
        found = score_some(
            self.model,
            self.graph.groups,
            criterion,
            seed=case.seed,
            evidence=evidence,
            outputs=self.graph.output_axes,
        )
        policy = Policy(round_to=1, min_width=1, normalisation=criterion.normalisation)
        target = Target("macs_ratio", case.percent / 100)
        plan = make_plan(self.graph, found.scores, target, policy, held=found.unscored)
        return apply(plan, self.model), seconds

    def evidence(self, criterion: Criterion) -> tuple[Evidence, float]:
        """What a criterion looks at, measured once for all that look at the same."""
        if not criterion.needs:
            return NOTHING, 0.0
        (need,) = criterion.needs
        if need not in self.known:
            start = time.perf_counter()
            evidence = gather(
                self.model,
                self.graph.groups,
                criterion,
                self.calibration(1 if need == "output" else BATCHES),
                outputs=self.graph.output_axes,
                progress=Silent(),
            )
            self.known[need] = evidence, time.perf_counter() - start
        return self.known[need]

    def calibration(self, batches: int) -> Calibration:
        """Patches of the training images."""
        return Calibration.cut(
            Patches(self.training, PATCH, seed=0), batches=batches, batch_size=BATCH_SIZE
        )

    def peer(self, case: Case) -> tuple[nn.Module, float]:
        """Let torch-pruning prune its own groups until as many MACs are gone."""
        wanted, start = (1 - case.percent / 100) * self.graph.macs(), time.perf_counter()
        low, high = 0, round(HIGHEST / STEP)
        slim = self.peer_at(case.criterion, high * STEP)
        if macs(slim) > wanted:
            message = f"torch-pruning leaves {macs(slim) / self.graph.macs():.0%} of the MACs"
            raise PrunekitError(message)
        while high - low > 1:
            middle = (low + high) // 2
            tried = self.peer_at(case.criterion, middle * STEP)
            if macs(tried) > wanted:
                low = middle
            else:
                high, slim = middle, tried
        return slim, time.perf_counter() - start

    def peer_at(self, name: str, ratio: float) -> nn.Module:
        """Its slim network at a ratio of channels."""
        import torch_pruning as tp  # noqa: PLC0415 - slow, and rarely needed

        model = self.with_gradients() if name == PEERS[1] else clone_model(self.model)
        importance = {
            PEERS[0]: tp.importance.GroupMagnitudeImportance,
            PEERS[1]: tp.importance.GroupTaylorImportance,
            PEERS[2]: tp.importance.LAMPImportance,
        }[name]()
        ends = output_layers(model, [example()], lambda network, inputs: [network(*inputs)])
        pruner = tp.pruner.BasePruner(
            model, example(), importance, pruning_ratio=ratio, ignored_layers=ends
        )
        pruner.step()
        model.zero_grad()
        return model

    def with_gradients(self) -> nn.Module:
        """A copy with the gradients of L1 on the calibration data."""
        model = clone_model(self.model)
        for batch in self.calibration(BATCHES).batches:
            assert batch.hr is not None  # there is for all training images
            functional.l1_loss(model(batch.inputs), batch.hr).backward()
        return model

    def cost(self, slim: nn.Module) -> Row:
        """Shares removed."""
        before, after = (sum(p.numel() for p in m.parameters()) for m in (self.model, slim))
        return {
            "macs": round(1 - macs(slim) / self.graph.macs(), 4),
            "params": round(1 - after / before, 4),
        }

    def psnr(self, slim: nn.Module) -> dict[str, float]:
        """On every set."""
        return {name: psnr_y(slim, list(pairs)) for name, pairs in self.sets.items()}


def example() -> Tensor:
    """An image of noise."""
    return torch.rand(1, 3, *SIDES, generator=torch.Generator().manual_seed(0))


def macs(model: nn.Module) -> int:
    """Of a network, at the traced size."""
    return trace(copy.deepcopy(model), example()).macs()


@cache
def images(name: str, scale: int) -> Pairs:
    """A benchmark set."""
    return load_pairs(Folder(data_folder() / "benchmarks" / name / "HR"), scale, progress=Silent())


def below(rows: Sequence[Row]) -> Iterator[str]:
    """Where ours of the same kind is below torch-pruning's, a sentence each."""
    ours = {_key(row): row for row in rows if row["status"] == "ok"}
    for row in rows:
        if row["criterion"] not in KINDS or row["status"] != "ok":
            continue
        kind = KINDS[row["criterion"]]
        mine = ours.get(_key({**row, "criterion": kind}))
        for when in ("before", "after"):
            for name, theirs in row.get(when, {}).items():
                if mine and mine.get(when, {}).get(name, theirs) < theirs:
                    yield (
                        f"{row['network']} at {row['percent']} % of the MACs, {when} fine-tuning, "
                        f"{name}: {kind} {mine[when][name]:.2f} dB, {row['criterion']} {theirs:.2f}"
                    )


def _key(row: Row) -> tuple[Any, ...]:
    return (row["network"], row["criterion"], row["percent"], row["seed"], row["steps"])


def show(rows: Sequence[Row], first: str) -> None:
    """A table a network: criteria down, ratios across; in brackets after fine-tuning."""
    console = Console()
    for network in dict.fromkeys(row["network"] for row in rows):
        own = [row for row in rows if row["network"] == network]
        percents = sorted({row["percent"] for row in own})
        table = Table(
            "criterion",
            *(f"-{percent} %" for percent in percents),
            title=f"{network}: PSNR-Y on {first}, dense {own[0]['dense'].get(first, 0):.2f} dB",
            padding=0,
        )
        for criterion in dict.fromkeys(row["criterion"] for row in own):
            of_it = [row for row in own if row["criterion"] == criterion]
            table.add_row(criterion, *(cell(of_it, percent, first) for percent in percents))
        console.print(table)
        for row in own:
            if row["status"] != "ok":
                print(f"{row['name']}: {row['why']}")
    for sentence in below(rows):
        print(sentence)


def cell(rows: Sequence[Row], percent: int, name: str) -> str:
    """Mean over seeds."""
    chosen = [row for row in rows if row["percent"] == percent and row["status"] == "ok"]
    if not chosen:
        return "failed"
    before = mean(row["before"][name] for row in chosen)
    after = [row["after"][name] for row in chosen if "after" in row]
    return f"{before:.2f}" + (f" ({mean(after):.2f})" if after else "")


def draw(rows: Sequence[Row], name: str, path: Path) -> None:
    """A panel a network, a line a criterion; after fine-tuning where there was any."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    names = list(dict.fromkeys(row["network"] for row in rows))
    figure, panels = plt.subplots(
        1, len(names), figsize=(4 * len(names), 4), squeeze=False, layout="constrained"
    )
    value: Callable[[Row], float] = lambda row: row.get("after", row["before"])[name]  # noqa: E731
    for panel, network in zip(panels[0], names, strict=True):
        own = [row for row in rows if row["network"] == network and row["status"] == "ok"]
        for number, criterion in enumerate(dict.fromkeys(row["criterion"] for row in own)):
            points: dict[int, list[float]] = {}
            for row in own:
                if row["criterion"] == criterion:
                    points.setdefault(row["percent"], []).append(value(row))
            line = [(percent, mean(each)) for percent, each in sorted(points.items())]
            style = "--" if criterion in PEERS else "-"
            panel.plot(
                *zip(*line, strict=True),
                style,
                marker="o",
                color=f"C{number % 10}",
                label=criterion,
            )
        panel.set(title=network, xlabel="MACs removed, %", ylabel=f"PSNR-Y on {name}, dB")
        panel.grid(visible=True, alpha=0.3)
    panels[0][-1].legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    main()
