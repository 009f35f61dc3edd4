"""Choosing masks: the smallest weights go, of every layer, of all together, or of every block."""

from __future__ import annotations

__all__ = ["MaskRule", "choose_masks", "cubic"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from prunekit.errors import PlanError
from prunekit.sparse.layers import Weight, find_weights, in_scope
from prunekit.sparse.masks import Masks, Pattern


@dataclass(frozen=True)
class MaskRule:
    """How many weights become zero, and of which layers."""

    kind: Literal["sparsity", "weight_ratio", "pattern"]
    amount: float = 0.0
    """Share of zeros: of the weights in scope, or for `weight_ratio` of all; above 0, below 1."""
    pattern: tuple[int, int] = (2, 4)
    """N and M, for `pattern`."""
    allocation: Literal["local", "global"] = "local"
    layers: tuple[str, ...] = ("*",)
    """Globs on layers or weights in scope."""
    protect: tuple[str, ...] = ()
    """Globs on layers or weights that stay dense."""


def cubic(progress: float, start: float, end: float) -> float:
    """Sparsity at a share of the way, from 0 to 1 (Zhu and Gupta, 2017, equation 1)."""
    return end + (start - end) * (1 - progress) ** 3


def choose_masks(
    model: nn.Module,
    rule: MaskRule,
    *,
    before: Masks | None = None,
    progress: float = 1.0,
    origin: Masks | None = None,
) -> Masks:
    """Choose the weights that become zero: those of least absolute value, of equal ones the first.

    What `before` masks stays masked. Of `n` weights `round(share * n)` become zero, but of a layer
    by itself at least one stays.

    Args:
        model: with the weights to compare; it is not changed.
        rule: how many, and where.
        before: masks of an earlier choice.
        progress: share of the way to the target, along the cubic curve; 1 is there.
        origin: where the way begins; at `before` if not given.

    Raises:
        PlanError: a glob matches nothing, the target is out of reach, or a weight is not finite.
    """
    weights, computed = find_weights(model)
    chosen, left = in_scope(weights, rule.layers, rule.protect)
    parameters = dict(model.named_parameters())
    earlier = dict(before.kept) if before else {}
    scores = {w.name: _score(w, parameters[w.name], earlier.get(w.name)) for w in chosen}
    patterns: dict[str, Pattern] = {}
    if rule.kind == "pattern":
        patterns, odd = _patterns(chosen, rule.pattern)
        left |= odd
        kept = _in_blocks(scores, patterns, progress)
    else:
        begun = earlier if origin is None else dict(origin.kept)
        share = _share(rule, weights, chosen, begun, progress)
        kept = _smallest_go(scores, share, alone=rule.allocation == "local")
    kept = {name: mask.cpu() for name, mask in kept.items()}
    for name, mask in earlier.items():
        kept[name] = kept[name] & mask if name in kept else mask
        left.pop(name, None)
    old = before.patterns if before else {}
    both = {n: p for n, p in {**old, **patterns}.items() if p.holds(kept[n])}
    return Masks(kept, both, {**left, **computed})


def _score(weight: Weight, parameter: Tensor, earlier: Tensor | None) -> Tensor:
    """Absolute values, below 0 where a mask is already."""
    values = parameter.detach().abs()
    if not values.isfinite().all():
        message = f"the weight '{weight.name}' holds numbers that are not finite; repair it first"
        raise PlanError(message)
    if earlier is not None:
        values = values.masked_fill(~earlier.to(values.device), -1)
    return values


def _share(
    rule: MaskRule,
    weights: Sequence[Weight],
    chosen: Sequence[Weight],
    earlier: Mapping[str, Tensor],
    progress: float,
) -> float:
    """Share of zeros among the weights in scope, on the way from what is zero already."""
    within = sum(weight.count for weight in chosen)
    end = rule.amount
    if rule.kind == "weight_ratio":
        total = sum(weight.count for weight in weights)
        names = {weight.name for weight in chosen}
        elsewhere = sum(int((~m).sum()) for n, m in earlier.items() if n not in names)
        end = (rule.amount * total - elsewhere) / within
        if round(end * within) > within - len(chosen):
            reach = (within - len(chosen) + elsewhere) / total
            message = (
                f"prune.target.weight_ratio {rule.amount:.1%} is out of reach: the layers in scope "
                f"hold {within / total:.1%} of the weights, so at most {reach:.1%}; lower it, or "
                "widen prune.layers"
            )
            raise PlanError(message)
    masked = [earlier[w.name] for w in chosen if w.name in earlier]
    start = sum(mask.numel() - int(mask.sum()) for mask in masked) / within
    return max(start, cubic(progress, start, end))


def _smallest_go(scores: Mapping[str, Tensor], share: float, *, alone: bool) -> dict[str, Tensor]:
    """Masks without the given share of each tensor, or of all tensors together."""
    if alone:
        return {
            name: _without(
                values.flatten(), min(round(share * values.numel()), values.numel() - 1)
            ).reshape(values.shape)
            for name, values in scores.items()
        }
    every = torch.cat([values.flatten().cpu().double() for values in scores.values()])
    kept = _without(every, round(share * every.numel()))
    parts = torch.split(kept, [values.numel() for values in scores.values()])
    return {
        name: part.reshape(values.shape).clone()
        for (name, values), part in zip(scores.items(), parts, strict=True)
    }


def _without(values: Tensor, count: int) -> Tensor:
    """A mask without the smallest of a line of values; of equal ones the first go."""
    kept = torch.ones(values.numel(), dtype=torch.bool, device=values.device)
    kept[values.argsort(stable=True)[:count]] = False
    return kept


def _patterns(
    chosen: Sequence[Weight], pattern: tuple[int, int]
) -> tuple[dict[str, Pattern], dict[str, str]]:
    """The pattern of every weight that can meet it, and why the others cannot."""
    stays, block = pattern
    fits = {
        w.name: Pattern(stays, block, w.input_axis) for w in chosen if w.input_width % block == 0
    }
    odd = {
        w.name: f"its input dimension {w.input_width} is no multiple of {block}"
        for w in chosen
        if w.name not in fits
    }
    if not fits:
        widths = ", ".join(map(str, sorted({w.input_width for w in chosen})))
        message = (
            f"prune.target.pattern {stays}:{block} fits no layer: no input dimension ({widths}) is "
            f"a multiple of {block}; take another pattern, or a sparsity"
        )
        raise PlanError(message)
    return fits, odd


def _in_blocks(
    scores: Mapping[str, Tensor], patterns: Mapping[str, Pattern], progress: float
) -> dict[str, Tensor]:
    """Masks without the smallest of every block; on the way there, without fewer of them."""
    kept = {}
    for name, pattern in patterns.items():
        gone = round(cubic(progress, 0.0, float(pattern.block - pattern.stays)))
        lines = scores[name].movedim(pattern.axis, -1)
        blocks = lines.reshape(*lines.shape[:-1], -1, pattern.block)
        mask = torch.ones(blocks.shape, dtype=torch.bool, device=blocks.device)
        mask.scatter_(-1, blocks.argsort(dim=-1, stable=True)[..., :gone], value=False)
        kept[name] = mask.reshape(lines.shape).movedim(-1, pattern.axis).contiguous()
    return kept
