"""Score networks, count what they cost, and time them."""

from __future__ import annotations

__all__ = ["Evaluation", "count", "count_on", "count_otherwise", "evaluate_all", "time_all"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from prunekit.data.image import Image
from prunekit.graph import Inputs
from prunekit.measure.cost import Cost, measure_cost, measure_cost_of
from prunekit.measure.counters import CounterResult, cross_check
from prunekit.measure.evaluate import evaluate, evaluate_bicubic
from prunekit.measure.feed import Feed
from prunekit.measure.latency import Latency, measure_latency
from prunekit.measure.protocol import Protocol
from prunekit.measure.scores import Scores
from prunekit.pipeline.stages.data import EitherPairs
from prunekit.progress import Progress
from prunekit.recipe import LatencySection
from prunekit.report.content import BICUBIC


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How good a network is, and what it made of the images."""

    scores: Scores
    outputs: tuple[Image, ...]
    """8-bit, of the images that are shown, in their order."""


def evaluate_all(
    models: Mapping[str, nn.Module],
    pairs: EitherPairs,
    protocol: Protocol,
    feed: Feed | None,
    *,
    shown: Sequence[str],
    progress: Progress,
) -> dict[str, Evaluation]:
    """Score networks and bicubic on held-out images or clips.

    What they make of those that are `shown` by name is kept.
    """
    found = {}
    for name, model in {**models, BICUBIC: None}.items():
        kept = _Kept(dict.fromkeys(shown))
        if model is None:
            scores = evaluate_bicubic(pairs, protocol, take=kept.take)
        else:
            scores = evaluate(
                model, pairs, protocol, feed=feed, progress=progress, name=name, take=kept.take
            )
        found[name] = Evaluation(scores, kept.outputs)
    return found


@dataclass(frozen=True)
class _Kept:
    """Outputs by name, of the names that are in there from the beginning."""

    by_name: dict[str, Image | None]

    def take(self, name: str, output: Image) -> None:
        if name in self.by_name:
            self.by_name[name] = output

    @property
    def outputs(self) -> tuple[Image, ...]:
        return tuple(output for output in self.by_name.values() if output is not None)


def count(
    models: Mapping[str, nn.Module],
    *,
    scale: int,
    output_size: tuple[int, int],
    feed: Feed | None = None,
    with_values: bool = False,
    at_most: int | None = None,
) -> dict[str, Cost]:
    """Parameters and multiply-accumulates at an output size (width, height).

    Of one image, or of one frame of a clip that a network of video is given as `feed` says.
    Nothing is run but where values are asked for. Raises `MeasureError` for a network that runs
    more than `at_most` operators.
    """
    return {
        name: measure_cost(
            model,
            scale=scale,
            output_size=output_size,
            feed=feed,
            with_values=with_values,
            at_most=at_most,
        )
        for name, model in models.items()
    }


def count_on(
    models: Mapping[str, nn.Module], inputs: Inputs, *, with_values: bool = False
) -> dict[str, Cost]:
    """Parameters and multiply-accumulates on inputs that are neither an image nor a clip."""
    return {
        name: measure_cost_of(model, inputs, with_values=with_values)
        for name, model in models.items()
    }


def count_otherwise(
    models: Mapping[str, nn.Module], inputs: torch.Tensor, *, progress: Progress
) -> dict[str, tuple[CounterResult, ...]]:
    """Ask other counters too, at the size of the example input."""
    progress.start("cross-check macs", len(models))
    results = {}
    for name, model in models.items():
        results[name] = cross_check(model, (inputs,))
        progress.advance()
    progress.finish()
    return results


def time_all(
    models: Mapping[str, nn.Module],
    section: LatencySection,
    *,
    scale: int,
    feed: Feed | None = None,
    progress: Progress,
) -> dict[str, Latency]:
    """Measure the latency of networks in turns, of an image or a clip, at an output size."""
    width, height = (side // scale for side in section.output_size)
    frames = () if feed is None or feed.frames is None else (feed.frames,)
    return measure_latency(
        models,
        input_shape=(1, *frames, 3, height, width),
        repeats=section.repeats,
        warmup=section.warmup,
        progress=progress,
    )
