"""How a command ends: one line on stderr that says what is wrong, and an exit status."""

from __future__ import annotations

__all__ = ["FAILED", "INTERRUPTED", "USAGE", "exits", "one_line", "print_error"]

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from prunekit.errors import PrunekitError, VerificationError

FAILED = 1
"""The run failed its own verification, or there is a fault in prunekit or its surroundings."""

USAGE = 2
"""The user's input cannot be used."""

INTERRUPTED = 130
"""Ctrl-C, as shells report it."""


@contextmanager
def exits(*, debug: bool) -> Iterator[None]:
    """Turn what a command raises into one line and an exit status; a traceback with `debug`."""
    try:
        yield
    except KeyboardInterrupt:
        print_error("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error.__context__, BrokenPipeError):  # whoever read the output has gone
            raise typer.Exit(FAILED) from None
        if debug:
            traceback.print_exc()
        print_error(_sentence(error))
        raise typer.Exit(_status(error)) from error


def print_error(message: str) -> None:
    """Print one line to stderr, whatever the message holds; it says which of several processes."""
    rank = os.environ.get("RANK", "0") if "LOCAL_RANK" in os.environ else "0"
    who = "" if rank == "0" else f"process {rank}: "
    sys.stderr.write(f"error: {who}{one_line(message)}\n")


def one_line(text: str) -> str:
    """Put text on one line and make its control characters visible."""
    words = " ".join(text.split())
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in words)


def _status(error: BaseException) -> int:
    wrong_input = isinstance(error, PrunekitError) and not isinstance(error, VerificationError)
    return USAGE if wrong_input else FAILED


def _sentence(error: BaseException) -> str:
    if isinstance(error, PrunekitError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error}; run again with --debug to see where"
