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
from prunekit.errors import RecipeError
from prunekit.measure.feed import PADDINGS, choose_feed
from prunekit.measure.protocol import PROTOCOLS, Channels, choose_protocol

if TYPE_CHECKING:
    from prunekit.measure.scores import Scores


_Data = Annotated[
    Path, typer.Option(metavar="DIR", help="Folder of HR images, or of clips with --clips.")
]

_Lr = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Folder of LR images, called as HR or with the scale behind, such as babyx2.png. "
        "[default: made from HR by MATLAB's bicubic]",
        show_default=False,
    ),
]

_Scale = Annotated[
    int | None,
    typer.Option(min=1, help="Magnification. [default: what the network says]", show_default=False),
]

_Names = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME", help="Take only this image or clip; may be repeated."),
]

_ProtocolName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Convention to compare by: {', '.join(PROTOCOLS)}. [default: y]",
        show_default=False,
    ),
]

_Luma = Annotated[
    bool | None,
    typer.Option(
        "--y/--rgb",
        help="Compare luma, or red, green, blue. [default: what the protocol says]",
        show_default=False,
    ),
]

_Border = Annotated[
    int | None,
    typer.Option(
        min=0,
        help="Pixels to cut off every side. [default: what the protocol says, else the scale]",
        show_default=False,
    ),
]

_Modcrop = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Cut HR to a multiple of this. [default: what the protocol says, else the scale]",
        show_default=False,
    ),
]

_Clips = Annotated[
    bool, typer.Option("--clips", help="The folders hold clips, each a folder of frames.")
]

_Frames = Annotated[
    str | None,
    typer.Option(
        metavar="whole|N",
        help="For networks of video: give them whole clips, or N frames at once. "
        "[default: every frame is an image by itself]",
        show_default=False,
    ),
]

_Target = Annotated[
    str | None,
    typer.Option(
        metavar="all|centre",
        help="With --frames N, which of them the network gives back. [default: all]",
        show_default=False,
    ),
]

_Padding = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"With --target centre, what stands beyond the ends: {', '.join(PADDINGS)}. "
        "[default: reflection_circle]",
        show_default=False,
    ),
]

_JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", help="Write the figures and how they were made."),
]


def evaluate(
    model: ModelArgument,
    *,
    data: _Data,
    lr: _Lr = None,
    weights: Weights = None,
    arguments: NetworkArguments = None,
    scale: _Scale = None,
    names: _Names = None,
    protocol: _ProtocolName = None,
    luma: _Luma = None,
    border: _Border = None,
    modcrop: _Modcrop = None,
    clips: _Clips = False,
    frames: _Frames = None,
    target: _Target = None,
    padding: _Padding = None,
    json_file: _JsonFile = None,
    device: Device = "auto",
    debug: Debug = False,
    quiet: Quiet = False,
) -> None:
    """Super-resolve the images of a folder with MODEL and compare them with the originals.

    HR is cut at the bottom and right to a multiple of the scale. The output is rounded to 8 bits
    before it is compared; PSNR and SSIM are means over the images, or over the frames of each
    clip and then over the clips.

    Protocols: y (EDSR, RCAN and most), gtmod12 (BasicSR: HR cut to a multiple of 12), rgb, ntire
    (RGB, border 4), reds4 (RGB, no border), vid4 (Y, no border).
    """
    with exits(debug=debug):
        channels: Channels | None = None if luma is None else "y" if luma else "rgb"
        chosen = choose_protocol(protocol, channels=channels, border=border, modcrop=modcrop)
        source = network_source(model, weights=weights, arguments=arguments or [])
        if json_file is not None:
            read = [Path(model), *_files_of(weights, data, lr)]
            check_output(json_file, option="--json", inputs=read)
        feed = choose_feed(_number(frames), target=target, padding=padding)
        if feed is not None and not clips:
            message = "--frames, --target and --padding are of clips; say --clips as well"
            raise RecipeError(message)
        with open_progress(quiet=quiet) as progress:
            network = engine.open_network(source, device=device)
            scores = engine.evaluate(
                network,
                data,
                lr=lr,
                names=names,
                clips=clips,
                scale=scale,
                protocol=chosen,
                feed=feed,
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


def _number(text: str | None) -> int | str | None:
    return int(text) if text is not None and text.isdecimal() else text


def _files_of(*places: Path | None) -> Iterator[Path]:
    """Files, and those right in folders; what cannot be looked into is told when it is read."""
    for place in places:
        if place is not None:
            yield place
            with suppress(OSError):
                yield from place.iterdir()


def _print_scores(scores: Scores) -> None:
    table = Table(box=box.SIMPLE_HEAD, title=f"x{scores.scale}, {scores.protocol}")
    table.add_column("clip" if scores.clips else "image", overflow="fold")
    for heading in (f"{scores.protocol.label} (dB)", "SSIM", "seconds"):
        table.add_column(heading, justify="right")
    for row in scores.clips or scores.images:
        table.add_row(Text(one_line(row.name)), *_cells(row.psnr, row.ssim, row.seconds))
    table.add_section()
    table.add_row("mean", *_cells(scores.psnr, scores.ssim, scores.seconds), style="bold")
    Console().print(table)
    if scores.clips:
        typer.echo(f"mean over {scores.over}; seconds are those of a frame")


def _cells(psnr: float, ssim: float, seconds: float) -> tuple[str, str, str]:
    return f"{psnr:.3f}", f"{ssim:.4f}", f"{seconds:.2f}"
