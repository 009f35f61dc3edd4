"""What came of a run: counted, timed and evaluated."""

from __future__ import annotations

__all__ = ["judge"]

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from prunekit.errors import MeasureError
from prunekit.measure.cost import Cost
from prunekit.pipeline import stages
from prunekit.pipeline.course import Done
from prunekit.pipeline.images import Images
from prunekit.pipeline.job import Job, feed_of, takes_images
from prunekit.pipeline.sparsity import measure_sparsity
from prunekit.pipeline.summary import Findings
from prunekit.report.content import DENSE, SLIM, SLIM_BEFORE

_OUTPUT_SIZE = (1280, 720)
"""Size at which papers count, width and height, where a recipe names none."""


_PATIENCE = (10_000, 4)
"""Operators that are waited for at that size, at least, and as a multiple of those at the traced
one: a loop over the pixels of such an image takes hours."""


def judge(job: Job, done: Done, images: Images) -> Findings:
    """Count, time and evaluate whatever the recipe asks for and the network allows."""
    assert done.plan is not None  # a recipe prunes at least once
    ends = {DENSE: done.dense, SLIM: done.model}
    between = {SLIM_BEFORE: done.before_training} if done.before_training is not None else {}
    networks = {DENSE: done.dense, **between, SLIM: done.model}
    found = Findings(
        job.graph,
        done.plan,
        done.verifications,
        done.curves,
        skipped=images.skipped,
        sparsity=None
        if done.masks is None
        else measure_sparsity(done.model, done.plan, done.masks, done.mask_proofs),
        reached=done.reached,
    )
    recipe, scale = job.recipe, job.graph.scale
    section = recipe.evaluate if job.evaluates else None
    latency = section.latency if section else None
    size = latency.output_size if latency else _OUTPUT_SIZE
    found = replace(found, costs=_count(job, networks, size))
    if section is None or scale is None or images.held_out is None:
        return found
    if isinstance(job.inputs, Tensor):
        counters = stages.count_otherwise(ends, job.inputs, progress=job.journal)
        found = replace(found, counters=counters, counted_at=tuple(job.inputs.shape))
    if latency is not None:
        times = stages.time_all(ends, latency, scale=scale, feed=feed_of(job), progress=job.journal)
        found = replace(found, latencies=times)
    shown = stages.pictures(images.held_out) if recipe.report.crops else ()
    evaluations = stages.evaluate_all(
        networks,
        images.held_out,
        recipe.protocol,
        images.feed,
        shown=[pair.name for pair in shown],
        progress=job.journal,
    )
    return replace(found, evaluations=evaluations, pairs=shown)


def _count(
    job: Job, networks: Mapping[str, nn.Module], output_size: tuple[int, int]
) -> dict[str, Cost]:
    """Count at an output size, or at the traced one where the network takes no other."""
    scale, feed, asks = job.graph.scale, feed_of(job), bool(job.graph.notes)
    try:
        if scale is None or (feed is None and not takes_images(job)):
            return stages.count_on(networks, job.inputs, with_values=asks)
        counted = partial(stages.count, networks, scale=scale, feed=feed)
        least, times = _PATIENCE
        try:
            patience = max(least, times * job.graph.operators)
            return counted(output_size=output_size, at_most=patience)
        except MeasureError as error:
            height, width = job.graph.output_shapes[0][-2:]
            job.journal.warn(f"{error}; macs are stated for {width}x{height} output pixels instead")
            return counted(output_size=(width, height), with_values=asks)
    except MeasureError as error:
        job.journal.warn(f"{error}; no macs are stated")
        return {}
