"""Prune a network in memory: the stages of a recipe, one call each."""

from __future__ import annotations

__all__ = ["PruneResult", "measure", "prune", "rehearse", "take_part"]

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from prunekit.errors import RecipeError
from prunekit.graph import (
    Attention,
    Inputs,
    Rule,
    TraceOptions,
    check_traceable,
    own_randomness,
    unwrap,
)
from prunekit.pipeline import stages
from prunekit.pipeline.course import check_masking, next_aim, run_stages
from prunekit.pipeline.folder import new_folder
from prunekit.pipeline.images import calibration_for, load_images, probe_for
from prunekit.pipeline.job import Job, inputs_for
from prunekit.pipeline.journal import Journal
from prunekit.pipeline.judge import judge
from prunekit.pipeline.store import write_result
from prunekit.pipeline.summary import summarise
from prunekit.plan import Plan, Sensitivity
from prunekit.progress import Progress, Silent
from prunekit.recipe import CalibrationSection, Recipe, SensitivitySection, load_recipe, to_mapping
from prunekit.report import Report
from prunekit.score import CRITERIA, Criterion, as_criterion
from prunekit.sparse import Masks


@dataclass(frozen=True, eq=False)
class PruneResult:
    """A slim network, and how it came about."""

    model: nn.Module
    """Of the same class as the dense network, on the same device, in evaluation mode."""
    plan: Plan
    report: Report
    recipe: Recipe
    """As it was run, with every default filled in."""
    masks: Masks | None = None
    """Which weights stay, if single ones were set to zero."""

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write `slim.safetensors`, `plan.json`, `recipe.yaml` and the report into a new folder.

        The folder appears whole or not at all. Raises `PrunekitError` if it holds something and
        `overwrite` is off.
        """
        path = Path(folder)
        with new_folder(path, overwrite=overwrite) as partial:
            write_result(
                partial,
                self.model,
                self.plan,
                self.report,
                self.recipe,
                origin=None,
                masks=self.masks,
            )
        return path


def prune(
    model: nn.Module,
    recipe: str | Path | Mapping[str, object] | Recipe,
    example_inputs: Inputs | None = None,
    *,
    attention: Attention = "head_dim",
    rules: Mapping[str, Rule] | None = None,
    opaque: Sequence[str] = (),
    criterion: object = None,
    calibration: Iterable[Any] | None = None,
    work_folder: str | Path | None = None,
    progress: Progress | None = None,
) -> PruneResult:
    """Run the stages of a recipe on a network, which stays as it is.

    Args:
        model: the dense network, with its weights, on the device to work on. Masks that
            `torch.nn.utils.prune` has put on it are taken over: what they hide counts as zero,
            and stays so.
        recipe: a path, a mapping or a `Recipe`; sections `model`, `device` and `output` are for
            `prunekit run` and take no part here. The smallest one is
            `{"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}`.
        example_inputs: a tensor, a sequence of positional or a mapping of keyword arguments;
            one RGB image of 48x48 pixels if not given.
        attention: what of an attention may shrink, as in `prunekit.trace`.
        rules: rules of operators of your own, as in `prunekit.trace`.
        opaque: globs on modules that stay as they are, as in `prunekit.trace`.
        criterion: takes the place of the one in the recipe: a name, an importance of torch-pruning
            (or of your own class that extends one), or a function that takes the slices of a
            group (`prunekit.score.Slice`) and a random generator and returns a list of scores
            `(units,)`. The recipe in the result then says `custom`, unless it is a name.
        calibration: batches for criteria that look at images, in place of patches of the recipe's
            `data.train`: a loader or list of `(lr, hr)`, or of LR alone if nobody knows HR; as many
            as the recipe says.
        work_folder: for checkpoints of training and its log. If it holds some of the same
            training, that goes on from the newest; without it, training begins anew each time.
        progress: told what is going on.

    Raises:
        PrunekitError: with one sentence that says what, where, why and what to do next.
    """
    read, judged = _with_criterion(load_recipe(recipe), criterion)
    _check_looked_at(read, judged, calibration)
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs = inputs_for(model, read) if example_inputs is None else example_inputs
        options = TraceOptions(attention, rules, opaque)
        work = None if work_folder is None else Path(work_folder)
        job = Job.begun(model, read, inputs, options, Journal(progress or Silent()), work=work)
        taken = _taken_once(calibration, read)
        return _carry_out(replace(job, criterion=judged, calibration=taken))


def rehearse(model: nn.Module, recipe: Recipe, *, progress: Progress) -> PruneResult:
    """Run the stages of a recipe on a network, which stays as it is, and evaluate nothing.

    Raises:
        PrunekitError: with one sentence that says what, where, why and what to do next.
    """
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs, journal = inputs_for(model, recipe), Journal(progress)
        job = Job.begun(model, recipe, inputs, TraceOptions(), journal, work=None)
        return _carry_out(replace(job, evaluates=False))


def _carry_out(job: Job) -> PruneResult:
    aim = next_aim(job, job.dense, 0)
    check_masking(job)
    images = load_images(job)
    done = run_stages(job, images, aim)
    found = judge(job, done, images)
    report = summarise(job.recipe, found, job.journal.seconds)
    return PruneResult(done.model, found.plan, report, job.recipe, done.masks)


def _with_criterion(recipe: Recipe, given: object) -> tuple[Recipe, Criterion | None]:
    """Put a criterion that is given in Python into every stage that prunes."""
    if given is None:
        if any(stage.ranked and stage.ranked.criterion == "custom" for stage in recipe.steps):
            message = (
                "the recipe's criterion is 'custom', so it is given beside it; pass "
                "prunekit.prune(..., criterion=...), or name another in the recipe"
            )
            raise RecipeError(message)
        return recipe, None
    criterion = as_criterion(given)
    if not any(stage.ranked for stage in recipe.steps):
        message = (
            f"criterion={criterion.name!r} is given, but no stage of the recipe removes channels "
            "or blocks; leave it out"
        )
        raise RecipeError(message)
    name = criterion.name if criterion is CRITERIA.get(criterion.name) else "custom"
    mapping: dict[str, Any] = to_mapping(recipe)
    for stage in [mapping, *mapping.get("stages", ())]:
        if stage.get("prune", {}).get("method") in ("filter", "depth"):
            stage["prune"]["criterion"] = name
    return load_recipe(mapping), criterion


def _check_looked_at(recipe: Recipe, given: Criterion | None, calibration: object) -> None:
    """Refuse calibration data that nothing would look at."""
    named = [CRITERIA[s.ranked.criterion] for s in recipe.steps if s.ranked and given is None]
    criteria = [given] if given is not None else named
    if calibration is not None and not any(each.needs or each.takes for each in criteria):
        names = " and ".join(sorted({f"'{each.name}'" for each in criteria})) or "none"
        message = (
            f"calibration= is given, but the criterion {names} looks at no images; "
            "leave it out, or take another criterion, such as 'taylor'"
        )
        raise RecipeError(message)


def _taken_once(calibration: Iterable[Any] | None, recipe: Recipe) -> Iterable[Any] | None:
    """What a generator gives, for all stages: it gives that only once."""
    if not isinstance(calibration, Iterator):
        return calibration
    asked = [stage.ranked.calibration for stage in recipe.steps if stage.ranked]
    return tuple(islice(calibration, max((each or CalibrationSection()).batches for each in asked)))


def measure(model: nn.Module, recipe: Recipe, *, progress: Progress) -> Sensitivity:
    """Measure what removing units of each group alone costs, as the first stage that does so says.

    What that stage allocates by does not matter, but images are needed: a recipe that does not
    measure takes those of `data.train`, else of `data.evaluate`. The network stays as it is.

    Raises:
        PrunekitError: with one sentence; what was measured until then is kept.
    """
    section = next((stage.filters for stage in recipe.steps if stage.filters), None)
    if section is None:
        message = (
            "no stage of the recipe removes channels, so there is nothing to measure; add a "
            "'prune' with 'method: filter'"
        )
        raise RecipeError(message)
    if section.measuring is None:
        measured_on = _images_there(recipe)
        section = section.model_copy(
            update={"allocation": "sensitivity", "sensitivity": measured_on}
        )
    alone = recipe.model_copy(update={"prune": section, "train": None, "stages": None})
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        journal = Journal(progress)
        job = Job.begun(model, alone, inputs_for(model, alone), TraceOptions(), journal, work=None)
        images = load_images(replace(job, evaluates=False))
        probe = probe_for(job, section, images)
        assert probe is not None  # the section measures
        return stages.measure(
            model,
            job.graph,
            section,
            probe,
            seed=recipe.seed,
            calibration=calibration_for(job, section, images),
        )


def _images_there(recipe: Recipe) -> SensitivitySection:
    data = recipe.data
    if data is None or (data.train is None and data.evaluate is None):
        message = (
            "the recipe has no images to measure on; name some in 'data.train' or 'data.evaluate'"
        )
        raise RecipeError(message)
    return SensitivitySection(data="train" if data.train is not None else "evaluate")


def take_part(model: nn.Module, recipe: Recipe, *, work_folder: Path) -> None:
    """Run the stages beside the first process, which measures and writes what comes of them."""
    check_traceable(model)
    model = unwrap(model)
    with own_randomness(model):
        inputs, journal = inputs_for(model, recipe), Journal(Silent())
        job = Job.begun(model, recipe, inputs, TraceOptions(), journal, work=work_folder)
        aim = next_aim(job, model, 0)
        check_masking(job)
        run_stages(job, load_images(job), aim)
