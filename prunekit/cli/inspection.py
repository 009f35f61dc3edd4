"""`prunekit inspect`: the groups of a network, and what is frozen with the reasons."""

from __future__ import annotations

__all__ = ["inspect"]

import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from prunekit.cli import engine
from prunekit.cli.checkpoints import check_checkpoint
from prunekit.cli.exits import exits
from prunekit.cli.models import SOURCE, is_path
from prunekit.cli.options import Debug
from prunekit.cli.outputs import check_page, write_output
from prunekit.cli.progress import open_progress
from prunekit.errors import RecipeError
from prunekit.recipe import check_model, load_model_section
from prunekit.recipe.nodes import Place

if TYPE_CHECKING:
    from prunekit.depth import Blocks
    from prunekit.graph import ChannelGraph

    _Tracer = Callable[[], tuple[ChannelGraph, Blocks | None]]
    """Does the work."""

_SIZES = (4, 5)  # batch, channels, height, width; of a clip frames after the batch

_WIDE = 10_000
"""Columns where nobody looks: a line that goes to a file or a program is not broken."""


def inspect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A built-in network, package.module:Class, or a checkpoint that spandrel knows.",
        ),
    ],
    *,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="N,C,H,W",
            help="Shape to trace with; N,T,C,H,W for a network of clips. "
            "[default: 1,3,48,48, or what a checkpoint needs]",
            show_default=False,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="A keyword argument of the network."),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Unfold repeated blocks: every group on its own line.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print everything as JSON instead of the tree.")
    ] = False,
    page: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Draw the network as one HTML page."),
    ] = None,
    with_blocks: Annotated[
        bool,
        typer.Option("--blocks", help="List the blocks that can be removed; this runs MODEL."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Show which channels of MODEL leave together, what they cost, and what must stay and why."""
    with exits(debug=debug):
        trace = _tracer(model, _shape(input_shape), arguments or [], with_blocks=with_blocks)
        if page is not None:
            check_page(page, option="--html", inputs=[Path(model)])
        graph, blocks = _traced(trace, quiet=as_json)
        if page is not None:
            write_output(page, engine.network_page(model, graph), option="--html")
        if as_json:
            typer.echo(engine.network_json(model, graph, blocks))
        else:
            _print_tree(model, graph, blocks, everything=everything)
            if page is not None:
                typer.echo(f"page: {page}")


def _tracer(
    model: str, shape: tuple[int, ...] | None, arguments: list[str], *, with_blocks: bool
) -> _Tracer:
    """Check everything that can be checked before any work, and return what does the work."""
    path = Path(model)
    if is_path(model):
        check_checkpoint(path, source=SOURCE)
        if arguments:
            message = (
                f"--arguments {arguments[0]}: a checkpoint takes none, since its weights tell "
                "them; leave it out"
            )
            raise RecipeError(message)
        if with_blocks:
            return partial(engine.checkpoint_blocks, path, shape)
        return lambda: (engine.trace_checkpoint(path, shape), None)
    values: dict[str, object] = {"factory" if ":" in model else "network": model}
    if shape is not None:
        values["input_shape"] = list(shape)
    section = load_model_section(values, source=SOURCE, arguments=arguments)
    check_model(section, where=lambda *_: Place(SOURCE))
    if with_blocks:
        return partial(engine.model_blocks, section)
    return lambda: (engine.trace_model(section), None)


def _traced(trace: _Tracer, *, quiet: bool) -> tuple[ChannelGraph, Blocks | None]:
    with open_progress(quiet=quiet) as progress:
        progress.start("trace")
        with redirect_stdout(sys.stderr):  # what the network's own code prints
            graph, blocks = trace()
        progress.finish(f"{graph.operators} operators")
    return graph, blocks


def _shape(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        shape = tuple(int(size) for size in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) not in _SIZES or min(shape) < 1:
        message = (
            f"--input-shape {text}: is not four or five whole numbers above 0, separated by "
            "commas, such as 1,3,48,48"
        )
        raise RecipeError(message)
    return shape


def _print_tree(
    model: str, graph: ChannelGraph, blocks: Blocks | None, *, everything: bool
) -> None:
    """Print for the width of the terminal; where there is none, one line stays one line."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_WIDE)
    plain = console.options.ascii_only
    console.print(
        engine.network_tree(model, graph, blocks, everything=everything, ascii_only=plain)
    )
