"""Unstructured pruning: masks at once, or while the training that follows runs."""

from __future__ import annotations

__all__ = ["mask_rule", "masking_hook"]

from prunekit.methods.masking import GrowMasks, KeepMasks, MaskHook, ShrinkWeights
from prunekit.recipe import UnstructuredSection
from prunekit.sparse import MaskRule, Masks


def mask_rule(section: UnstructuredSection) -> MaskRule:
    """What a section of a recipe asks for."""
    target = section.target
    common = (section.allocation, section.layers, section.protect)
    if target.pattern is not None:
        stays, block = map(int, target.pattern.split(":"))
        return MaskRule("pattern", 1 - stays / block, (stays, block), *common)
    if target.weight_ratio is not None:
        return MaskRule("weight_ratio", target.weight_ratio, (2, 4), *common)
    assert target.sparsity is not None  # the recipe needs one of the three
    return MaskRule("sparsity", target.sparsity, (2, 4), *common)


def masking_hook(masks: Masks | None, coming: UnstructuredSection | None) -> MaskHook | None:
    """What a training has to do about masks that are there, or that are to come about in it."""
    if coming is None:
        return KeepMasks(masks) if masks is not None else None
    rule = mask_rule(coming)
    if coming.gradual is not None:
        course = coming.gradual
        return GrowMasks(rule, masks, begin=course.begin, until=course.until, every=course.every)
    assert coming.shrink is not None
    return ShrinkWeights(rule, masks, factor=coming.shrink.factor, until=coming.shrink.until)
