"""Weights that a layer keeps as a direction and a gain (Salimans and Kingma, 2016)."""

from __future__ import annotations

__all__ = ["directions_of"]

from torch import nn
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm


def directions_of(model: nn.Module) -> dict[str, int]:
    """Name of every direction, with the axis along which each has a length of its own."""
    found = {}
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        for hook in module._forward_pre_hooks.values():
            if isinstance(hook, WeightNorm):
                found[f"{prefix}{hook.name}_v"] = hook.dim
        for name, steps in getattr(module, "parametrizations", {}).items():
            if isinstance(steps[0], parametrizations._WeightNorm):
                found[f"{prefix}parametrizations.{name}.original1"] = steps[0].dim
    return found
