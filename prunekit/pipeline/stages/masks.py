"""Set single weights to zero."""

from __future__ import annotations

__all__ = ["Masked", "mask"]

from dataclasses import dataclass

from torch import nn

from prunekit.methods import mask_rule
from prunekit.progress import Progress
from prunekit.recipe import UnstructuredSection
from prunekit.sparse import MaskProof, Masks, apply_masks, choose_masks, prove_masks


@dataclass(frozen=True, eq=False)
class Masked:
    """What one stage of unstructured pruning made."""

    masks: Masks
    model: nn.Module
    proof: MaskProof


def mask(
    model: nn.Module, section: UnstructuredSection, before: Masks | None, *, progress: Progress
) -> Masked:
    """Set the smallest weights to zero, and prove that nothing else has changed.

    Raises:
        PlanError: a glob matches nothing, or the target is out of reach.
        VerificationError: the proof fails.
    """
    progress.start("mask")
    masks = choose_masks(model, mask_rule(section), before=before)
    masked = apply_masks(model, masks)
    proof = prove_masks(model, masked, masks)
    progress.finish(f"{masks.zeros:,} of {masks.weights:,} weights are zero")
    return Masked(masks, masked, proof)
