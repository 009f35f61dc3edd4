"""How a network stands while it is used: training or evaluation mode, device and dtype."""

from __future__ import annotations

__all__ = ["in_mode", "placement"]

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Hold a network in one mode, then give every module back its own, also after a failure."""
    modes = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def placement(model: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Return the device and floating-point dtype of a network's first such tensor."""
    for tensor in chain(model.parameters(), model.buffers()):
        if tensor.is_floating_point():
            return tensor.device, tensor.dtype
    return torch.device("cpu"), torch.get_default_dtype()
