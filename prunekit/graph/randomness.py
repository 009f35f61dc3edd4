"""Random numbers for a forward pass that the caller's generators do not notice."""

from __future__ import annotations

__all__ = ["own_randomness"]

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def own_randomness(model: nn.Module) -> Iterator[None]:
    """Start torch's generators from 0, and put them and those of Python and numpy back after."""
    gpus = sorted({p.device.index for p in model.parameters() if p.device.type == "cuda"})
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 (the caller's)
    try:
        with torch.random.fork_rng(devices=gpus):
            torch.default_generator.manual_seed(0)
            for gpu in gpus:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(0)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002 (as above)
