"""Checking that what a recipe refers to exists, before any work starts."""

from __future__ import annotations

__all__ = ["check_model", "check_references", "import_factory"]

import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Literal

from prunekit.data.folders import NO_CLIP, NO_IMAGE
from prunekit.data.image import SUFFIXES
from prunekit.data.photographs import PHOTOGRAPHS, photograph_folder
from prunekit.errors import DataError, RecipeError, did_you_mean
from prunekit.recipe.nodes import Place, shown
from prunekit.recipe.sections.images import ImagesSection, ModelSection
from prunekit.recipe.sections.whole import Recipe

WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt")

_REST = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)

_THE_RECIPE = Place("the recipe")


def check_references(recipe: Recipe, *, where: Callable[..., Place] | None = None) -> None:
    """Raise `RecipeError` for a network, factory, file or folder that does not exist.

    A factory is imported, which runs its module; nothing else is run and nothing is written.
    `where(*path)` tells where a key was written (`Draft.place`), to name file and line.
    """
    place = where or (lambda *_: _THE_RECIPE)
    try:
        if recipe.model is not None:
            check_model(recipe.model, where=lambda *path: place("model", *path))
        for key, images in _images(recipe):
            _check_images(images, f"data.{key}", place("data", key))
        _check_criteria(recipe, place)
        _check_output(recipe.output, "output", place("output"))
        if recipe.data is not None and recipe.data.cache.folder is not None:
            _check_output(recipe.data.cache.folder, "data.cache.folder", place("data", "cache"))
    except OSError as error:  # no permission, a name too long, a loop of links
        message = f"{_THE_RECIPE} names {error.filename}, which cannot be used: {error.strerror}"
        raise RecipeError(message) from error


def check_model(model: ModelSection, *, where: Callable[..., Place]) -> None:
    """Raise `RecipeError` unless the network exists, takes the arguments, and its weights exist."""
    if model.network is not None:
        _check_built_in(model.network, model.arguments, where)
    if model.factory is not None:
        factory = import_factory(model.factory, where("factory"))
        _check_arguments(factory, model.factory, model.arguments, where("arguments"))
    if model.weights is not None:
        _check_weights(model.weights, where("weights"))


def _check_built_in(
    network: str, arguments: Mapping[str, object], where: Callable[..., Place]
) -> None:
    from prunekit.nets import check_arguments, names  # noqa: PLC0415 (torch takes seconds)

    if network not in names():
        message = (
            f"{where('network')}: there is no built-in network {shown(network)}"
            f"{did_you_mean(network, names())}"
        )
        raise RecipeError(message)
    try:
        check_arguments(network, arguments)
    except RecipeError as error:
        message = f"{where('arguments')}: {error}"
        raise RecipeError(message) from error


def _check_criteria(recipe: Recipe, place: Callable[..., Place]) -> None:
    """Refuse a criterion that nobody gives, or that has no images to look at."""
    for number, stage in enumerate(recipe.steps):
        section = stage.ranked
        if section is None:
            continue
        path = ("prune",) if recipe.stages is None else ("stages", number, "prune")
        where, criterion = place(*path, "criterion"), section.criterion
        if criterion == "custom":
            message = (
                f"{where}: 'criterion' is 'custom', which is given in Python alone, as "
                "prunekit.prune(..., criterion=...); name another here"
            )
            raise RecipeError(message)
        if section.looks_at_images and (recipe.data is None or recipe.data.train is None):
            message = (
                f"{where}: the criterion '{criterion}' looks at images, but there is no "
                "'data.train' that names them; add it, or take one of weights, such as 'l2'"
            )
            raise RecipeError(message)


def import_factory(reference: str, place: Place = _THE_RECIPE) -> Callable[..., object]:
    """Import `package.module:name`, the user's own code, and return what it names."""
    module_name, _, names = reference.partition(":")
    module = _import(module_name, reference, place)
    try:
        factory = reduce(getattr, names.split("."), module)
    except AttributeError as error:
        known = [name for name in vars(module) if not name.startswith("_")]
        hint = did_you_mean(names, known)
        hint = hint if "did you mean" in hint else ""
        message = f"{place}: the factory '{reference}' names nothing in '{module_name}'{hint}"
        raise RecipeError(message) from error
    if not callable(factory):
        kind = type(factory).__name__
        message = f"{place}: the factory '{reference}' is a {kind}; name a class or function"
        raise RecipeError(message)
    return factory


def _import(name: str, reference: str, place: Place) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        if name == missing or name.startswith(f"{missing}."):
            message = (
                f"{place}: the module of the factory '{reference}' is not found: there is no "
                f"'{missing}'; install it, or run where Python finds it"
            )
        else:
            message = f"{place}: the factory '{reference}' needs '{missing}'; install it"
        raise RecipeError(message) from error
    except (Exception, SystemExit) as error:
        message = (
            f"{place}: the factory '{reference}' cannot be imported: "
            f"{type(error).__name__}: {error}"
        )
        raise RecipeError(message) from error


def _check_arguments(
    factory: Callable[..., object], reference: str, arguments: Mapping[str, object], place: Place
) -> None:
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):  # some callables do not tell what they take
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        known = [name for name, taken in signature.parameters.items() if taken.kind not in _REST]
        wrong = next((key for key in arguments if key not in known), None)
        why = f"there is no {shown(wrong)}{did_you_mean(wrong, known)}" if wrong else str(error)
        message = f"{place}: 'model.arguments' do not fit '{reference}': {why}"
        raise RecipeError(message) from error


def _check_output(output: Path, key: str, place: Place) -> None:
    if output.exists() and not output.is_dir():
        message = f"{place}: '{key}' is {output}, which is not a folder"
        raise RecipeError(message)


def _check_weights(weights: Path, place: Place) -> None:
    what = f"{place}: 'model.weights' is {weights}, which"
    _need(weights, "file", what)
    if weights.suffix.lower() not in WEIGHTS_SUFFIXES:
        message = f"{what} is of no kind that can be read; there is {', '.join(WEIGHTS_SUFFIXES)}"
        raise RecipeError(message)


def _images(recipe: Recipe) -> Iterator[tuple[str, ImagesSection]]:
    if recipe.data is not None and recipe.data.train is not None:
        yield "train", recipe.data.train
    if recipe.data is not None and recipe.data.evaluate is not None:
        yield "evaluate", recipe.data.evaluate


def _check_images(images: ImagesSection, key: str, place: Place) -> None:
    listing = _images_in if images.clips is None else _clips_in
    if images.photographs is not None:
        known = set(PHOTOGRAPHS)
        _check_photographs(key, place)
    else:
        name, folder = ("folder", images.folder) if images.folder else ("clips", images.clips)
        assert folder is not None  # a section has one of the three
        known = listing(folder, f"{place}: '{key}.{name}' is {folder}, which")
    if images.lr_folder is not None:
        listing(images.lr_folder, f"{place}: '{key}.lr_folder' is {images.lr_folder}, which")
    for name in images.names or ():
        if name not in known:
            message = f"{place}: '{key}.names' has {shown(name)}{did_you_mean(name, known)}"
            raise RecipeError(message)


def _check_photographs(key: str, place: Place) -> None:
    try:
        photograph_folder()
    except DataError as error:
        message = f"{place}: '{key}': {error}"
        raise RecipeError(message) from error


def _clips_in(folder: Path, what: str) -> set[str]:
    names = {entry.name for entry in _entries(folder, what) if entry.is_dir()}
    if not names:
        message = f"{what} {NO_CLIP}"
        raise RecipeError(message)
    return names


def _images_in(folder: Path, what: str) -> set[str]:
    files = _entries(folder, what)
    names = {file.stem for file in files if file.suffix.lower() in SUFFIXES}
    if not names:
        message = f"{what} {NO_IMAGE}"
        raise RecipeError(message)
    return names


def _entries(folder: Path, what: str) -> list[Path]:
    """Return what is in a folder and not hidden."""
    _need(folder, "folder", what)
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _need(path: Path, kind: Literal["file", "folder"], what: str) -> None:
    if not path.exists():
        message = f"{what} does not exist"
        raise RecipeError(message)
    if not (path.is_file() if kind == "file" else path.is_dir()):
        message = f"{what} is not a {kind}"
        raise RecipeError(message)
