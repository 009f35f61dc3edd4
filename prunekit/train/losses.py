"""How far a network's output is from what it should be."""

from __future__ import annotations

__all__ = ["LOSSES", "Loss"]

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from prunekit.train.options import LossName

Loss = Callable[[Tensor, Tensor], Tensor]

_EPSILON = 1e-6


def _charbonnier(sr: Tensor, hr: Tensor) -> Tensor:
    """L1, rounded off at zero (Charbonnier et al., 1994)."""
    return torch.sqrt((sr - hr) ** 2 + _EPSILON**2).mean()


LOSSES: Mapping[LossName, Loss] = {
    "l1": functional.l1_loss,
    "charbonnier": _charbonnier,
    "mse": functional.mse_loss,
}
