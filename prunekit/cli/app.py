"""The command `prunekit`: its subcommands, its version, and its exit status."""

from __future__ import annotations

__all__ = ["app", "main"]

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from prunekit.cli.evaluate import evaluate
from prunekit.cli.exits import INTERRUPTED, USAGE, print_error
from prunekit.cli.inspection import inspect
from prunekit.cli.recipes import recipes
from prunekit.cli.run import run
from prunekit.cli.sensitivity import sensitivity
from prunekit.cli.upscale import upscale
from prunekit.version import __version__

_UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What a wrong option raises; typer exports only this subclass of it."""

app = typer.Typer(
    name="prunekit",
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
app.command()(run)
app.command()(inspect)
app.command()(sensitivity)
app.command()(evaluate)
app.command()(upscale)
app.add_typer(recipes, name="recipes")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return the exit status: 0 fine, 1 failed, 2 wrong input."""
    try:
        _find_modules_here()
        status = app(
            list(arguments) if arguments is not None else None,
            prog_name="prunekit",
            standalone_mode=False,
        )
    except _UsageError as error:
        print_error(f"{_message(error)}; see '{_command(error)} --help'")
        return USAGE
    except (typer.Abort, KeyboardInterrupt):
        print_error("interrupted")
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _find_modules_here() -> None:
    """Let a factory be a module of the current directory, as `python -m` does."""
    try:
        here = str(Path.cwd())
    except FileNotFoundError as error:
        message = "the current directory does not exist any more"
        raise typer.BadParameter(message) from error
    if here not in sys.path:
        sys.path.insert(0, here)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 (typer calls it so)
    if wanted:
        typer.echo(f"prunekit {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _prunekit(
    context: typer.Context,
    *,
    version: Annotated[  # noqa: ARG001 (its callback does the work)
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Prune super-resolution networks, and prove the result."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _message(error: Exception) -> str:
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    return str(text).rstrip(".")


def _command(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "prunekit"
