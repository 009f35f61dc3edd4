"""`prunekit inspect`: the groups of a network, and what is frozen with the reasons."""

from __future__ import annotations

__all__ = ["inspect"]

import json
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from rich.tree import Tree

from prunekit.cli import engine
from prunekit.cli.exits import exits
from prunekit.cli.options import Debug
from prunekit.cli.progress import open_progress
from prunekit.errors import RecipeError
from prunekit.recipe import ModelSection, check_model, load_model_section
from prunekit.recipe.nodes import Place

if TYPE_CHECKING:
    from prunekit.graph import ChannelGraph
    from prunekit.graph.groups import FrozenAxis

_SOURCE = "the command line"

_TENSORS_SHOWN = 6  # of each reason


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL", help="Name of a built-in network, or package.module:Class."
        ),
    ],
    *,
    input_shape: Annotated[
        str, typer.Option(metavar="N,C,H,W", help="Shape of the input to trace with.")
    ] = "1,3,48,48",
    arguments: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A keyword argument of the network."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Show which channels of MODEL leave together, and which must stay and why."""
    with exits(debug=debug):
        section = _section(model, input_shape, arguments or [])
        check_model(section, networks=engine.network_names(), where=lambda *_: Place(_SOURCE))
        with open_progress(quiet=as_json) as progress:
            progress.start("trace")
            graph = engine.trace_model(section)
            progress.finish(f"{graph.operators} operators")
        if as_json:
            typer.echo(json.dumps(_as_json(graph), indent=2))
        else:
            Console().print(_as_tree(model, graph))


def _section(model: str, input_shape: str, arguments: list[str]) -> ModelSection:
    try:
        shape = [int(size) for size in input_shape.split(",")]
    except ValueError as error:
        message = f"--input-shape {input_shape}: is not four numbers such as 1,3,48,48"
        raise RecipeError(message) from error
    key = "factory" if ":" in model else "network"
    values = {key: model, "input_shape": shape}
    return load_model_section(values, source=_SOURCE, arguments=arguments)


def _as_json(graph: ChannelGraph) -> dict[str, object]:
    return {
        "params": graph.params(),
        "macs": graph.macs(),
        "input_shapes": [list(shape) for shape in graph.input_shapes],
        "groups": [
            {
                "name": group.name,
                "kind": group.kind,
                "width": group.width,
                "axes": group.axes,
                "params_share": group.params_share,
            }
            for group in graph.groups
        ],
        "frozen": [
            {
                "tensor": frozen.tensor,
                "axis": frozen.axis,
                "count": frozen.count,
                "reason": frozen.reason.text,
                "operator": frozen.reason.operator,
                "module": frozen.reason.module,
            }
            for frozen in graph.frozen
        ],
    }


def _as_tree(name: str, graph: ChannelGraph) -> Tree:
    sizes = ", ".join("x".join(map(str, shape)) for shape in graph.input_shapes)
    title = f"{name}: {graph.params():,} params, {graph.macs():,} macs at an input of {sizes}"
    tree = Tree(Text(title, style="bold"))
    _add_groups(tree, graph)
    _add_frozen(tree, graph)
    return tree


def _add_groups(tree: Tree, graph: ChannelGraph) -> None:
    branch = tree.add(Text(f"groups ({len(graph.groups)})", style="bold green"))
    for group in graph.groups:
        axes = "axis" if group.axes == 1 else "axes"
        line = Text(group.name, style="green")
        line.append(
            f"  {group.kind}, width {group.width}, {group.axes} {axes}, "
            f"{group.params_share:.1%} of the parameters",
            style="default",
        )
        branch.add(line)


def _add_frozen(tree: Tree, graph: ChannelGraph) -> None:
    branch = tree.add(Text(f"frozen axes ({len(graph.frozen)})", style="bold yellow"))
    for sentence, axes in _by_reason(graph).items():
        reason = branch.add(Text(sentence, style="yellow"))
        tensors = _by_tensor(axes)
        for tensor in tensors[:_TENSORS_SHOWN]:
            reason.add(Text(tensor))
        if len(tensors) > _TENSORS_SHOWN:
            reason.add(Text(f"and {len(tensors) - _TENSORS_SHOWN} more; --json lists all"))


def _by_reason(graph: ChannelGraph) -> dict[str, list[FrozenAxis]]:
    found: dict[str, list[FrozenAxis]] = {}
    for frozen in graph.frozen:
        operator = frozen.reason.operator
        sentence = f"{frozen.reason.text}, says {operator}" if operator else frozen.reason.text
        found.setdefault(sentence, []).append(frozen)
    return found


def _by_tensor(frozen: list[FrozenAxis]) -> list[str]:
    """Name each tensor once with its axes, and the module that says so if it is another one."""
    axes: dict[tuple[str, str], list[str]] = {}
    for one in frozen:
        owner = one.tensor.rpartition(".")[0]
        where = f", in {one.reason.module}" if one.reason.module not in {"", owner} else ""
        axes.setdefault((one.tensor, where), []).append(f"{one.axis} ({one.count} indices)")
    return [f"{tensor}, axis {', '.join(of)}{where}" for (tensor, where), of in axes.items()]
