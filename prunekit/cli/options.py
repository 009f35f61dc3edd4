"""Options that several commands share."""

from __future__ import annotations

__all__ = ["Debug", "Device", "Quiet", "Set"]

from typing import Annotated

import typer

Debug = Annotated[bool, typer.Option("--debug", help="Print the traceback of an error.")]

Device = Annotated[
    str,
    typer.Option(metavar="DEVICE", help="Where the network runs: auto, cpu, cuda or cuda:N."),
]

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]

Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Change one value, such as prune.target.channel_ratio=0.3; null takes it away.",
    ),
]
