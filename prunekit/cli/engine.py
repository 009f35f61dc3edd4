"""Where the command line meets the pipeline, which is imported only when there is work for it."""

# Importing torch takes seconds: help, schemas and recipes with mistakes do not wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

__all__ = [
    "follow",
    "is_first_process",
    "network_json",
    "network_names",
    "network_page",
    "network_tree",
    "preview",
    "render",
    "run",
    "sentences",
    "trace_checkpoint",
    "trace_model",
]

from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.tree import Tree

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


def run(recipe: Recipe, *, progress: Progress, overwrite: bool, resume: bool) -> RunResult:
    """Carry out a recipe and write its run folder."""
    from prunekit import pipeline

    return pipeline.run(recipe, progress=progress, overwrite=overwrite, resume=resume)


def follow(recipe: Recipe) -> None:
    """Take part in a run that another process writes."""
    from prunekit import pipeline

    pipeline.follow(recipe)


def is_first_process() -> bool:
    """Whether this process prints and writes."""
    from prunekit import pipeline

    return pipeline.is_first_process()


def preview(recipe: Recipe, *, progress: Progress) -> Preview:
    """Plan what a recipe would remove, and write nothing."""
    from prunekit import pipeline

    return pipeline.preview(recipe, progress=progress)


def trace_model(model: ModelSection) -> ChannelGraph:
    """Build a network and trace its channel graph."""
    from prunekit import pipeline

    return pipeline.inspect(model)


def trace_checkpoint(path: Path, input_shape: tuple[int, ...] | None) -> ChannelGraph:
    """Build the network of a checkpoint and trace its channel graph."""
    from prunekit.pipeline.checkpoint import inspect_checkpoint

    return inspect_checkpoint(path, input_shape)


def network_tree(name: str, graph: ChannelGraph, *, everything: bool, ascii_only: bool) -> Tree:
    """Return the tree of a traced network."""
    from prunekit.report.network import to_network_tree

    return to_network_tree(name, graph, everything=everything, ascii_only=ascii_only)


def network_json(name: str, graph: ChannelGraph) -> str:
    """Return everything that is known of a traced network."""
    from prunekit.report.network import to_network_json

    return to_network_json(name, graph)


def network_page(name: str, graph: ChannelGraph) -> str:
    """Return the page that draws a traced network."""
    from prunekit.report.network import to_network_page

    return to_network_page(name, graph)


def render(report: Report) -> Table:
    """Return the table of a report's figures."""
    from prunekit.report import to_table

    return to_table(report)


def sentences(report: Report) -> list[str]:
    """Return what the figures come to, what they mean, and what speaks against them."""
    from prunekit.report import cautions, headline

    warnings = [f"caution: {sentence}" for sentence in cautions(report)]
    return [headline(report), *report.convention, *warnings]
