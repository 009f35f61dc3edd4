"""What a result leaves on disk, and the way back."""

from __future__ import annotations

__all__ = ["load", "write_result"]

from pathlib import Path

from torch import nn

from prunekit.errors import FileFormatError
from prunekit.files import write_atomic
from prunekit.nets import NETWORKS, create
from prunekit.plan import Plan
from prunekit.recipe import ModelSection, Recipe, dump_recipe
from prunekit.report import Report, to_html, to_json, to_markdown
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
) -> None:
    """Write the network, the plan, the recipe and the report into a folder.

    `origin` says how the dense network was built, if that is known.
    """
    network = origin.model_dump(include={"network", "factory", "arguments"}) if origin else {}
    save_slim(folder / SLIM_FILE, model, plan, network)
    write_atomic(folder / "plan.json", plan.to_json())
    write_atomic(folder / "recipe.yaml", dump_recipe(recipe))
    write_atomic(folder / "report.json", to_json(report))
    for name in recipe.report.formats:
        if name in _RENDERERS:
            write_atomic(folder / f"report.{name}", _RENDERERS[name](report))


def load(path: str | Path, model: nn.Module | None = None) -> nn.Module:
    """Load the slim network of a run folder or of a `slim.safetensors` file.

    Args:
        path: the folder or the file.
        model: a dense network built as the original was; its weights do not matter and it stays
            as it is. Not needed for built-in networks.

    Raises:
        FileFormatError: the file is missing, damaged or foreign, or names no built-in network.
        SurgeryError: the model is not the network that was pruned.
    """
    if not isinstance(path, str | Path):  # callers without a type checker
        message = f"a slim network is loaded from a path, not from {type(path).__name__}"  # type: ignore[unreachable]
        raise FileFormatError(message)
    file = Path(path)
    return load_slim(file, _built_in(file) if model is None else model).eval()


def _built_in(file: Path) -> nn.Module:
    network = read_slim(file).network
    name, arguments = network.get("network"), network.get("arguments") or {}
    if isinstance(name, str) and name in NETWORKS and isinstance(arguments, dict):
        return create(name, **arguments)
    source = network.get("factory") or "a network of your own"
    message = f"{file}: was made from {source}; build it and pass it as `model`"
    raise FileFormatError(message)
