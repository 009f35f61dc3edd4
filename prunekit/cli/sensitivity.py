"""`prunekit sensitivity`: what removing units of one group alone costs, for every group."""

from __future__ import annotations

__all__ = ["sensitivity"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunekit.cli import engine
from prunekit.cli.exits import exits
from prunekit.cli.options import Debug, Quiet, Set
from prunekit.cli.outputs import check_output, check_page, write_output
from prunekit.cli.progress import open_progress
from prunekit.cli.run import checked_recipe
from prunekit.recipe import read_recipe

if TYPE_CHECKING:
    from prunekit.plan import Sensitivity


def sensitivity(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    *,
    set_: Set = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the curves as they were measured."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write table and plot as one HTML page."),
    ] = None,
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Measure how many dB it costs to remove units of each group of RECIPE's network alone.

    Network, images, criterion and rounding are those of the recipe and its first pruning stage;
    nothing is fine-tuned. Figures are kept beside decoded images: a run that allocates by
    sensitivity does not measure them again, and measuring that was interrupted goes on.
    """
    with exits(debug=debug):
        checked = checked_recipe(read_recipe(recipe, set_ or ()))
        if json_file is not None:
            check_output(json_file, option="--json", inputs=[recipe])
        if page is not None:
            check_page(page, option="--html", inputs=[recipe])
        with open_progress(quiet=quiet) as progress:
            found = engine.sensitivity(checked, progress=progress)
        if json_file is not None:
            write_output(json_file, found.to_json(), option="--json")
        if page is not None:
            write_output(page, engine.sensitivity_page(checked.name, found), option="--html")
        _print_table(found)


def _print_table(found: Sensitivity) -> None:
    headings, rows = engine.sensitivity_table(found)
    title = f"dB lost by share of a group removed; {found.dense:.2f} dB on {found.images} images"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, overflow="fold", justify="right" if number else "left")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)
    for group, why in sorted(found.unfit.items()):
        typer.echo(f"'{group}' stays whole: {why}")
