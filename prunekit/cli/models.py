"""The network that a command line names, checked before there is any work."""

from __future__ import annotations

__all__ = ["SOURCE", "ModelArgument", "NetworkArguments", "Weights", "is_path", "network_source"]

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prunekit.cli import engine
from prunekit.cli.checkpoints import CHECKPOINTS, check_checkpoint, is_file, is_folder
from prunekit.errors import RecipeError
from prunekit.recipe import check_model, load_model_section
from prunekit.recipe.nodes import Place

if TYPE_CHECKING:
    from prunekit.pipeline.network import NetworkSource

SOURCE = "the command line"
"""Where messages say that a mistake is."""

ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A built-in network, package.module:Class, a checkpoint that spandrel knows, or a "
        "run folder or slim.safetensors of prunekit.",
    ),
]

Weights = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Weights of a built-in network or of package.module:Class."),
]

NetworkArguments = Annotated[
    list[str] | None,
    typer.Option("--arguments", metavar="KEY=VALUE", help="A keyword argument of the network."),
]


def network_source(
    model: str, *, weights: Path | None, arguments: Sequence[str] = ()
) -> NetworkSource:
    """Check everything that can be checked without building the network.

    Raises `RecipeError` for a network that is not there, and for weights or arguments beside a
    file that has its own.
    """
    path = Path(model)
    if is_path(model) or is_folder(path):
        _check_alone(weights, arguments)
        if (is_file(path) or is_folder(path)) and engine.is_slim(path):
            return engine.network_source(file=path)
        if is_folder(path):
            message = (
                f"{SOURCE}: the folder '{path}' holds no slim.safetensors, as a run folder does; "
                "name a network"
            )
            raise RecipeError(message)
        check_checkpoint(path, source=SOURCE)
        return engine.network_source(file=path)
    values: dict[str, object] = {"factory" if ":" in model else "network": model}
    if weights is not None:
        check_checkpoint(weights, source="--weights")
        values["weights"] = str(weights)
    section = load_model_section(values, source=SOURCE, arguments=arguments)
    check_model(section, where=lambda *_: Place(SOURCE))
    return engine.network_source(section=section)


def is_path(model: str) -> bool:
    """Whether this names a file, there or not, and no built-in network or factory."""
    path = Path(model)
    named = ":" not in model and (os.sep in model or is_file(path))
    return named or path.suffix.lower() in CHECKPOINTS


def _check_alone(weights: Path | None, arguments: Sequence[str]) -> None:
    """Refuse what would say twice how a network is built."""
    for option, value in (("--weights", weights), ("--arguments", next(iter(arguments), None))):
        if value is not None:
            message = f"{option} {value}: the file that is named holds its own; leave it out"
            raise RecipeError(message)
