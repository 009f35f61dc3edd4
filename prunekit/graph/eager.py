"""Hold off what would hide a network's own operators, or change the caller's state."""

from __future__ import annotations

__all__ = ["eager", "quiet_fakes"]

import logging
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import nn

from prunekit.graph.caches import uncached
from prunekit.graph.randomness import own_randomness


@contextmanager
def eager(model: nn.Module) -> Iterator[None]:
    """Run a forward pass plainly: no gradients, no compiled code, no fused kernels, no caches.

    Random numbers start from a fixed seed. Everything is as it was afterwards.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(own_randomness(model))
        stack.enter_context(uncached(model))
        stack.enter_context(_no_fused_attention())
        stack.enter_context(quiet_fakes())
        if "torch._dynamo" in sys.modules:  # without it nothing is compiled
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        yield


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    """Keep attention layers from the single operator that they become in evaluation mode."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(value=False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(value=before)


@contextmanager
def quiet_fakes() -> Iterator[None]:
    """Keep torch from logging the traceback of an error that is raised and dealt with."""
    logger = logging.getLogger("torch._subclasses.fake_tensor")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
