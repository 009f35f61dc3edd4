"""Masks: which weights stay and which are zero, for every weight of a network that has one."""

from __future__ import annotations

__all__ = [
    "Masks",
    "Pattern",
    "apply_masks",
    "follow_plan",
    "from_torch_masks",
    "has_torch_masks",
    "impose",
    "to_torch_masks",
]

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils import prune as torch_prune

from prunekit.errors import PlanError, SurgeryError
from prunekit.graph import clone_model
from prunekit.plan import Plan, inside


@dataclass(frozen=True)
class Pattern:
    """Of every `block` weights that follow one another along an axis, at most `stays` stay."""

    stays: int
    block: int
    axis: int
    """Of the tensor: its input dimension."""

    def __str__(self) -> str:
        return f"{self.stays}:{self.block}"

    def holds(self, kept: Tensor) -> bool:
        """Whether a mask meets it. `kept` is boolean, of the shape of the weight."""
        lines = kept.movedim(self.axis, -1)
        if lines.shape[-1] % self.block:
            return False
        blocks = lines.reshape(*lines.shape[:-1], -1, self.block)
        return bool((blocks.sum(-1) <= self.stays).all())


@dataclass(frozen=True, eq=False, repr=False)
class Masks:
    """Which weights of a network stay; all others are exactly zero."""

    kept: Mapping[str, Tensor]
    """By name of the parameter: true where the weight stays; boolean, on the CPU."""
    patterns: Mapping[str, Pattern] = field(default_factory=dict)
    """Patterns that masks meet, by name of the parameter."""
    dense: Mapping[str, str] = field(default_factory=dict)
    """Weights of convolutions and linear layers without a mask, and why they have none."""

    def __repr__(self) -> str:
        patterns = sorted({str(pattern) for pattern in self.patterns.values()})
        told = f", {' and '.join(patterns)}" if patterns else ""
        tensors = f"{len(self.kept)} tensors"
        return f"Masks: {self.zeros:,} of {self.weights:,} weights in {tensors} are zero{told}"

    @property
    def weights(self) -> int:
        """Weights with a mask."""
        return sum(mask.numel() for mask in self.kept.values())

    @property
    def zeros(self) -> int:
        """Weights that the masks set to zero."""
        return sum(mask.numel() - int(mask.sum()) for mask in self.kept.values())

    @property
    def sparsity(self) -> float:
        """Share of zeros among the weights with a mask."""
        return self.zeros / self.weights if self.weights else 0.0


@torch.no_grad()
def impose(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the masked weights of a network to exactly zero, in place.

    Raises `PlanError` if a mask is of no parameter, or of another shape.
    """
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        parameter = parameters.get(name)
        if parameter is None or parameter.shape != mask.shape:
            found = "no such parameter" if parameter is None else f"shape {tuple(parameter.shape)}"
            message = (
                f"the mask of '{name}' has shape {tuple(mask.shape)}, and the network has {found}; "
                "make masks for this network"
            )
            raise PlanError(message)
        parameter.masked_fill_(~mask.to(parameter.device), 0)


def apply_masks(model: nn.Module, masks: Masks) -> nn.Module:
    """Return a copy of a network whose masked weights are zero. Raises `PlanError` as `impose`."""
    copy = clone_model(model)
    impose(copy, masks.kept)
    return copy


def follow_plan(masks: Masks, plan: Plan) -> Masks:
    """The masks of what a plan leaves of a network: cut as its weights are.

    A pattern does not survive that, and is forgotten. Masks leave with their blocks.
    """
    tensors = {tensor.name: tensor for tensor in plan.tensors}
    kept = {}
    for name, mask in masks.kept.items():
        if inside(name, plan.blocks):
            continue
        cut = mask
        for axis, indices in (tensors[name].kept if name in tensors else {}).items():
            cut = cut.index_select(axis, torch.tensor(indices))
        kept[name] = cut
    patterns = {n: p for n, p in masks.patterns.items() if n in kept and n not in tensors}
    dense = {n: why for n, why in masks.dense.items() if not inside(n, plan.blocks)}
    return Masks(kept, patterns, dense)


def has_torch_masks(model: nn.Module) -> bool:
    """Whether `torch.nn.utils.prune` has put masks on the network."""
    return bool(torch_prune.is_pruned(model))


def from_torch_masks(model: nn.Module) -> tuple[nn.Module, Masks]:
    """Take over the masks of `torch.nn.utils.prune`; the network given stays as it is.

    Returns a copy in which they are permanent (`weight` instead of `weight_orig` and
    `weight_mask`), and the masks. Masks of biases and others are made permanent as well.
    """
    copy = clone_model(model)
    kept: dict[str, Tensor] = {}
    for path, module in copy.named_modules():
        for name in [n.removesuffix("_orig") for n in module._parameters if n.endswith("_orig")]:
            mask = getattr(module, f"{name}_mask", None)
            if not isinstance(mask, Tensor):
                continue
            kept[f"{path}.{name}".lstrip(".")] = (mask != 0).cpu()
            torch_prune.remove(module, name)  # type: ignore[no-untyped-call]
    impose(copy, kept)  # also where the product left a negative zero
    return copy, Masks(kept)


def to_torch_masks(model: nn.Module, masks: Masks) -> nn.Module:
    """Return a copy that carries the masks as `torch.nn.utils.prune` does.

    Raises:
        PlanError: a mask is not of this network.
        SurgeryError: it carries masks already.
    """
    if has_torch_masks(model):
        message = "the network carries masks of torch already; call from_torch_masks first"
        raise SurgeryError(message)
    copy = apply_masks(model, masks)
    for name, mask in masks.kept.items():
        path, _, attribute = name.rpartition(".")
        module = copy.get_submodule(path)
        device = module.get_parameter(attribute).device
        torch_prune.custom_from_mask(module, attribute, mask.to(device))  # type: ignore[no-untyped-call]
    return copy
