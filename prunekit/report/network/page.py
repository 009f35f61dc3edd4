"""A traced network as one HTML page that draws it from top to bottom, each group in its colour."""

from __future__ import annotations

__all__ = ["to_network_page"]

import json
from collections.abc import Sequence
from typing import Any

import jinja2
from markupsafe import Markup

from prunekit.graph import ChannelGraph, ChannelGroup
from prunekit.graph.families import Family, fold_groups
from prunekit.graph.flow import Step
from prunekit.graph.labels import Reason
from prunekit.graph.shares import FrozenCost, frozen_costs, group_shares, stuck_share
from prunekit.report.figures import number, printable, shape
from prunekit.report.network.blocks import Box, Row, nest, quiet_steps
from prunekit.report.network.colours import Colour, colours
from prunekit.version import __version__


def to_network_page(name: str, graph: ChannelGraph) -> str:
    """Write the page: it holds everything that it shows, and asks nobody for anything."""
    families = fold_groups(graph.groups, group_shares(graph))
    costs = frozen_costs(graph)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prunekit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("network.html.j2").render(
        name=printable(name),
        version=__version__,
        graph=graph,
        families=len(families),
        shape=shape,
        figure=_figure,
        stuck=stuck_share(graph),
        notes=[printable(note) for note in graph.notes],
        shades=_shades(graph, families),
        data=_script_safe(_Data(graph, families, costs).all()),
    )


def _figure(value: float) -> str:
    """Write a count with three digits and its unit."""
    for factor, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " K")):
        if value >= factor:
            return number(value / factor, 2 if value < 10 * factor else 1) + unit
    return number(value, 0)


def _shades(graph: ChannelGraph, families: Sequence[Family]) -> list[tuple[int, Colour]]:
    """Colour of every group, by its number."""
    numbers = {group.name: number for number, group in enumerate(graph.groups)}
    shades = colours([len(family.groups) for family in families])
    return [
        (numbers[group.name], shade)
        for family, row in zip(families, shades, strict=True)
        for group, shade in zip(family.groups, row, strict=True)
    ]


def _script_safe(data: object) -> Markup:
    """Write JSON that no name in it can break out of, since it holds no markup."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=True)
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(text)  # noqa: S704 (no sign that HTML knows is left)


class _Table:
    """Numbers for names that are written often."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def names(self) -> list[str]:
        return [printable(name) for name in self._numbers]


class _Data:
    """What the script of the page draws from, as short as it goes: rows without keys."""

    def __init__(
        self, graph: ChannelGraph, families: Sequence[Family], costs: Sequence[FrozenCost]
    ) -> None:
        self._graph = graph
        self._families = families
        self._groups = {group.name: number for number, group in enumerate(graph.groups)}
        self._operators, self._modules, self._tensors = _Table(), _Table(), _Table()
        self._costs = {(cost.text, cost.operator, str(cost.cause)): cost for cost in costs}
        self._reasons = {key: number for number, key in enumerate(self._costs)}
        for name in graph.shapes:
            self._tensors(name)

    def all(self) -> dict[str, Any]:
        """Every table; the script has a line for what each column is."""
        quiet = quiet_steps(self._graph.steps)
        steps = [self._step(step) for step in self._graph.steps]
        groups = self._all_groups()
        return {
            "groups": groups,
            "families": [
                [printable(f.name), [self._groups[g.name] for g in f.groups]]
                for f in self._families
            ],
            "steps": steps,
            "reasons": [self._reason(key) for key in self._reasons],
            "tensors": self._all_tensors(),
            "operators": [name.removeprefix("aten.") for name in self._operators.names],
            "modules": self._modules.names,
            "tree": _tree(nest(self._graph.steps, hidden=quiet)),
            "full": _tree(nest(self._graph.steps)),
            "balances": [[self._groups[n] for n in names] for names in self._graph.balances],
            "quiet": len(quiet),
            "macs": self._graph.macs(),
        }

    def _all_groups(self) -> list[list[Any]]:
        shares = group_shares(self._graph)
        family = {g.name: n for n, f in enumerate(self._families) for g in f.groups}
        return [
            [
                printable(group.name),
                printable(group.kind),
                group.width,
                int(group.exact),
                round(shares[group.name].params, 5),
                round(shares[group.name].macs, 5),
                family[group.name],
                self._members(group),
            ]
            for group in self._graph.groups
        ]

    def _members(self, group: ChannelGroup) -> list[list[int]]:
        return [[self._tensors(m.tensor), m.axis, m.indices.shape[1]] for m in group.members]

    def _step(self, step: Step) -> list[Any]:
        return [
            self._operators(step.operator),
            self._modules(step.module),
            step.sources,
            [self._tensors(name) for name in step.state],
            step.inputs,
            step.shape,
            [
                [
                    axis.axis,
                    [[self._groups[band.group], band.channels] for band in axis.bands],
                    axis.frozen,
                    list(dict.fromkeys(map(self._number, axis.reasons))),
                ]
                for axis in step.axes
            ],
            step.macs,
        ]

    def _number(self, reason: Reason) -> int:
        """Number of a reason; one that keeps no weight costs nothing but has a number too."""
        return self._reasons.setdefault(_key(reason), len(self._reasons))

    def _reason(self, key: tuple[str, str, str]) -> list[Any]:
        text, operator, cause = map(printable, key)
        cost = self._costs.get(key)
        if cost is None:
            return [text, operator, cause, 0, 0, []]
        modules = [self._modules(module) for module in cost.modules]
        shares = [round(share, 5) for share in (cost.params_share, cost.outputs_share)]
        return [text, operator, cause, *shares, modules]

    def _all_tensors(self) -> list[list[Any]]:
        frozen: dict[str, list[list[int]]] = {}
        for one in self._graph.frozen:
            number = self._number(one.reason)
            frozen.setdefault(one.tensor, []).append([one.axis, one.count, number])
        return [
            [printable(name), sizes, frozen.get(name, [])]
            for name, sizes in self._graph.shapes.items()
        ]


def _key(reason: Reason) -> tuple[str, str, str]:
    return (reason.text, reason.operator, reason.cause)


def _tree(children: Sequence[Row | Box]) -> list[Any]:
    """A row is `[step, name]`, a box `[name, repeats, children]`."""
    return [
        [child.step, printable(child.name)]
        if isinstance(child, Row)
        else [printable(child.name), child.repeats, _tree(child.children)]
        for child in children
    ]
