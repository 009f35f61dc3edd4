"""The moving average of a network's weights."""

from __future__ import annotations

__all__ = ["MovingAverage"]

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """`average <- decay * average + (1 - decay) * weights`, after every step.

    Parameters that are trained are averaged, in float32 at least, since a step is lost in half
    precision; everything else of the state is taken as it is.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._decay = decay
        self._weights = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._average = {n: _precise(p) for n, p in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of one more step in."""
        averages = list(self._average.values())
        weights = [
            p.detach().to(average.dtype)
            for average, p in zip(averages, self._weights.values(), strict=True)
        ]
        torch._foreach_lerp_(averages, weights, 1 - self._decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the average for a while."""
        kept = {name: p.detach().clone() for name, p in self._weights.items()}
        self._write(self._average)
        try:
            yield
        finally:
            self._write(kept)

    def finish(self) -> None:
        """Give the network the average for good."""
        self._write(self._average)

    def state(self) -> Mapping[str, Tensor]:
        """The average, by name of the parameter."""
        return self._average

    @torch.no_grad()
    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        for name, average in self._average.items():
            average.copy_(state[name])

    @torch.no_grad()
    def _write(self, weights: Mapping[str, Tensor]) -> None:
        for name, parameter in self._weights.items():
            parameter.copy_(weights[name])


def _precise(parameter: Tensor) -> Tensor:
    """A copy in float32, or in its own type if that is wider."""
    dtype = torch.promote_types(parameter.dtype, torch.float32)
    return parameter.detach().to(dtype, copy=True)
