"""Set single weights to zero."""

from __future__ import annotations

__all__ = ["Masked", "mask", "rehearse_masks"]

from dataclasses import dataclass

from torch import nn

from prunekit.errors import PlanError
from prunekit.methods import mask_rule
from prunekit.progress import Progress
from prunekit.recipe import UnstructuredSection
from prunekit.sparse import (
    MaskProof,
    Masks,
    apply_masks,
    choose_masks,
    find_weights,
    in_scope,
    prove_masks,
)


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
    masks = _chosen(model, section, before)
    masked = apply_masks(model, masks)
    proof = prove_masks(model, masked, masks)
    progress.finish(f"{masks.zeros:,} of {masks.weights:,} weights are zero")
    return Masked(masks, masked, proof)


def rehearse_masks(
    model: nn.Module, section: UnstructuredSection, before: Masks | None, *, as_it_is: bool
) -> Masks | None:
    """The masks that a stage would end with, by the weights as they are now.

    Only the names of layers are looked at unless the network is `as_it_is` when the stage comes.
    Raises `PlanError` as `mask` does.
    """
    if as_it_is:
        return _chosen(model, section, before)
    in_scope(find_weights(model)[0], section.layers, section.protect)
    return before


def _chosen(model: nn.Module, section: UnstructuredSection, before: Masks | None) -> Masks:
    masks = choose_masks(model, mask_rule(section), before=before)
    if not masks.zeros:
        message = (
            f"the target sets no weight to zero: its share of the {masks.weights:,} weights in "
            "scope is less than one of any layer; raise prune.target"
        )
        raise PlanError(message)
    return masks
