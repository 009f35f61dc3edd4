"""The main table of a report for the terminal."""

from __future__ import annotations

__all__ = ["to_table"]

from rich import box
from rich.table import Table as RichTable
from rich.text import Text

from prunekit.report.content import SLIM, Report
from prunekit.report.figures import in_ascii, printable
from prunekit.report.key_table import key_table
from prunekit.report.table import Cell


def to_table(report: Report) -> RichTable:
    """Return a row for every network, spread and change below each figure.

    It reads at 60 columns: the names are what wraps.
    """
    table = key_table(report)
    shown = RichTable(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    for column in table.columns:
        numeric = column.kind == "number"
        shown.add_column(
            Text(column.heading.replace(" (", "\n(")),
            justify="right" if numeric else "left",
            no_wrap=numeric,
            overflow="fold",
        )
    for row in table.rows:
        style = "bold" if row[0].text == SLIM else ""
        shown.add_row(*(_shown(cell) for cell in row), style=style)
    return shown


def _shown(cell: Cell) -> Text:
    """Return a cell as text, so that names hold no markup, in signs that every terminal has."""
    shown = Text(in_ascii(printable(cell.text)) or "-")
    for line in filter(None, (cell.spread, cell.note)):
        shown.append(f"\n{in_ascii(line).replace(' %', '%')}", style="dim")
    return shown
