"""A table as plain data, which HTML, Markdown and the terminal all show."""

from __future__ import annotations

__all__ = ["Bar", "Cell", "Column", "Table"]

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Bar:
    """A drawing of the figure in a cell; lengths are shares of the longest in the column."""

    length: float
    outline: float | None = None  # what the bar was before, if it was longer


@dataclass(frozen=True)
class Cell:
    """A figure or some text; empty if there is none."""

    text: str = ""
    spread: str = ""  # from least to most, where the text is a median
    note: str = ""  # a smaller second figure: the change, or what belongs to the first
    bar: Bar | None = None


@dataclass(frozen=True)
class Column:
    """How the cells of a column are set."""

    heading: str
    kind: Literal["number", "text", "name"] = "number"  # a name is foreign: set as code


@dataclass(frozen=True)
class Table:
    """Rows of as many cells as there are columns; the first cell names the row."""

    title: str  # a heading of a few words
    caption: str  # what the table shows
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
