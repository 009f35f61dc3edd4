"""Prune any super-resolution network through its channel dependency graph, and prove the result.

Names are imported when they are first used, so that `prunekit --help` does not wait for torch.
"""

from __future__ import annotations

__all__ = [
    "ChannelGraph",
    "Plan",
    "PruneResult",
    "PrunekitError",
    "Recipe",
    "Scores",
    "__version__",
    "evaluate",
    "export",
    "load",
    "prune",
    "trace",
    "upscale",
]

import random
from importlib import import_module
from typing import TYPE_CHECKING

from prunekit.errors import PrunekitError
from prunekit.version import __version__

if TYPE_CHECKING:
    from prunekit.graph import ChannelGraph, trace
    from prunekit.measure.scores import Scores
    from prunekit.pipeline import PruneResult, evaluate, load, prune, upscale
    from prunekit.plan import Plan
    from prunekit.recipe import Recipe
    from prunekit.surgery import export

_HOMES = {
    "ChannelGraph": "prunekit.graph",
    "Plan": "prunekit.plan",
    "PruneResult": "prunekit.pipeline",
    "Recipe": "prunekit.recipe",
    "Scores": "prunekit.measure.scores",
    "evaluate": "prunekit.pipeline",
    "export": "prunekit.surgery",
    "load": "prunekit.pipeline",
    "prune": "prunekit.pipeline",
    "trace": "prunekit.graph",
    "upscale": "prunekit.pipeline",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        message = f"module 'prunekit' has no attribute '{name}'"
        raise AttributeError(message)
    state = random.getstate()  # some package draws a number when it is imported
    try:
        return getattr(import_module(_HOMES[name]), name)
    finally:
        random.setstate(state)


def __dir__() -> list[str]:
    return sorted(__all__)
