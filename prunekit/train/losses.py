"""How far a network's output is from what it should be."""

from __future__ import annotations

__all__ = ["LOSSES", "Loss", "total_loss"]

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


def _fft(sr: Tensor, hr: Tensor) -> Tensor:
    """L1 of real and imaginary parts of the spectrum (Cho et al., MIMO-UNet, ICCV 2021)."""
    spectrum = torch.view_as_real(torch.fft.rfft2((sr - hr).float()))
    return spectrum.abs().mean()


LOSSES: Mapping[LossName, Loss] = {
    "l1": functional.l1_loss,
    "charbonnier": _charbonnier,
    "mse": functional.mse_loss,
    "fft": _fft,
}


def total_loss(sr: Tensor, hr: Tensor, weights: Mapping[LossName, float]) -> Tensor:
    """Sum of several losses, each by its weight."""
    terms = [weight * LOSSES[name](sr, hr) for name, weight in weights.items()]
    return torch.stack(terms).sum() if len(terms) > 1 else terms[0]
