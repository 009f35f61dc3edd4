"""A report as Markdown that GitHub renders, with the same tables as the page."""

from __future__ import annotations

__all__ = ["to_markdown"]

import re
from collections.abc import Iterator

from prunekit.report.content import Report
from prunekit.report.figures import printable
from prunekit.report.headline import cautions, headline
from prunekit.report.key_table import key_table
from prunekit.report.table import Cell, Column, Table
from prunekit.report.tables import (
    block_table,
    counter_remarks,
    crop_table,
    cross_check_table,
    environment_table,
    file_table,
    frozen_table,
    group_table,
    image_table,
    proof_table,
    sparsity_table,
    stage_table,
    training_table,
)

_TABLES = (
    crop_table,
    image_table,
    block_table,
    group_table,
    frozen_table,
    proof_table,
    sparsity_table,
    file_table,
    training_table,
    cross_check_table,
    stage_table,
    environment_table,
)

_HARMLESS_NAME = re.compile(r"[\w.,:;/+=()#* -]*[\w.,:;/+=()#*-]", re.ASCII)
_ACTIVE = re.compile(r"[\\`<>|&$@]|:(?=//)|(?<=www)\.")
_MARKUP = re.compile(r"[*_\[\]~]|^[#+=-]")


def to_markdown(report: Report) -> str:
    """Write the headline, the tables, the recipe and the notes."""
    return "\n\n".join(_blocks(report)) + "\n"


def _blocks(report: Report) -> Iterator[str]:
    yield f"# {_text(report.title)}"
    yield f"**{_text(headline(report))}**"
    yield from (f"> {_text(caution)}" for caution in cautions(report))
    main = key_table(report)
    if main.rows:
        yield _table(main)
    if report.convention:
        yield _list(report.convention)
    yield from _sections(report)
    if report.recipe:
        yield "## Recipe"
        yield _fence(report.recipe)
    if report.notes:
        yield "## Notes"
        yield _list(report.notes)
    yield f"prunekit {_text(report.prunekit)}, {_text(report.created)}"


def _sections(report: Report) -> Iterator[str]:
    for make in _TABLES:
        table = make(report)
        if table is not None:
            yield f"## {_text(table.title)}"
            yield f"{_text(table.caption)}."
            yield _table(table)
        if table is not None and make is cross_check_table:
            yield _list(counter_remarks(report))


def _table(table: Table) -> str:
    lines = [
        [_text(column.heading) for column in table.columns],
        ["---:" if column.kind == "number" else ":---" for column in table.columns],
        *([_cell(*pair) for pair in zip(row, table.columns, strict=True)] for row in table.rows),
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(cell: Cell, column: Column) -> str:
    shown = _name(cell.text) if column.kind == "name" else _text(cell.text)
    spread = f" {_text(cell.spread)}" if cell.spread else ""
    note = f" ({_text(cell.note)})" if cell.note else ""
    return f"{shown}{spread}{note}"


def _name(text: str) -> str:
    """Set as code what cannot break out of it, and escape anything else."""
    return f"`{text}`" if _HARMLESS_NAME.fullmatch(text) else _text(text)


def _text(text: str) -> str:
    """Write foreign text on one line; a character reference never acts as markup."""
    line = " ".join(printable(text).split())
    line = _ACTIVE.sub(lambda found: f"&#{ord(found.group())};", line)
    return _MARKUP.sub(r"\\\g<0>", line)


def _list(sentences: tuple[str, ...]) -> str:
    return "\n".join(f"- {_text(sentence)}" for sentence in sentences)


def _fence(text: str) -> str:
    """Set as a block of code that no run of backticks inside can end."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}yaml\n{printable(text).rstrip()}\n{fence}"
