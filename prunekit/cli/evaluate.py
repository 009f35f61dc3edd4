"""`prunekit evaluate`: PSNR and SSIM of a network on a folder of images."""

from __future__ import annotations

__all__ = ["evaluate"]

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from prunekit.cli import engine
from prunekit.cli.exits import exits, one_line
from prunekit.cli.models import ModelArgument, NetworkArguments, Weights, network_source
from prunekit.cli.options import Debug, Device, Quiet
from prunekit.cli.outputs import check_output, write_output
from prunekit.cli.progress import open_progress

if TYPE_CHECKING:
    from prunekit.measure.scores import Scores

_NAMES = {"y": "Y of BT.601", "rgb": "RGB"}


def evaluate(
    model: ModelArgument,
    *,
    data: Annotated[Path, typer.Option(metavar="DIR", help="Folder of HR images.")],
    lr: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of LR images, called as HR or with the scale behind, such as babyx2.png. "
            "[default: made from HR by MATLAB's bicubic]",
            show_default=False,
        ),
    ] = None,
    weights: Weights = None,
    arguments: NetworkArguments = None,
    scale: Annotated[
        int | None,
        typer.Option(
            min=1, help="Magnification. [default: what the network says]", show_default=False
        ),
    ] = None,
    luma: Annotated[bool, typer.Option("--y/--rgb", help="Compare luma, or red, green, blue.")] = (
        True
    ),
    border: Annotated[
        int | None,
        typer.Option(
            min=0, help="Pixels to cut off every side. [default: the scale]", show_default=False
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", metavar="FILE", help="Write the figures and how they were made."),
    ] = None,
    device: Device = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Super-resolve the images of a folder with MODEL and compare them with the originals.

    HR is cut at the bottom and right to a multiple of the scale. The output is rounded to 8 bits
    before it is compared; PSNR and SSIM are means over the images.
    """
    with exits(debug=debug):
        source = network_source(model, weights=weights, arguments=arguments or [])
        if json_file is not None:
            read = [Path(model), *_files_of(weights, data, lr)]
            check_output(json_file, option="--json", inputs=read)
        with open_progress(quiet=quiet) as progress:
            network = engine.open_network(source, device=device)
            scores = engine.evaluate(
                network,
                data,
                lr=lr,
                scale=scale,
                channels="y" if luma else "rgb",
                border=border,
                progress=progress,
            )
        if json_file is not None:
            told = {
                "model": model,
                "weights": str(weights) if weights else None,
                "data": str(data),
                "lr": str(lr) if lr else "HR reduced as MATLAB's imresize(hr, 1/scale) does",
            }
            write_output(json_file, engine.scores_json(scores, network, **told), option="--json")
        _print_scores(scores)


def _files_of(*places: Path | None) -> Iterator[Path]:
    """Files, and those right in folders; what cannot be looked into is told when it is read."""
    for place in places:
        if place is not None:
            yield place
            with suppress(OSError):
                yield from place.iterdir()


def _print_scores(scores: Scores) -> None:
    protocol, scale = scores.protocol, scores.scale
    table = Table(
        box=box.SIMPLE_HEAD,
        title=f"x{scale}, {_NAMES[protocol.channels]}, border {protocol.border_at(scale)}",
    )
    table.add_column("image", overflow="fold")
    for heading in ("PSNR (dB)", "SSIM", "seconds"):
        table.add_column(heading, justify="right")
    for image in scores.images:
        table.add_row(Text(one_line(image.name)), *_cells(image.psnr, image.ssim, image.seconds))
    table.add_section()
    table.add_row("mean", *_cells(scores.psnr, scores.ssim, scores.seconds), style="bold")
    Console().print(table)


def _cells(psnr: float, ssim: float, seconds: float) -> tuple[str, str, str]:
    return f"{psnr:.3f}", f"{ssim:.4f}", f"{seconds:.2f}"
