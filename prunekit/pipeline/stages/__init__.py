"""The stages of a run: prune, train, evaluate and count, each from plain data to plain data."""

__all__ = [
    "EitherPairs",
    "Evaluation",
    "Masked",
    "Pruned",
    "calibrate",
    "carry_out",
    "count",
    "count_on",
    "count_otherwise",
    "evaluate_all",
    "load_held_out",
    "load_training",
    "mask",
    "measure",
    "open_cache",
    "pictures",
    "probe_on",
    "prune",
    "read_graph",
    "rebuild",
    "rehearse_masks",
    "soften",
    "time_all",
    "train",
]

from prunekit.pipeline.stages.data import (
    EitherPairs,
    calibrate,
    load_held_out,
    load_training,
    open_cache,
    pictures,
)
from prunekit.pipeline.stages.filters import (
    Pruned,
    carry_out,
    measure,
    probe_on,
    prune,
    read_graph,
    rebuild,
    soften,
)
from prunekit.pipeline.stages.judging import (
    Evaluation,
    count,
    count_on,
    count_otherwise,
    evaluate_all,
    time_all,
)
from prunekit.pipeline.stages.masks import Masked, mask, rehearse_masks
from prunekit.pipeline.stages.training import train
