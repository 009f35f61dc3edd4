"""`prunekit recipes`: check recipes, show them resolved, and print their schema."""

from __future__ import annotations

__all__ = ["recipes"]

import json
from pathlib import Path
from typing import Annotated

import typer

from prunekit.cli.exits import exits, one_line
from prunekit.cli.options import Debug, Set
from prunekit.recipe import (
    check_references,
    dump_recipe,
    load_recipe,
    read_recipe,
    recipe_schema,
)

recipes = typer.Typer(
    rich_markup_mode="markdown", help="Check recipes, show them resolved, and print their schema."
)


@recipes.callback(invoke_without_command=True)
def _recipes(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@recipes.command()
def validate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="YAML files.")],
    *,
    debug: Debug = False,
) -> None:
    """Check that each FILE is a recipe and that what it refers to exists.

    A factory is imported for that, which runs its module. All files are checked, also after one
    with a mistake.
    """
    raise typer.Exit(max(_validate(file, debug=debug) for file in files))


@recipes.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A YAML file.")],
    *,
    set_: Set = None,
    debug: Debug = False,
) -> None:
    """Print the recipe in FILE as YAML, with what it extends and all defaults filled in."""
    with exits(debug=debug):
        typer.echo(dump_recipe(load_recipe(file, set_ or ())), nl=False)


@recipes.command()
def schema() -> None:
    """Print the JSON schema of recipes, for editors that complete and check YAML."""
    typer.echo(json.dumps(recipe_schema(), indent=2))


def _validate(file: Path, *, debug: bool) -> int:
    """Check one file, say so, and return its exit status."""
    try:
        with exits(debug=debug):
            draft = read_recipe(file)
            check_references(draft.recipe, where=draft.place)
    except typer.Exit as end:
        return end.exit_code
    typer.echo(f"{one_line(str(file))}: fine")
    return 0
