"""The main table: what every network costs and how good it is, against the dense one."""

from __future__ import annotations

__all__ = ["key_table"]

from collections.abc import Iterator, Sequence

from prunekit.measure.latency import Latency
from prunekit.report.content import DENSE, Entry, Report
from prunekit.report.figures import change, common_unit, decimals, number, signed, times
from prunekit.report.table import Cell, Column, Table

_SECOND = 1000.0  # milliseconds


def key_table(report: Report) -> Table:
    """Return every entry with its cost and quality, and the change against the dense network."""
    entries, dense = report.entries, report.entry(DENSE)
    found = _columns(entries, dense, report.psnr_label)
    columns = [(column, cells) for column, cells in found if _any(cells)]
    rows = (
        (Cell(entry.name), *(cells[place] for _, cells in columns))
        for place, entry in enumerate(entries)
    )
    return Table(
        "Result",
        "The networks compared, with the change against the dense one"
        + (f"; quality on {report.protocol}" if report.protocol else ""),
        (Column("network", "text"), *(column for column, _ in columns)),
        tuple(rows),
    )


def _columns(
    entries: Sequence[Entry], dense: Entry | None, psnr: str
) -> Iterator[tuple[Column, list[Cell]]]:
    yield _count_column("params", [e.params for e in entries], dense.params if dense else None)
    yield _count_column("MACs", [e.macs for e in entries], dense.macs if dense else None)
    yield _latency_column(entries, dense)
    qualities = ((f"{psnr} (dB)", _psnr, 2), ("SSIM", _ssim, 4))
    for heading, figure, digits in qualities:
        base = figure(dense) if dense else None
        yield (
            Column(heading),
            [
                _difference_cell(figure(e), base if e is not dense else None, digits)
                for e in entries
            ],
        )


def _psnr(entry: Entry) -> float | None:
    return entry.quality.psnr if entry.quality else None


def _ssim(entry: Entry) -> float | None:
    return entry.quality.ssim if entry.quality else None


def _count_column(
    heading: str, values: Sequence[int | None], base: int | None
) -> tuple[Column, list[Cell]]:
    known = [value for value in values if value is not None]
    unit = common_unit(known)
    digits = decimals([value / unit.factor for value in known]) if unit.prefix else 0
    cells = [
        Cell()
        if value is None
        else Cell(
            number(value / unit.factor, digits),
            note=change(value, base) if base and value != base else "",
        )
        for value in values
    ]
    return Column(f"{heading} ({unit.prefix})" if unit.prefix else heading), cells


def _latency_column(entries: Sequence[Entry], dense: Entry | None) -> tuple[Column, list[Cell]]:
    known = [entry.latency for entry in entries if entry.latency]
    slowest = max((latency.max_ms for latency in known), default=0.0)
    unit, factor = ("s", _SECOND) if slowest >= _SECOND else ("ms", 1.0)
    digits = max(0, decimals([slowest / factor]) - (slowest / factor >= 10))  # noqa: PLR2004
    base = dense.latency if dense else None
    cells = []
    for entry in entries:
        own = entry.latency
        cells.append(_latency_cell(own, None if entry is dense else base, factor, digits))
    return Column(f"latency ({unit})"), cells


def _latency_cell(own: Latency | None, base: Latency | None, factor: float, digits: int) -> Cell:
    if own is None:
        return Cell()
    low, median, high = (
        number(ms / factor, digits) for ms in (own.min_ms, own.median_ms, own.max_ms)
    )
    ratio = base.median_ms / own.median_ms if base and own.median_ms else None
    return Cell(median, f"[{low}\N{EN DASH}{high}]", times(ratio, 2) if ratio is not None else "")


def _difference_cell(value: float | None, base: float | None, digits: int) -> Cell:
    if value is None:
        return Cell()
    return Cell(number(value, digits), note="" if base is None else signed(value - base, digits))


def _any(cells: Sequence[Cell]) -> bool:
    """Whether a column has something to tell."""
    return any(cell.text for cell in cells)
