"""Where the command line meets the pipeline, which is imported only when there is work for it."""

# Importing torch takes seconds: help, schemas and recipes with mistakes do not wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

__all__ = ["network_names", "preview", "render", "run", "sentences", "trace_model"]

from typing import TYPE_CHECKING

from rich.table import Table

from prunekit.progress import Progress
from prunekit.recipe import ModelSection, Recipe

if TYPE_CHECKING:
    from prunekit.graph import ChannelGraph
    from prunekit.pipeline import Preview, RunResult
    from prunekit.report import Report


def network_names() -> list[str]:
    """Return the names of the built-in networks."""
    from prunekit.nets import names

    return names()


def run(recipe: Recipe, *, progress: Progress, overwrite: bool) -> RunResult:
    """Carry out a recipe and write its run folder."""
    from prunekit import pipeline

    return pipeline.run(recipe, progress=progress, overwrite=overwrite)


def preview(recipe: Recipe, *, progress: Progress) -> Preview:
    """Plan what a recipe would remove, and write nothing."""
    from prunekit import pipeline

    return pipeline.preview(recipe, progress=progress)


def trace_model(model: ModelSection) -> ChannelGraph:
    """Build a network and trace its channel graph."""
    from prunekit import pipeline

    return pipeline.inspect(model)


def render(report: Report) -> Table:
    """Return the table of a report's figures."""
    from prunekit.report import to_table

    return to_table(report)


def sentences(report: Report) -> list[str]:
    """Return what the figures come to, what they mean, and what speaks against them."""
    from prunekit.report import cautions, headline

    warnings = [f"caution: {sentence}" for sentence in cautions(report)]
    return [headline(report), *report.convention, *warnings]
