"""What a result leaves on disk, and the way back."""

from __future__ import annotations

__all__ = ["load", "write_result"]

from pathlib import Path

from torch import nn

from prunekit.errors import FileFormatError
from prunekit.files import write_atomic
from prunekit.pipeline.origin import build_origin, origin_of
from prunekit.plan import Plan
from prunekit.recipe import ModelSection, Recipe, UnstructuredSection, dump_recipe
from prunekit.report import Report, to_html, to_json, to_markdown
from prunekit.sparse import Masks, is_sparse, load_sparse, read_sparse, save_sparse
from prunekit.surgery import SLIM_FILE, load_slim, read_slim, save_slim

_RENDERERS = {"html": to_html, "md": to_markdown}


def write_result(
    folder: Path,
    model: nn.Module,
    plan: Plan,
    report: Report,
    recipe: Recipe,
    *,
    origin: ModelSection | None,
    masks: Masks | None = None,
) -> None:
    """Write the network, the plan, the recipe and the report into a folder.

    `origin` says how the dense network was built, if that is known. A network with masks goes into
    a sparse file, unless the recipe asks for a dense one.
    """
    keys = {"network", "factory", "arguments"}
    network = origin.model_dump(include=keys) if origin else origin_of(model)
    if masks is not None and _stores_sparse(recipe):
        save_sparse(folder / SLIM_FILE, model, plan, masks, network)
    else:
        save_slim(folder / SLIM_FILE, model, plan, network)
    write_atomic(folder / "plan.json", plan.to_json())
    write_atomic(folder / "recipe.yaml", dump_recipe(recipe))
    write_atomic(folder / "report.json", to_json(report))
    for name in recipe.report.formats:
        if name in _RENDERERS:
            write_atomic(folder / f"report.{name}", _RENDERERS[name](report))


def _stores_sparse(recipe: Recipe) -> bool:
    """What the last stage says that has a say in it."""
    sections = [s.prune for s in recipe.steps if isinstance(s.prune, UnstructuredSection)]
    return bool(sections) and sections[-1].store == "sparse"


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Load the slim network of a run folder or of a `slim.safetensors` file, dense or sparse.

    Args:
        path: the folder or the file.
        model: a dense network built as the original was; its weights do not matter and it stays
            as it is. Not needed for built-in networks and those of spandrel.

    Raises:
        FileFormatError: the file is missing, damaged or foreign, or does not tell how to build
            the dense network.
        SurgeryError: the model is not the network that was pruned.
    """
    if not isinstance(path, str | Path):  # callers without a type checker
        message = f"a slim network is loaded from a path, not from {type(path).__name__}"  # type: ignore[unreachable]
        raise FileFormatError(message)
    file = Path(path)
    if is_sparse(file):
        origin = build_origin(file, read_sparse(file).content) if model is None else model
        return load_sparse(file, origin).eval()
    dense = build_origin(file, read_slim(file)) if model is None else model
    return load_slim(file, dense).eval()
