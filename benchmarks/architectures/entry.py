"""One network of the registry: how it is built, and what it is given."""

from __future__ import annotations

__all__ = ["Architecture", "Shape"]

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.architectures.torchvision_ops import ensure_torchvision

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Architecture:
    """A network of a public package with the arguments of its published form."""

    name: str
    """`package/network-variant`, unique in the registry."""
    target: str
    """Where the class or function that builds it is, `module:attribute`; imported when built."""
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    inputs: tuple[Shape | int, ...] = ((1, 3, 32, 48),)
    """Positional inputs: the shape of a tensor, or a plain integer."""
    step: int = 32
    """Another size that it takes is this much higher and wider; 0 where it takes but one."""
    note: str = ""

    @property
    def package(self) -> str:
        """Package it comes from."""
        return self.name.partition("/")[0]

    def build(self) -> nn.Module:
        """Build it with random weights in evaluation mode; nothing is downloaded."""
        ensure_torchvision()
        module, _, attribute = self.target.partition(":")
        factory = getattr(importlib.import_module(module), attribute)
        model: nn.Module = factory(**self.arguments)
        return model.eval()

    def example(self, *, larger: bool = False) -> tuple[Tensor | int, ...]:
        """Inputs with seeded values between 0 and 1, at the other size if asked for."""
        seeded = torch.Generator().manual_seed(0)
        return tuple(
            torch.rand(self._grown(x) if larger else x, generator=seeded)
            if isinstance(x, tuple)
            else x
            for x in self.inputs
        )

    def _grown(self, shape: Shape) -> Shape:
        return (*shape[:-2], *(side + self.step for side in shape[-2:]))
