"""`prunekit run`: carry out a recipe, or show what it would do."""

from __future__ import annotations

__all__ = ["checked_recipe", "run"]

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunekit.cli import engine
from prunekit.cli.exits import exits, one_line
from prunekit.cli.options import Debug, Quiet, Set
from prunekit.cli.progress import open_progress
from prunekit.errors import RecipeError
from prunekit.recipe import Draft, Recipe, check_references, read_recipe

if TYPE_CHECKING:
    from prunekit.pipeline import RunResult
    from prunekit.pipeline.run import Preview
    from prunekit.report import Report, Sparsity


def run(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A YAML file.")],
    *,
    set_: Set = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and its cost, and write nothing.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder that holds the run's folder.", metavar="DIR"),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the folder of an earlier run.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a run that was not finished, if there is.")
    ] = False,
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Prune the network of a RECIPE, fine-tune it, measure it and write a report.

    Everything a recipe refers to is checked before anything is written. The results are in a
    folder named after the run, in the folder runs unless the recipe or --output says otherwise.
    A run that was killed while it trained is taken up with --resume. Several GPUs or machines:
    accelerate launch -m prunekit run RECIPE.
    """
    with exits(debug=debug):
        if dry_run and (overwrite or resume):
            message = (
                f"--dry-run writes nothing, so it does not go with "
                f"{'--resume' if resume else '--overwrite'}; leave one out"
            )
            raise RecipeError(message)
        checked = checked_recipe(read_recipe(recipe, set_ or ()), output)
        if dry_run:
            with open_progress(quiet=quiet) as progress:
                seen = engine.preview(checked, progress=progress)
            _print_preview(seen)
        elif engine.is_first_process():
            with open_progress(quiet=quiet) as progress:
                result = engine.run(checked, progress=progress, overwrite=overwrite, resume=resume)
            _print_result(result)
        else:
            engine.follow(checked)


def checked_recipe(draft: Draft, output: Path | None = None) -> Recipe:
    """Refuse, before any work, a recipe that cannot be run from the command line."""
    recipe = draft.recipe
    if output is not None:
        recipe = recipe.model_copy(update={"output": output})
    if recipe.model is None:
        message = (
            f"{draft.node.place.source}: the recipe has no 'model' section; name the network to "
            "prune with 'model: {network: ...}' or '{factory: ...}'"
        )
        raise RecipeError(message)
    check_references(recipe, where=draft.place)
    return recipe


def _print_preview(seen: Preview) -> None:
    table = Table(box=box.SIMPLE_HEAD, title="What would be removed")
    table.add_column("group", overflow="fold")
    table.add_column("kind")
    for heading in ("width", "slim", "removed", "of parameters"):
        table.add_column(heading, justify="right")
    for row in seen.report.groups:
        table.add_row(
            Text(row.name),
            Text(row.kind),
            str(row.width_before),
            str(row.width_after),
            f"{1 - row.width_after / row.width_before:.0%}",
            f"{row.params_share:.1%}",
        )
    if seen.report.blocks:
        Console().print(_blocks(seen.report))
    Console().print(table)
    if seen.report.sparsity:
        Console().print(_zeros(seen.report.sparsity))
    Console().print(_predictions(seen))
    _print_report(seen.report)


def _blocks(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Blocks that would be removed")
    table.add_column("block", overflow="fold")
    for heading in ("parameters", "of parameters"):
        table.add_column(heading, justify="right")
    for row in report.blocks:
        table.add_row(Text(row.name), f"{row.params:,}", f"{row.params_share:.1%}")
    return table


def _predictions(seen: Preview) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="What it would come to")
    table.add_column("cost")
    for heading in ("dense", "slim", "removed"):
        table.add_column(heading, justify="right")
    table.add_column("at", overflow="fold")
    for row in seen.predictions:
        digits = ",.1f" if row.unit else ",.0f"
        removed = 1 - row.slim / row.dense if row.dense else 0.0
        table.add_row(
            row.name,
            f"{row.dense:{digits}} {row.unit}".strip(),
            f"{row.slim:{digits}} {row.unit}".strip(),
            f"{removed:.1%}",
            Text(row.condition),
        )
    return table


def _zeros(sparsity: Sparsity) -> Table:
    """A row for every weight that could be masked."""
    table = Table(box=box.SIMPLE_HEAD, title="What would be zero")
    table.add_column("weight", overflow="fold")
    for heading in ("weights", "zero", "pattern"):
        table.add_column(heading, justify="right")
    for row in sparsity.rows:
        share = f"{row.zeros / row.weights:.1%}" if row.weights else ""
        table.add_row(Text(row.name), f"{row.weights:,}", share, row.pattern or row.reason)
    return table


def _print_result(result: RunResult) -> None:
    _print_report(result.report)
    typer.echo(f"run folder: {result.folder}")
    for name in ("report.html", "report.md", "report.json"):
        if (result.folder / name).is_file():
            typer.echo(f"report: {result.folder / name}")
            return


def _print_report(report: Report) -> None:
    Console().print(engine.render(report))
    for sentence in engine.sentences(report):
        typer.echo(one_line(sentence))
