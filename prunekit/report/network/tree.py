"""A traced network as a tree for the terminal: groups and frozen axes, the dearest first."""

from __future__ import annotations

__all__ = ["to_network_tree"]

from collections.abc import Sequence

from rich.text import Text
from rich.tree import Tree

from prunekit.depth import Blocks
from prunekit.graph import ChannelGraph, FrozenAxis
from prunekit.graph.families import Family, fold_groups, fold_names
from prunekit.graph.shares import FrozenCost, frozen_costs, group_shares, stuck_share

_BAR = 10  # characters of a bar that is full

_SHOWN = 3
"""Modules, and tensors, of each reason that are listed."""

_WORTH_LISTING = 0.0005
"""A share below this is written as 0.0 %."""


def to_network_tree(
    name: str,
    graph: ChannelGraph,
    blocks: Blocks | None = None,
    *,
    everything: bool = False,
    ascii_only: bool = False,
) -> Tree:
    """Draw the groups and what is frozen, and the blocks that can be removed if they are known.

    Args:
        name: what the network is called in the title.
        graph: the traced network.
        blocks: what `find_blocks` found, if it was asked.
        everything: give every group and every frozen tensor a line of its own.
        ascii_only: draw bars with signs that every terminal has.
    """
    sizes = ", ".join("x".join(map(str, shape)) for shape in graph.input_shapes)
    figures = f"{graph.params():,} params, {graph.macs():,} macs at an input of {sizes}"
    tree = Tree(Text(f"{name}: {figures}, {graph.operators:,} operators", style="bold"))
    for note in graph.notes:
        tree.add(Text(f"note: {note}", style="magenta"))
    _add_groups(tree, graph, everything=everything, mark="#" if ascii_only else "\N{FULL BLOCK}")
    _add_balances(tree, graph, everything=everything)
    _add_frozen(tree, graph, everything=everything)
    if blocks is not None:
        _add_blocks(tree, graph, blocks, everything=everything)
    return tree


def _add_blocks(tree: Tree, graph: ChannelGraph, blocks: Blocks, *, everything: bool) -> None:
    """Name the blocks with what each of them costs, and those that have to stay."""
    branch = tree.add(Text(f"blocks that can be removed ({len(blocks.found)})", style="bold blue"))
    if blocks.found:
        branch.add(Text(f"{'parameters':<12}{'macs':<10}block", style="dim"))
    alike: dict[tuple[int, int], list[str]] = {}
    for block in blocks.found:
        alike.setdefault((block.params, block.macs), []).append(block.name)
    for (params, macs), names in alike.items():
        cost = f"{_percent(params / graph.params()):>7}     {_percent(macs / graph.macs()):>7}   "
        for line, count in [(n, 1) for n in names] if everything else fold_names(names):
            branch.add(Text(cost + (f"{line}: {count} blocks, each" if count > 1 else line)))
    for name, why in blocks.refused.items():
        branch.add(Text(f"{name} stays: it {why}", style="yellow"))


def _add_groups(tree: Tree, graph: ChannelGraph, *, everything: bool, mark: str) -> None:
    removable = 1 - stuck_share(graph)
    title = f"groups ({len(graph.groups)}), with {_percent(removable)} of the parameters in some"
    branch = tree.add(Text(title, style="bold green"))
    if graph.groups:
        head = f"{'parameters':<{_BAR + 9}}{'macs':<{_BAR + 9}}group"
        branch.add(Text(head, style="dim"))
    for family in fold_groups(graph.groups, group_shares(graph), fold=not everything):
        branch.add(_group_line(family, mark))


def _group_line(family: Family, mark: str) -> Text:
    group, count = family.first, len(family.groups)
    axes = "axis" if group.axes == 1 else "axes"
    line = Text()
    for share in (family.share.params, family.share.macs):
        line.append(f"{_percent(share):>7} ")
        line.append(f"{mark * round(share * _BAR):<{_BAR}} ", style="green")
    line.append(family.name, style="bold green")
    kind = f"{group.kind}, width {group.width}, {group.axes} {axes}"
    line.append(f": {count} groups, each {kind}" if count > 1 else f": {kind}")
    if not group.exact:
        line.append(", inexact", style="yellow")
    return line


def _add_balances(tree: Tree, graph: ChannelGraph, *, everything: bool) -> None:
    """Name the groups whose widths must keep their proportion; those of repeated blocks once."""
    if not graph.balances:
        return
    branch = tree.add(Text("widths that keep their proportion", style="bold cyan"))
    lines = [_together(names, fold=not everything) for names in graph.balances]
    for line, count in [(line, 1) for line in lines] if everything else fold_names(lines):
        branch.add(Text(f"{line}, {count} times" if count > 1 else line))


def _together(names: Sequence[str], *, fold: bool) -> str:
    found = fold_names(names) if fold else [(name, 1) for name in names]
    return " and ".join(f"{name} ({count})" if count > 1 else name for name, count in found)


def _add_frozen(tree: Tree, graph: ChannelGraph, *, everything: bool) -> None:
    share = _percent(stuck_share(graph))
    title = f"frozen axes ({len(graph.frozen)}): no plan removes {share} of the parameters"
    branch = tree.add(Text(title, style="bold yellow"))
    if graph.frozen:
        branch.add(Text(f"{'parameters':<12}{'outputs':<10}reason", style="dim"))
    for cost in frozen_costs(graph):
        reason = branch.add(_reason_line(cost))
        if not everything and max(cost.params_share, cost.outputs_share) < _WORTH_LISTING:
            continue
        tensors = _tensors(cost.axes, fold=not everything)
        shown = len(tensors) if everything else _SHOWN
        for tensor in tensors[:shown]:
            reason.add(Text(tensor))
        if len(tensors) > shown:
            reason.add(Text(f"and {len(tensors) - shown} more; --all lists them", style="dim"))


def _reason_line(cost: FrozenCost) -> Text:
    line = Text(f"{_percent(cost.params_share):>7}     {_percent(cost.outputs_share):>7}   ")
    line.append(cost.text, style="yellow")
    if cost.operator:
        line.append(f", says {cost.operator}{_where(cost.modules)}")
    return line


def _where(modules: Sequence[str]) -> str:
    """Name the modules that call an operator, a few of them."""
    names = [pattern for pattern, _ in fold_names(m or "the model itself" for m in modules)]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f" in {', '.join(names[:_SHOWN])}{more}"


def _tensors(axes: Sequence[FrozenAxis], *, fold: bool) -> list[str]:
    """Name each tensor once with its axes; those of repeated blocks as one."""
    by_tensor: dict[str, list[str]] = {}
    for frozen in axes:
        by_tensor.setdefault(frozen.tensor, []).append(f"{frozen.axis} ({frozen.count} indices)")
    by_axes: dict[str, list[str]] = {}
    for tensor, of in by_tensor.items():
        by_axes.setdefault(f"axis {', '.join(of)}", []).append(tensor)
    if not fold:
        return [f"{tensor}, axis {', '.join(of)}" for tensor, of in by_tensor.items()]
    return [
        f"{name}, {what}" + (f", {count} tensors" if count > 1 else "")
        for what, tensors in by_axes.items()
        for name, count in fold_names(tensors)
    ]


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
