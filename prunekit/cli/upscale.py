"""`prunekit upscale`: enlarge an image, or a folder of images or frames."""

from __future__ import annotations

__all__ = ["upscale"]

from pathlib import Path
from typing import Annotated

import typer

from prunekit.cli import engine
from prunekit.cli.checkpoints import is_file, is_folder
from prunekit.cli.exits import exits, one_line
from prunekit.cli.models import ModelArgument, NetworkArguments, Weights, network_source
from prunekit.cli.options import Debug, Device, Quiet
from prunekit.cli.progress import open_progress
from prunekit.errors import DataError


def upscale(
    model: ModelArgument,
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="An image, or a folder of images or frames.")
    ],
    target: Annotated[
        Path, typer.Argument(metavar="OUT", help="The image to write, or the folder for them.")
    ],
    *,
    weights: Weights = None,
    arguments: NetworkArguments = None,
    tile: Annotated[
        int, typer.Option(min=0, help="Pixels a side enlarged at once; 0 takes images whole.")
    ] = 256,
    overlap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Pixels that a tile sees beyond its sides. [default: as far as the network looks]",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace images that are there already.")
    ] = False,
    device: Device = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Enlarge IN with MODEL into OUT; 16 bits, grey and alpha are kept.

    A folder is enlarged with the folders in it into the same places under OUT, as PNG. Each file
    appears whole or not at all, and those that are there are kept: a run that was stopped goes on
    when it is started again.

    A clip is a folder of frames. Every frame is enlarged by itself, by a network of images;
    networks of video, which look at several frames, are not run by this command.
    """
    with exits(debug=debug):
        network_file = network_source(model, weights=weights, arguments=arguments or [])
        if not (is_file(source) or is_folder(source)):
            message = f"there is no file or folder '{source}'; name an image or a folder of images"
            raise DataError(message)
        with open_progress(quiet=quiet) as progress:
            enlarged = engine.upscale_files(
                engine.open_network(network_file, device=device),
                source,
                target,
                tile=tile,
                overlap=overlap,
                overwrite=overwrite,
                progress=progress,
            )
        kept = f", {enlarged.kept} were there" if enlarged.kept else ""
        typer.echo(one_line(f"{enlarged.written} written to {target}{kept}"))
