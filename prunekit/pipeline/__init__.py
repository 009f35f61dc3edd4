"""The whole run, one call a stage; `run.run` is the place to start reading."""

__all__ = [
    "Preview",
    "PruneResult",
    "RunResult",
    "check",
    "evaluate",
    "follow",
    "inspect",
    "inspect_blocks",
    "is_first_process",
    "load",
    "preview",
    "prune",
    "run",
    "sensitivity",
    "upscale",
]

from prunekit.pipeline.evaluate import evaluate
from prunekit.pipeline.prune import PruneResult, prune
from prunekit.pipeline.run import (
    Preview,
    RunResult,
    check,
    follow,
    inspect,
    inspect_blocks,
    is_first_process,
    preview,
    run,
    sensitivity,
)
from prunekit.pipeline.store import load
from prunekit.pipeline.upscale import upscale
