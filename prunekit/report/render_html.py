"""A report as one HTML page that needs nothing but itself: no script, no font, no network."""

from __future__ import annotations

__all__ = ["to_html"]

import base64
import io
import re
from dataclasses import dataclass

import jinja2
import PIL.Image

from prunekit.data.image import Image
from prunekit.report import plots, tables
from prunekit.report.content import BICUBIC, DENSE, HR, SLIM, SLIM_BEFORE, Crop, Picture, Report
from prunekit.report.figures import decibel, printable, signed
from prunekit.report.headline import cautions, headline
from prunekit.report.key_table import key_table

_STYLES = {HR: "hr", BICUBIC: "bicubic", DENSE: "dense", SLIM_BEFORE: "before", SLIM: "slim"}
_TILE_SIDE = 384  # CSS pixels at most; a crop is enlarged by a whole number
_JPEG_QUALITY = 88  # of the thumbnails only; the crops are lossless


@dataclass(frozen=True)
class _Tile:
    """One picture of a crop as the page shows it."""

    name: str
    uri: str
    figure: str
    note: str


@dataclass(frozen=True)
class _CropView:
    """One crop as the page shows it."""

    crop: Crop
    tiles: tuple[_Tile, ...]
    side: int  # CSS pixels
    preview: str  # data URI; empty if there is none
    width: int  # of the whole image
    height: int


def to_html(report: Report) -> str:
    """Write the page. It reads in light and dark, on a screen, a phone and paper."""
    views = _crop_views(report)
    page = _environment().get_template("report.html.j2")
    return page.render(
        report=report,
        headline=[_words(part) for part in headline(report).split("; ")],
        cautions=cautions(report),
        main=key_table(report),
        tables=tables,
        scatter=plots.scatter_plot(report),
        costs=plots.cost_bars(report),
        curves=[(curve, plots.curve_plots(curve)) for curve in report.training],
        crops=views,
        flips=_flips(views),
        style=lambda name: _STYLES.get(name, "other"),
    )


def _environment() -> jinja2.Environment:
    """Escape everything: names of networks, layers and images are foreign text."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("prunekit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _clean(value: object) -> object:
    return printable(value) if type(value) is str else value


def _words(text: str) -> list[str]:
    """Split where a line may break: not before a unit, nor at a hyphen."""
    return re.sub(r"(?<=[0-9]) (?=%|dB)", "\N{NO-BREAK SPACE}", text).split(" ")


def _flips(views: list[_CropView]) -> list[str]:
    """Return the names that pictures can be flipped to, if all crops agree on them."""
    orders = {tuple(tile.name for tile in view.tiles) for view in views}
    return list(orders.pop()) if len(orders) == 1 else []


def _crop_views(report: Report) -> list[_CropView]:
    previews = {preview.image: preview for preview in report.previews}
    views = []
    for crop in report.crops:
        preview = previews.get(crop.image)
        views.append(
            _CropView(
                crop=crop,
                tiles=_tiles(crop),
                side=crop.size * max(1, _TILE_SIDE // crop.size),
                preview=_data_uri(preview.pixels, "JPEG") if preview else "",
                width=preview.width if preview else 0,
                height=preview.height if preview else 0,
            )
        )
    return views


def _tiles(crop: Crop) -> tuple[_Tile, ...]:
    dense = next((picture.psnr for picture in crop.pictures if picture.name == DENSE), None)
    return tuple(
        _Tile(
            name=picture.name,
            uri=_data_uri(picture.pixels, "PNG"),
            figure=f"{decibel(picture.psnr)} dB" if picture.psnr is not None else "",
            note=_against(picture, dense),
        )
        for picture in crop.pictures
    )


def _against(picture: Picture, dense: float | None) -> str:
    if picture.psnr is None or dense is None or picture.name == DENSE:
        return ""
    return signed(picture.psnr - dense, 2)


def _data_uri(pixels: Image, kind: str) -> str:
    file = io.BytesIO()
    PIL.Image.fromarray(pixels).save(file, kind, optimize=True, quality=_JPEG_QUALITY)
    content = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{kind.lower()};base64,{content}"
