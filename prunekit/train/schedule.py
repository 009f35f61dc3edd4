"""The learning rate at every step."""

from __future__ import annotations

__all__ = ["learning_rate_at"]

import math

from prunekit.train.options import TrainOptions


def learning_rate_at(step: int, options: TrainOptions) -> float:
    """Return the learning rate of a step, counted from 0.

    It rises linearly to its full value over the warm-up, then stays, or falls along half a cosine
    that would reach 0 one step after the last.
    """
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    if options.schedule == "constant":
        return options.learning_rate
    done = (step - options.warmup) / (options.steps - options.warmup)
    return options.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
