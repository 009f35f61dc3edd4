"""The whole run of a recipe: START HERE."""

from __future__ import annotations

__all__ = [
    "Preview",
    "RunResult",
    "check",
    "follow",
    "inspect",
    "inspect_blocks",
    "is_first_process",
    "preview",
    "run",
    "sensitivity",
]

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from prunekit.depth import Blocks, find_blocks
from prunekit.errors import RecipeError
from prunekit.files import write_atomic
from prunekit.graph import ChannelGraph, own_randomness, trace
from prunekit.measure.environment import environment
from prunekit.pipeline.build import build_network, choose_device, example_input
from prunekit.pipeline.folder import check_alone, check_free, new_folder
from prunekit.pipeline.journal import Journal
from prunekit.pipeline.predict import Prediction, predict
from prunekit.pipeline.prune import PruneResult, measure, prune, rehearse, take_part
from prunekit.pipeline.store import write_result
from prunekit.pipeline.work import keep_logs, remove_work, work_folder, work_path
from prunekit.plan import Sensitivity
from prunekit.progress import Progress, Silent
from prunekit.recipe import (
    ModelSection,
    Recipe,
    Stage,
    check_references,
    dump_recipe,
)
from prunekit.report import Report


@dataclass(frozen=True, eq=False)
class RunResult:
    """A finished run."""

    folder: Path
    result: PruneResult

    @property
    def report(self) -> Report:
        """What the run found."""
        return self.result.report


def run(
    recipe: Recipe, *, progress: Progress, overwrite: bool = False, resume: bool = False
) -> RunResult:
    """Build, prune, fine-tune, measure, and write the run folder.

    The folder takes its place when everything is in it; until then nothing is seen of it but a
    hidden folder of checkpoints beside it, from which a run that was killed goes on.

    Args:
        recipe: what to do.
        progress: told what is going on.
        overwrite: replace the folder of an earlier run, and what is left of an unfinished one.
        resume: go on with an unfinished run of the same recipe, if there is one.

    Raises:
        PrunekitError: with one sentence; nothing is left on disk but checkpoints.
    """
    folder = recipe.output / recipe.name
    check(recipe)
    check_free(folder, overwrite=overwrite)
    journal = Journal(progress)
    with ExitStack() as stack:
        partial = stack.enter_context(new_folder(folder, overwrite=overwrite))
        check_alone(partial, folder)  # before anything of a run that goes on is touched
        text = dump_recipe(recipe)
        work = stack.enter_context(work_folder(folder, text, overwrite=overwrite, resume=resume))
        model = _build(recipe, journal)
        result = prune(model, recipe, work_folder=work, progress=journal)
        journal.start("write")
        write_result(
            partial,
            result.model,
            result.plan,
            result.report,
            recipe,
            origin=recipe.model,
            masks=result.masks,
        )
        keep_logs(work, partial)
        facts = json.dumps(environment(), indent=1) + "\n"
        write_atomic(partial / "environment.json", facts)
        journal.finish(str(folder))
        write_atomic(partial / "log.txt", journal.log)
    remove_work(folder)
    return RunResult(folder, result)


def follow(recipe: Recipe) -> None:
    """Take part in the run of another process, which writes what comes of it."""
    check(recipe)
    take_part(_build(recipe, Silent()), recipe, work_folder=work_path(recipe.output / recipe.name))


def is_first_process() -> bool:
    """Whether this process writes: the only one, or the first of those that were launched.

    A `RANK` without a `LOCAL_RANK` is not of torchrun or accelerate, but of some cluster.
    """
    return "LOCAL_RANK" not in os.environ or int(os.environ.get("RANK", "0")) == 0


def check(recipe: Recipe) -> None:
    """Raise `RecipeError` for everything that can be known before work starts."""
    if recipe.model is None:
        message = (
            "the recipe has no 'model' section, so there is no network to prune; add one with "
            "'network' or 'factory', or call prunekit.prune(model, recipe)"
        )
        raise RecipeError(message)
    check_references(recipe)
    choose_device(recipe.device)


@dataclass(frozen=True, eq=False)
class Preview:
    """What a run would remove, found without training and without writing."""

    report: Report
    """With groups and costs, and nothing that needs images."""
    predictions: tuple[Prediction, ...]


def preview(recipe: Recipe, *, progress: Progress) -> Preview:
    """Prune as the recipe says, leave out training and evaluation, and write nothing.

    What would be chosen in training is chosen by the weights as they are, at once. An allocation
    that goes by measurements takes them, and keeps them for the run.
    """
    check(recipe)
    pruning = tuple(_at_once(stage) for stage in recipe.steps if stage.prune is not None)
    looks = any(stage.ranked and stage.ranked.looks_at_images for stage in pruning)
    looks = looks or any(stage.filters and stage.filters.measuring for stage in pruning)
    structural = recipe.model_copy(
        update={
            "prune": None,
            "train": None,
            "stages": pruning,
            "data": recipe.data if looks else None,
        }
    )
    dense = _build(recipe, progress)
    result = rehearse(dense, structural, progress=progress)
    with own_randomness(dense):
        return Preview(result.report, predict(dense, result, recipe, progress=progress))


def _at_once(stage: Stage) -> Stage:
    assert stage.prune is not None
    schedules = {"gradual", "shrink", "iterative", "soft"} & type(stage.prune).model_fields.keys()
    section = stage.prune.model_copy(update=dict.fromkeys(schedules))
    return stage.model_copy(update={"prune": section})


def sensitivity(recipe: Recipe, *, progress: Progress) -> Sensitivity:
    """Build the network of a recipe and measure what removing units of each group costs."""
    check(recipe)
    return measure(_build(recipe, progress), recipe, progress=progress)


def inspect(section: ModelSection) -> ChannelGraph:
    """Trace the network of a `model` section."""
    model = build_network(section)
    return trace(model, example_input(section.input_shape, model))


def inspect_blocks(section: ModelSection) -> tuple[ChannelGraph, Blocks]:
    """Trace the network of a `model` section, and run it to find the blocks that may leave."""
    model = build_network(section)
    image = example_input(section.input_shape, model)
    graph = trace(model, image)
    return graph, find_blocks(model, graph, image)


def _build(recipe: Recipe, progress: Progress) -> nn.Module:
    assert recipe.model is not None  # checked
    progress.start("build")
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(recipe.seed)  # weights that no file gives
        model = build_network(recipe.model).to(choose_device(recipe.device))
    progress.finish(type(model).__name__)
    return model
