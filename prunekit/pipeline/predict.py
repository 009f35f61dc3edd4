"""What a plan would come to, as dense and slim figures in a few rows."""

from __future__ import annotations

__all__ = ["Prediction", "predict"]

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from prunekit.errors import TraceError
from prunekit.graph import ChannelGraph, trace
from prunekit.measure.latency import measure_latency
from prunekit.pipeline.build import example_input
from prunekit.pipeline.prune import PruneResult
from prunekit.plan import Cost, PeakMemory, macs_cost, params_cost
from prunekit.progress import Progress
from prunekit.recipe import Recipe

_OUTPUT_SIZE = (1280, 720)
"""Size at which papers count, width and height, where a recipe names none."""

_REPEATS, _WARMUP = 5, 2


@dataclass(frozen=True)
class Prediction:
    """A cost before and after."""

    name: str
    dense: float
    slim: float
    unit: str
    """What it is counted in; "" for a plain number."""
    condition: str
    """Output size or whatever else it holds for; "" if none."""


def predict(
    dense: nn.Module, result: PruneResult, recipe: Recipe, *, progress: Progress
) -> tuple[Prediction, ...]:
    """Parameters, MACs and peak memory by the channel graph, and times where a recipe wants them.

    Those that depend on a size are for the one that the recipe names, else for 1280x720 output
    pixels, else, for a network that takes no such image, for the traced one.
    """
    graph = _sized_graph(dense, recipe)
    slim = graph if not result.plan.blocks else trace(result.model, _input(result.model, graph))
    widths = {name: w for name, w in result.plan.widths.items() if name in graph.widths}
    widths = widths if slim is graph else {}
    height, width = graph.output_shapes[0][-2:] if graph.scale else graph.input_shapes[0][-2:]
    at = f"{width}x{height} output pixels" if graph.scale else "the traced input"
    costs: tuple[tuple[str, Callable[[ChannelGraph], Cost], float, str, str], ...] = (
        ("parameters", params_cost, 1, "", ""),
        ("MACs", macs_cost, 1, "", at),
        ("peak memory of activations", PeakMemory, 2**20, "MiB", f"{at}, float32"),
    )
    rows = [
        Prediction(name, of(graph)({}) / size, of(slim)(widths) / size, unit, condition)
        for name, of, size, unit, condition in costs
    ]
    if _wants_times(recipe) and graph.scale is not None:
        rows.append(_timed(dense, result.model, graph, at, progress))
    return tuple(rows)


def _sized_graph(dense: nn.Module, recipe: Recipe) -> ChannelGraph:
    """Trace at the size that counts, or as the recipe's model section says."""
    assert recipe.model is not None  # checked
    graph = trace(dense, example_input(recipe.model.input_shape, dense))
    if graph.scale is None:
        return graph
    width, height = (side // graph.scale for side in _size(recipe))
    batch, channels, *_ = recipe.model.input_shape
    try:
        sized = trace(dense, example_input((batch, channels, height, width), dense))
    except TraceError:  # it takes no image of this size
        return graph
    return sized if sized.widths == graph.widths else graph


def _input(model: nn.Module, graph: ChannelGraph) -> Tensor:
    (shape, *_) = graph.input_shapes
    return example_input(shape, model)


def _size(recipe: Recipe) -> tuple[int, int]:
    stated = [stage.ranked.target.output_size for stage in recipe.steps if stage.ranked]
    latency = recipe.evaluate.latency if recipe.evaluate else None
    sizes = [*stated, latency.output_size if latency else None, _OUTPUT_SIZE]
    return next(size for size in sizes if size is not None)


def _wants_times(recipe: Recipe) -> bool:
    asked = {name for stage in recipe.steps if stage.filters for name in stage.filters.target.asked}
    measured = recipe.evaluate is not None and recipe.evaluate.latency is not None
    return measured or not asked.isdisjoint({"latency_ratio", "latency_ms"})


def _timed(
    dense: nn.Module, slim: nn.Module, graph: ChannelGraph, at: str, progress: Progress
) -> Prediction:
    batch, channels, height, width = graph.input_shapes[0]
    found = measure_latency(
        {"dense": dense, "slim": slim},
        input_shape=(batch, channels, height, width),
        repeats=_REPEATS,
        warmup=_WARMUP,
        progress=progress,
    )
    before, after = found["dense"], found["slim"]
    condition = f"{at}, {before.device}, {before.threads} threads, measured"
    return Prediction("latency", before.median_ms, after.median_ms, "ms", condition)
