"""The learning rate at every step."""

from __future__ import annotations

__all__ = ["learning_rate_at"]

import math

from prunekit.train.options import TrainOptions


def learning_rate_at(step: int, options: TrainOptions, *, spent: float = 0.0) -> float:
    """Return the learning rate of a step, counted from 0.

    It rises linearly to its full value over the warm-up, if time lasts. Then it stays; is
    multiplied by `gamma` after every milestone; or falls along half a cosine that would reach its
    end one step after the last.

    Args:
        step: steps done before this one.
        options: of the training.
        spent: share of the budget of time that is used up; where that is more than the share of
            the steps, it is the place in the schedule.
    """
    rate = _scheduled(step, options, min(spent, 1.0))
    if step < options.warmup:
        return min(rate, options.learning_rate * (step + 1) / options.warmup)
    return rate


def _scheduled(step: int, options: TrainOptions, spent: float) -> float:
    """The rate without the warm-up, over which it is at its full value unless time runs out."""
    span = options.steps - options.warmup
    if options.schedule == "constant":
        return options.learning_rate
    if options.schedule == "multistep":
        place = max(step, options.warmup + spent * span)
        passed = sum(place >= milestone for milestone in options.milestones)
        return float(options.learning_rate * options.gamma**passed)
    done = max((step - options.warmup) / span, spent)
    least = options.min_learning_rate
    return least + (options.learning_rate - least) * 0.5 * (1 + math.cos(math.pi * done))
