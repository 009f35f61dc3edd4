"""What is to be done: a network, a recipe, and what it is called with."""

from __future__ import annotations

__all__ = ["Job", "feed_of", "inputs_for", "scale_of", "takes_images"]

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.errors import RecipeError
from prunekit.graph import ChannelGraph, Inputs, TraceOptions
from prunekit.graph.record import plain
from prunekit.measure.feed import Feed
from prunekit.pipeline import stages
from prunekit.pipeline.build import example_input
from prunekit.pipeline.journal import Journal
from prunekit.recipe import Recipe
from prunekit.score import Criterion
from prunekit.sparse import Masks, from_torch_masks, has_torch_masks


@dataclass(frozen=True, eq=False)
class Job:
    """What is to be done."""

    dense: nn.Module
    recipe: Recipe
    inputs: Inputs
    options: TraceOptions
    graph: ChannelGraph
    """Of the dense network."""
    journal: Journal
    work: Path | None
    """Folder for checkpoints of training."""
    criterion: Criterion | None = None
    """In place of those of the recipe."""
    calibration: Iterable[Any] | None = None
    """In place of patches of the recipe's images."""
    masks: Masks | None = None
    """Those that `torch.nn.utils.prune` had put on the network."""
    evaluates: bool = True
    """Whether the networks are evaluated as the recipe says."""

    @staticmethod
    def begun(
        dense: nn.Module,
        recipe: Recipe,
        inputs: Inputs,
        options: TraceOptions,
        journal: Journal,
        *,
        work: Path | None,
    ) -> Job:
        """Take masks of torch over, which hide what the weights are, and trace the network."""
        masks = None
        if has_torch_masks(dense):
            dense, masks = from_torch_masks(dense)
        graph = stages.read_graph(dense, inputs, options, progress=journal)
        return Job(dense, recipe, inputs, options, graph, journal, work, masks=masks)


def inputs_for(model: nn.Module, recipe: Recipe) -> Tensor:
    """The image `(N, C, H, W)` that a recipe names to trace with, where the model is."""
    shape = recipe.model.input_shape if recipe.model else (1, 3, 48, 48)
    return example_input(shape, model)


def takes_images(job: Job) -> bool:
    """Whether one RGB image is all that the network takes."""
    if any(not isinstance(value, Tensor) for value in tree_leaves(plain(job.inputs))):
        return False
    (shape, *others) = job.graph.input_shapes
    return not others and len(shape) == len(("N", "C", "H", "W")) and shape[1] == 3  # noqa: PLR2004 (RGB)


def feed_of(job: Job) -> Feed | None:
    """What a network that takes one RGB clip and no more was traced with; None for all others."""
    if any(not isinstance(value, Tensor) for value in tree_leaves(plain(job.inputs))):
        return None
    (shape, *others), returned = job.graph.input_shapes, job.graph.output_shapes
    if others or len(shape) != len(("N", "T", "C", "H", "W")) or shape[2] != 3 or not returned:  # noqa: PLR2004 (RGB)
        return None
    return Feed(shape[1], "all" if len(returned[0]) == len(shape) else "centre")


def scale_of(job: Job) -> int | None:
    """How much larger the output is, if so. Raises `RecipeError` if the recipe says otherwise."""
    stated = job.recipe.model.scale if job.recipe.model else None
    if stated is not None and job.graph.scale != stated:
        message = (
            f"model.scale is {stated}, but the network turns {job.graph.input_shapes[0]} into "
            f"{job.graph.output_shapes[0]}; leave the scale out, or build the network for it"
        )
        raise RecipeError(message)
    return job.graph.scale
