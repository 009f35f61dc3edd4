"""Where the command line meets the pipeline, which is imported only when there is work for it."""

# Importing torch takes seconds: help, schemas and recipes with mistakes do not wait for it.
# ruff: noqa: PLC0415

from __future__ import annotations

__all__ = [
    "checkpoint_blocks",
    "evaluate",
    "follow",
    "is_first_process",
    "is_slim",
    "model_blocks",
    "network_json",
    "network_page",
    "network_source",
    "network_tree",
    "open_network",
    "preview",
    "render",
    "run",
    "scores_json",
    "sensitivity",
    "sensitivity_page",
    "sensitivity_table",
    "sentences",
    "trace_checkpoint",
    "trace_model",
    "upscale_files",
]

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.tree import Tree

from prunekit.progress import Progress
from prunekit.recipe import ModelSection, Recipe

if TYPE_CHECKING:
    from torch import nn

    from prunekit.depth import Blocks
    from prunekit.graph import ChannelGraph
    from prunekit.measure.feed import Feed
    from prunekit.measure.protocol import Protocol
    from prunekit.measure.scores import Scores
    from prunekit.pipeline import Preview, RunResult
    from prunekit.pipeline.network import NetworkSource
    from prunekit.pipeline.upscale import Enlarged
    from prunekit.plan import Sensitivity
    from prunekit.report import Report


def is_slim(path: Path) -> bool:
    """Whether this is a run folder, or a file that prunekit wrote."""
    from prunekit.pipeline import network

    return network.is_slim(path)


def network_source(section: ModelSection | None = None, file: Path | None = None) -> NetworkSource:
    """Say where a network comes from."""
    from prunekit.pipeline.network import NetworkSource

    return NetworkSource(section, file)


def open_network(source: NetworkSource, *, device: str) -> nn.Module:
    """Build a network with its weights, on its device."""
    from prunekit.pipeline import network
    from prunekit.pipeline.build import choose_device

    target = choose_device(device)
    with redirect_stdout(sys.stderr):  # what the network's own code prints
        return network.open_network(source).to(target)


def evaluate(
    model: nn.Module,
    data: Path,
    *,
    lr: Path | None,
    names: Sequence[str] | None,
    clips: bool,
    scale: int | None,
    protocol: Protocol,
    feed: Feed | None,
    progress: Progress,
) -> Scores:
    """Score a network on folders of images or clips."""
    from prunekit.data.sources import Clips, Folder
    from prunekit.pipeline.evaluate import evaluate_source

    kind = Clips if clips else Folder
    source = kind(data, None if names is None else tuple(names), lr)
    with redirect_stdout(sys.stderr):
        return evaluate_source(model, source, protocol, scale=scale, feed=feed, progress=progress)


def scores_json(scores: Scores, model: nn.Module, /, **told: object) -> str:
    """Return the figures as JSON."""
    from prunekit.pipeline.evaluate import scores_json as to_json

    return to_json(scores, model, **told)


def upscale_files(
    model: nn.Module,
    source: Path,
    target: Path,
    *,
    tile: int,
    overlap: int | None,
    overwrite: bool,
    progress: Progress,
) -> Enlarged:
    """Enlarge a file or a folder."""
    from prunekit.pipeline.upscale import upscale_files as enlarge

    with redirect_stdout(sys.stderr):
        return enlarge(
            model,
            source,
            target,
            tile=tile,
            overlap=overlap,
            overwrite=overwrite,
            progress=progress,
        )


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


def sensitivity(recipe: Recipe, *, progress: Progress) -> Sensitivity:
    """Measure what removing units of each group of a recipe's network costs."""
    from prunekit import pipeline

    with redirect_stdout(sys.stderr):
        return pipeline.sensitivity(recipe, progress=progress)


def sensitivity_table(found: Sensitivity) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows of the table of curves."""
    from prunekit.report.sensitivity import drop_table

    return drop_table(found)


def sensitivity_page(name: str, found: Sensitivity) -> str:
    """Return the page with the curves."""
    from prunekit.report.sensitivity import to_sensitivity_page

    return to_sensitivity_page(name, found)


def trace_model(model: ModelSection) -> ChannelGraph:
    """Build a network and trace its channel graph."""
    from prunekit import pipeline

    return pipeline.inspect(model)


def trace_checkpoint(path: Path, input_shape: tuple[int, ...] | None) -> ChannelGraph:
    """Build the network of a checkpoint and trace its channel graph."""
    from prunekit.pipeline.checkpoint import inspect_checkpoint

    return inspect_checkpoint(path, input_shape)


def model_blocks(model: ModelSection) -> tuple[ChannelGraph, Blocks]:
    """Build a network, trace it, and find its blocks."""
    from prunekit import pipeline

    return pipeline.inspect_blocks(model)


def checkpoint_blocks(
    path: Path, input_shape: tuple[int, ...] | None
) -> tuple[ChannelGraph, Blocks]:
    """Build the network of a checkpoint, trace it, and find its blocks."""
    from prunekit.pipeline.checkpoint import inspect_checkpoint_blocks

    return inspect_checkpoint_blocks(path, input_shape)


def network_tree(
    name: str, graph: ChannelGraph, blocks: Blocks | None, *, everything: bool, ascii_only: bool
) -> Tree:
    """Return the tree of a traced network."""
    from prunekit.report.network import to_network_tree

    return to_network_tree(name, graph, blocks, everything=everything, ascii_only=ascii_only)


def network_json(name: str, graph: ChannelGraph, blocks: Blocks | None) -> str:
    """Return everything that is known of a traced network."""
    from prunekit.report.network import to_network_json

    return to_network_json(name, graph, blocks)


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
