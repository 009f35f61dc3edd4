"""Proof that a masked network is the dense one with some weights set to zero, and nothing else."""

from __future__ import annotations

__all__ = ["MaskProof", "check_zeros", "prove_masks"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunekit.errors import VerificationError
from prunekit.sparse.masks import Masks


@dataclass(frozen=True)
class MaskProof:
    """What was compared, and found as it has to be."""

    zeros: int
    """Masked weights, each of them zero."""
    kept: int
    """Weights that stay in masked tensors, each of them as it was, bit for bit."""
    untouched: int
    """Other parameters and buffers, each of them as it was, bit for bit."""
    patterned: int
    """Tensors that have their N:M pattern."""

    def __str__(self) -> str:
        pattern = f", {self.patterned} weights have their pattern" if self.patterned else ""
        return (
            f"{self.zeros:,} weights are zero, {self.kept:,} beside them and {self.untouched:,} "
            f"other tensors are as they were, bit for bit{pattern}"
        )


def prove_masks(dense: nn.Module, sparse: nn.Module, masks: Masks) -> MaskProof:
    """Compare a masked network, before any training, with the one it was made of.

    Names, shapes, types and bits: a network computes with nothing else, so that equal tensors
    and the same class give equal images.

    Raises:
        VerificationError: something else than masked weights has changed, or one is not zero.
    """
    before, after = _state(dense), _state(sparse)
    if type(dense) is not type(sparse) or before.keys() != after.keys():
        message = "the masked network has other tensors than the dense one"
        raise VerificationError(message)
    for name, tensor in before.items():
        expected = tensor
        if name in masks.kept:
            mask = masks.kept[name].to(tensor.device)
            expected = torch.where(mask, tensor, torch.zeros_like(tensor))
        if not _equal(expected, after[name]):
            what = (
                "is not the dense one with masked weights zero" if name in masks.kept else "moved"
            )
            message = f"the tensor '{name}' {what}; nothing was proven"
            raise VerificationError(message)
    check_zeros(sparse, masks)
    return MaskProof(
        masks.zeros, masks.weights - masks.zeros, len(before) - len(masks.kept), len(masks.patterns)
    )


def check_zeros(model: nn.Module, masks: Masks) -> None:
    """Raise `VerificationError` unless every masked weight is zero and every pattern holds."""
    state = _state(model)
    for name, kept in masks.kept.items():
        found = state.get(name)
        if found is None or found.shape != kept.shape:
            message = f"the network has no weight '{name}' of the shape of its mask"
            raise VerificationError(message)
        revived = int(torch.count_nonzero(found[~kept.to(found.device)]))
        if revived:
            message = f"{revived} masked weights of '{name}' are not zero"
            raise VerificationError(message)
    broken = [name for name, p in masks.patterns.items() if not p.holds(masks.kept[name])]
    if broken:
        message = f"the mask of '{broken[0]}' does not have its pattern"
        raise VerificationError(message)


def _state(model: nn.Module) -> Mapping[str, Tensor]:
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def _equal(first: Tensor, second: Tensor) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    octets = (t.detach().reshape(-1).view(torch.uint8) for t in (first, second))
    return torch.equal(*octets)
