"""Optimizers by the names that recipes use."""

from __future__ import annotations

__all__ = ["make_optimizer"]

from collections.abc import Sequence

import torch
from torch import nn

from prunekit.train.options import TrainOptions


def make_optimizer(
    parameters: Sequence[nn.Parameter], options: TrainOptions
) -> torch.optim.Optimizer:
    """Make the optimizer of the options, over one group of parameters."""
    rate, decay, betas = options.learning_rate, options.weight_decay, options.betas
    match options.optimizer:
        case "adam":
            return torch.optim.Adam(parameters, lr=rate, betas=betas, weight_decay=decay)
        case "adamw":
            return torch.optim.AdamW(parameters, lr=rate, betas=betas, weight_decay=decay)
        case "adamax":
            return torch.optim.Adamax(parameters, lr=rate, betas=betas, weight_decay=decay)
        case "sgd":
            return torch.optim.SGD(parameters, lr=rate, momentum=betas[0], weight_decay=decay)
