"""Prune networks with their published weights, without fine-tuning, and measure them on Set5.

python -m benchmarks.trained_networks [GLOB ...] [--json FILE] [--fresh]

Weights and images are looked for in `$PRUNEKIT_DATA`, then in `../shared/data`. Each file of
weights has a JSON beside it with the architecture, the published PSNR and the one that was recorded
with the code of its authors. Networks are those of `prunekit.nets`, their weights loaded strictly.

* `psnr_y`: dB on Y of BT.601 of 8-bit images, `scale` pixels cut off every side, mean over the
  five images of Set5, LR by MATLAB's bicubic; float32, one thread. `agrees` is whether the dense
  network is within 0.1 dB of `reference`: the published figure, else the recorded one
  (`bicubic` is MATLAB's enlargement)
* `pruned`: 10 % of the units removed, widths not rounded, no training after. `local` takes the
  same share of every group by L2 magnitude, `global` compares units of all groups;
  `reconstruction` takes the same share by what the layers that read a unit lose of what they
  compute, on 16 batches of 4 patches of 48 x 48 pixels of LR of the training images
* `alone`: dB that each group costs on the image `butterfly` if the units that `local` takes of it
  leave and all others stay (with the groups whose widths are tied to it): where a collapse is from
* `units_alone`: of the five costliest groups that cost more than 1 dB, what each of the units that
  left costs by itself, if that is more than 1 dB: mostly a few that carry what the whole image
  needs, which their weights do not tell. `psnr_y_with_these` is Set5 when these few stay, and
  `largest_value` that of the enlarged butterfly, dense and pruned (an image has 1): where it
  explodes, the network amplifies from block to block what is beyond the range it was trained for
* `macs` and `params`: shares removed, at 48 x 48 pixels of LR. `max_error` and `limit` are those of
  the proof, which runs every time: the slim network computes what the dense one does with those
  channels switched off. A low PSNR is thus what the choice of channels costs
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file
from torch import Tensor, nn

import prunekit
from benchmarks.children import ENGINE, Job, Row, failure, read_rows
from prunekit.data.pairs import Folder, ImagePair, load_pairs
from prunekit.data.patches import Patches
from prunekit.errors import DataError
from prunekit.files import write_atomic
from prunekit.measure.environment import environment
from prunekit.measure.evaluate import evaluate, evaluate_bicubic
from prunekit.measure.protocol import PROTOCOLS
from prunekit.nets import NETWORKS, create
from prunekit.plan import plan_units
from prunekit.progress import Silent
from prunekit.surgery import apply

Card = Mapping[str, Any]
"""The JSON beside a file of weights."""
Pairs = list[ImagePair]

RATIO = 0.1
TOLERANCE = 0.1  # dB
SOURCES = (
    *ENGINE,
    "prunekit/plan",
    "prunekit/score",
    "prunekit/nets",
    "benchmarks/trained_networks.py",
)
SIDES = (48, 48)
CASES: Mapping[str, Mapping[str, str]] = {
    "local": {"criterion": "l2", "allocation": "local"},
    "global": {"criterion": "l2", "allocation": "global"},
    "reconstruction": {"criterion": "reconstruction", "allocation": "local"},
}
BATCHES, BATCH_SIZE = 16, 4
PROBE = "butterfly"
COSTLY = 1.0  # dB
LOOKED_INTO = 5  # groups


LEFT_OUT: Mapping[str, str] = {
    "BasicVSR": "takes clips of frames, and Set5 has none",
    "HiT_SRF": "is not among the networks of prunekit.nets",
}
"""Architectures that are not built in, and why."""


def main() -> None:
    """Measure every network there are weights for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="globs on names of weights; all if there are none")
    parser.add_argument("--json", type=Path, help="file for the results, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    job = Job((), SOURCES)
    every = {row_name(card, scale): job for card, scale in networks([])}
    rows = {} if options.fresh else read_rows(options.json, every)
    chosen = [(row_name(card, scale), card, scale) for card, scale in networks(options.names)]
    for name, card, scale in chosen:
        if name in rows and rows[name]["status"] == "ok":
            continue
        rows[name] = {"name": name, "code": job.code, **measure(card, scale)}
        print(name, rows[name]["status"], rows[name].get("why", ""), flush=True)
        if options.json:
            write_atomic(options.json, json.dumps(content(rows), indent=1) + "\n")
    if chosen:
        show([rows[name] for name, *_ in chosen])


def content(rows: Mapping[str, Row]) -> dict[str, Any]:
    """What is written."""
    ordered = [rows[name] for name in sorted(rows)]
    return {"convention": __doc__, "environment": environment(), "networks": ordered}


def data_folder() -> Path:
    """Where images and weights are: $PRUNEKIT_DATA, else ../shared/data."""
    beside = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
    return Path(os.environ.get("PRUNEKIT_DATA", beside))


def networks(patterns: list[str]) -> Iterator[tuple[Card, int]]:
    """Every file of weights and each of its scales; says so where there are none."""
    folder = data_folder()
    files = sorted((folder / "weights").glob("*.json"))
    if not files:
        print(f"skipped: no weights in {folder}; name their folder in PRUNEKIT_DATA")
    for file in files:
        card = json.loads(file.read_text())
        if not patterns or any(fnmatchcase(card["name"], pattern) for pattern in patterns):
            for scale in card["scale"]:
                yield card, scale


def row_name(card: Card, scale: int) -> str:
    """Name of the weights, with the scale where they are for several."""
    return card["name"] if len(card["scale"]) == 1 else f"{card['name']} x{scale}"


def measure(card: Card, scale: int) -> Row:
    """One network at one scale; whatever fails is part of the row."""
    row: Row = {"architecture": card["architecture"], "scale": scale}
    if network_name(card, scale) not in NETWORKS:
        why = LEFT_OUT.get(card["architecture"], "an architecture that is not built in")
        return {**row, "status": "skipped", "why": why}
    try:
        model = build(card, scale)
        pairs = load_pairs(set5(), scale, progress=Silent())
        row |= dense_figures(card, scale, model, pairs)
    except DataError as error:
        return {**row, "status": "skipped", "why": failure(error)}
    except Exception as error:  # noqa: BLE001 - any failure is a result
        return {**row, "status": "failed", "why": failure(error)}
    seen = calibration(scale)
    row["pruned"] = {c: pruned_case(model, c, pairs, seen) for c in CASES}
    row["note"] = note(row["pruned"])
    failed = [case for case in row["pruned"].values() if "why" in case]
    return {**row, "status": "failed" if failed else "ok", **(failed[0] if failed else {})}


def network_name(card: Card, scale: int) -> str:
    """Name of the built-in network that the weights are for."""
    name: str = card["name"]
    return name if name.endswith(f"_x{scale}") else f"{name}_x{scale}"


def build(card: Card, scale: int) -> nn.Module:
    """The network with its weights, loaded strictly; pixels are 0 to 1."""
    model = create(network_name(card, scale))
    weights = data_folder() / "weights" / f"{card['name']}.safetensors"
    model.load_state_dict(load_file(weights), strict=True)
    return model


def set5() -> Folder:
    """The HR images."""
    return Folder(data_folder() / "benchmarks" / "Set5" / "HR")


@cache
def training(scale: int) -> Pairs:
    """The images that criteria look at."""
    return load_pairs(Folder(data_folder() / "train" / "DIV2K_testLRx4"), scale, progress=Silent())


@cache
def calibration(scale: int) -> list[tuple[Tensor, Tensor]]:
    """Patches of them, LR and HR."""
    patches = Patches(training(scale), SIDES[0], seed=0)
    return [patches.sample(step, range(BATCH_SIZE)) for step in range(BATCHES)]


def psnr_y(model: nn.Module, pairs: Pairs) -> float:
    """Mean PSNR-Y in dB."""
    return round(evaluate(model, pairs, PROTOCOLS["y"], progress=Silent()).psnr, 3)


def dense_figures(card: Card, scale: int, model: nn.Module, pairs: Pairs) -> Row:
    """What the dense network reaches, beside what it should."""
    published = (card["published_psnr_ssim_y"][f"x{scale}"] or {}).get("Set5", [None])[0]
    recorded = card["measured_psnr_ssim_y"][f"x{scale}"]["Set5"][0]
    reference = recorded if published is None else published
    found = psnr_y(model, pairs)
    bicubic = evaluate_bicubic(pairs, PROTOCOLS["y"]).psnr
    return {
        "trained_for": "a GAN loss" if "GAN" in card["note"] else "pixels",
        "params": sum(p.numel() for p in model.parameters()),
        "published_psnr_y": published,
        "recorded_psnr_y": recorded,
        "reference": reference,
        "psnr_y": found,
        "off_by": round(found - reference, 3),
        "bicubic": round(bicubic, 3),
        "agrees": abs(found - reference) <= TOLERANCE,
    }


def pruned_case(
    model: nn.Module, name: str, pairs: Pairs, seen: list[tuple[Tensor, Tensor]]
) -> Row:
    """Prune in one way; of `local` what every group costs too. A failure is a result."""
    section = {
        "method": "filter",
        **CASES[name],
        "target": {"channel_ratio": RATIO},
        "round_to": 1,
        "min_width": 1,
    }
    image = torch.rand(1, 3, *SIDES, generator=torch.Generator().manual_seed(0))
    try:
        given = seen if name == "reconstruction" else None
        result = prunekit.prune(model, {"prune": section}, image, calibration=given)
        row = {"psnr_y": psnr_y(result.model, pairs), **figures(result)}
        return {**row, **explained(model, result, image, pairs)} if name == "local" else row
    except Exception as error:  # noqa: BLE001 - any failure is a result
        return {"why": failure(error)}


def explained(model: nn.Module, result: prunekit.PruneResult, image: Tensor, pairs: Pairs) -> Row:
    """What every group costs by itself, which units it hangs on, and the rest without these."""
    butterfly = [pair for pair in pairs if pair.name == PROBE]
    probe = Probe(model, result.plan, prunekit.trace(model, image), butterfly)
    groups = probe.groups()
    costly = {
        name: {unit: cost for unit, cost in probe.units(name).items() if cost > COSTLY}
        for name, cost in list(groups.items())[:LOOKED_INTO]
        if cost > COSTLY
    }
    row: Row = {
        "alone": groups,
        "units_alone": {name: units for name, units in costly.items() if units},
        "largest_value": [largest(network, butterfly[0]) for network in (model, result.model)],
    }
    if costly:
        row["psnr_y_with_these"] = psnr_y(probe.spare(costly), pairs)
    return row


@dataclass(frozen=True)
class Probe:
    """Asks what parts of a plan cost, in dB, the costliest first."""

    model: nn.Module
    plan: prunekit.Plan
    graph: prunekit.ChannelGraph
    image: Pairs

    @cached_property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """Of the groups that lose units."""
        return {g.name: g.kept for g in self.plan.groups if len(g.kept) < g.width}

    @cached_property
    def dense(self) -> float:
        """PSNR-Y of the dense network."""
        return psnr_y(self.model, self.image)

    def groups(self) -> Row:
        """Every group, with those whose widths have to fit to it."""
        tied = {name: {o: self.kept[o] for o in self._tied(name)} for name in self.kept}
        return _costliest_first({name: self._cost(kept) for name, kept in tied.items()})

    def units(self, name: str) -> Row:
        """Every unit that leaves a group; where widths have to fit, one of each leaves."""
        alone = {}
        for place, unit in enumerate(self._gone(name)):
            alone[str(unit)] = {
                other: self._without(other, self._gone(other)[place])
                for other in self._tied(name)
                if place < len(self._gone(other))
            }
        costs = {
            unit: self._cost(kept)
            for unit, kept in alone.items()
            if self.graph.allows({other: len(units) for other, units in kept.items()})
        }
        return _costliest_first(costs)

    def spare(self, units: Mapping[str, Iterable[str]]) -> nn.Module:
        """The plan's network, but these units stay; their groups whole if others have to fit."""
        whole = {other for name in units for other in self._tied(name) if other != name}
        kept = {
            name: tuple(sorted({*stay, *map(int, units.get(name, ()))}))
            for name, stay in self.kept.items()
            if whole.isdisjoint(self._tied(name))
        }
        return self._slim(kept)

    def _cost(self, kept: Mapping[str, tuple[int, ...]]) -> float:
        return round(self.dense - psnr_y(self._slim(kept), self.image), 3)

    def _slim(self, kept: Mapping[str, tuple[int, ...]]) -> nn.Module:
        return apply(plan_units(self.graph, kept), self.model)

    def _tied(self, name: str) -> tuple[str, ...]:
        """The group and those whose widths have to fit to it, as far as they lose units."""
        tied = next((names for names in self.graph.balances if name in names), (name,))
        return tuple(other for other in tied if other in self.kept)

    def _gone(self, name: str) -> list[int]:
        width = self.graph.widths[name]
        return [unit for unit in range(width) if unit not in self.kept[name]]

    def _without(self, name: str, unit: int) -> tuple[int, ...]:
        return tuple(other for other in range(self.graph.widths[name]) if other != unit)


def _costliest_first(costs: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(costs.items(), key=lambda item: -item[1]))


def largest(model: nn.Module, pair: ImagePair) -> float:
    """Largest absolute value of what the network makes of an image."""
    pixels = torch.from_numpy(pair.lr).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        return float(f"{model(pixels).abs().max().item():.4g}")


def figures(result: prunekit.PruneResult) -> Row:
    """What left, and what the proof says."""
    plan, proof = result.plan, result.report.proof
    groups = [
        {
            "name": group.name,
            "widths": [group.width_before, group.width_after],
            "params_share": round(group.params_share, 3),
        }
        for group in result.report.groups
    ]
    return {
        "macs": round(1 - plan.macs[1] / plan.macs[0], 4),
        "params": round(1 - plan.params[1] / plan.params[0], 4),
        "units": [sum(group["widths"][place] for group in groups) for place in (0, 1)],
        "proven": proof.passed,
        "max_error": proof.max_error,
        "limit": proof.limit,
        "generic_error": proof.generic_error,
        "groups": groups,
    }


def note(cases: Mapping[str, Row]) -> str:
    """Where units were lost, and what that cost."""
    sentences = [
        f"{name}: {losses(case['groups'])}" for name, case in cases.items() if "why" not in case
    ]
    if costs := cases["local"].get("alone"):
        worst = ", ".join(f"'{name}' {cost:.2f} dB" for name, cost in list(costs.items())[:3])
        sentences.append(
            f"alone on {PROBE}, local: {worst}, {len(costs)} groups' median "
            f"{median(costs.values()):.2f} dB"
        )
        sentences += few_units(cases["local"])
    return "; ".join(sentences)


def few_units(case: Row) -> Iterator[str]:
    """Which units a collapse hangs on."""
    named = [
        f"{unit} of '{name}' {cost:.1f} dB"
        for name, units in case["units_alone"].items()
        for unit, cost in list(units.items())[:2]
    ]
    if named:
        count = sum(len(units) for units in case["units_alone"].values())
        before, after = case["largest_value"]
        yield (
            f"{count} single units cost more than {COSTLY:.0f} dB ({', '.join(named[:4])}); "
            f"if they stay, {case['psnr_y_with_these']:.2f} dB; "
            f"largest value {before:g} -> {after:g}"
        )


def losses(groups: list[Row]) -> str:
    """The groups that lost the largest share of their units."""
    lost = [group for group in groups if group["widths"][0] > group["widths"][1]]
    most = sorted(lost, key=lost_share, reverse=True)[:3]
    told = ", ".join(f"'{g['name']}' {width_change(g)}" for g in most)
    return f"{len(lost)} of {len(groups)} groups lost units, at most {told}"


def lost_share(group: Row) -> float:
    """Share of the units that left."""
    before, after = group["widths"]
    return 1 - after / before


def width_change(group: Row) -> str:
    """As in `64 -> 58`."""
    before, after = group["widths"]
    return f"{before} -> {after}"


def show(rows: list[Row]) -> None:
    """Print a line for each, and what went wrong below."""
    bicubic = {f"x{r['scale']}": f"{r['bicubic']:.2f}" for r in rows if "bicubic" in r}
    told = ", ".join(f"{scale} {figure}" for scale, figure in sorted(bicubic.items()))
    table = Table(
        *("network", "should be", "dense", *(cell for name in CASES for cell in (name, "MACs"))),
        title=f"PSNR-Y on Set5 in dB, {RATIO:.0%} of the units removed, no training after",
        caption=f"! is more than {TOLERANCE} dB off; bicubic has {told}",
        padding=0,
    )
    remarks = []
    for row in rows:
        if "psnr_y" not in row:
            remarks.append(f"{row['name']}: {row['status']}, {row['why']}")
            continue
        dense = f"{row['psnr_y']:.2f}" + ("" if row["agrees"] else " !")
        cells = [cell for name in CASES for cell in case_cells(row["pruned"][name])]
        table.add_row(row["name"], f"{row['reference']:.2f}", dense, *cells)
        remarks += [f"{row['name']}: {remark}" for remark in row_remarks(row)]
    console = Console()
    console.print(table)
    for remark in remarks:
        console.print(remark, markup=False, highlight=False)


def case_cells(case: Row) -> tuple[str, str]:
    """PSNR, and what it saved."""
    if "why" in case:
        return ("failed", "")
    return (f"{case['psnr_y']:.2f}", f"{-case['macs']:.1%}")


def row_remarks(row: Row) -> Iterator[str]:
    """What the table does not say."""
    if not row["agrees"]:
        yield f"the dense network is {row['off_by']:+.2f} dB off its reference"
    if row["trained_for"] != "pixels":
        yield f"trained for {row['trained_for']}, so its PSNR is low as it comes"
    for name, case in row["pruned"].items():
        if "why" in case:
            yield f"{name} failed: {case['why']}"
    yield row["note"]


if __name__ == "__main__":
    main()
