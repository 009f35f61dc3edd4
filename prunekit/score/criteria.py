"""Importance criteria: one function each, a score for every unit of each slice, higher = keep."""

from __future__ import annotations

__all__ = [
    "CRITERIA",
    "Criterion",
    "Need",
    "Normalisation",
    "Observer",
    "Reduction",
    "Rule",
    "Scores",
    "reduce",
]

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.score.slices import Signals, Slice

Scores = NDArray[np.float64]

Rule = Callable[[Sequence[Slice], np.random.Generator], Sequence[Tensor]]
"""Scores `(units,)` of each slice of a group that counts; none if no slice does."""

Need = Literal["gradients", "signals", "output"]
"""What has to be measured on images: gradients of the loss, what layers read, or how much the
output changes when a unit is switched off."""

Reduction = Literal["sum", "mean", "max", "first"]
"""How the scores of coupled slices become one."""

Normalisation = Literal["none", "mean", "sum", "max", "gaussian", "size"]
"""How the scores of different groups are made comparable."""


class Observer(Protocol):
    """Sees what is measured on images, beside what is kept of it."""

    def watching(self, model: nn.Module) -> AbstractContextManager[object]:
        """Within it the model runs."""

    def after_backward(self, model: nn.Module) -> None:
        """The parameters have the gradients of a batch."""


@dataclass(frozen=True)
class Criterion:
    """What importance is."""

    name: str
    rule: Rule
    reduction: Reduction = "sum"
    """Unless the user wants another."""
    normalisation: Normalisation = "mean"
    """Likewise."""
    finish: Callable[[Tensor], Tensor] | None = None
    """Done to the scores of a group when those of its slices are one."""
    needs: frozenset[Need] = frozenset()
    """What it cannot do without."""
    takes: frozenset[Need] = frozenset()
    """What it is given besides, if there are images."""
    observer: Observer | None = None
    """Told of every pass over the images."""
    lacking: str = "no weight of a convolution or matrix product"
    """What a group has none of that it cannot score."""


def reduce(scores: Sequence[Tensor], reduction: Reduction) -> Tensor:
    """Make one score a unit of those of several slices."""
    stacked = torch.stack([score.cpu() for score in scores])
    match reduction:
        case "sum":
            return stacked.sum(dim=0)
        case "mean":
            return stacked.mean(dim=0)
        case "max":
            return stacked.amax(dim=0)
        case "first":
            return stacked[0]


def l1(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Sum of absolute weights (Li et al., ICLR 2017), biases and norms too."""
    return [torch.cat([b.abs().sum(dim=1) for b in slice_.blocks()]) for slice_ in slices]


def l2(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Squared weights, biases and norms too; the root of their sum is the Euclidean norm."""
    return [_squared(slice_) for slice_ in slices]


def random(slices: Sequence[Slice], generator: np.random.Generator) -> list[Tensor]:
    """Uniform numbers: the baseline that a criterion has to beat."""
    return [torch.from_numpy(generator.random(len(slices[0].indices)))]


def group_norm(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Squared L2 of weights and of scales of norms, without biases (DepGraph, CVPR 2023)."""
    return [_squared(s) for s in slices if s.is_weight or s.role == "scale"]


def lamp(scores: Tensor) -> Tensor:
    """Share of a unit in all that are not less important (LAMP, ICLR 2021)."""
    ordered, places = scores.sort(descending=True, stable=True)
    not_less = ordered.cumsum(0)
    shares = torch.where(not_less > 0, ordered / not_less, torch.zeros_like(ordered))
    return torch.empty_like(scores).index_copy(0, places, shares)


def fpgm(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Distance to all others: what is near the geometric median can be replaced (CVPR 2019)."""
    return [
        torch.cdist(
            slice_.weights, slice_.weights, compute_mode="donot_use_mm_for_euclid_dist"
        ).sum(dim=1)
        for slice_ in slices
        if slice_.is_weight
    ]


def bn_scale(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Absolute scale of the batch norm behind a unit (network slimming, ICCV 2017)."""
    return [
        s.weights.abs().sum(dim=1) for s in slices if s.kind == "batch_norm" and s.role == "scale"
    ]


def wn_gamma(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Absolute gain of weight norm (ASSL, NeurIPS 2021): the norm of a filter.

    A layer without weight norm has the gain that it would start with.
    """
    normed = {slice_.module for slice_ in slices if slice_.role == "gain"}
    return [
        _squared(slice_).sqrt()
        for slice_ in slices
        if slice_.role == "gain" or (slice_.role == "makes" and slice_.module not in normed)
    ]


def taylor(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """First-order change of the loss, `|sum w g|`, mean over batches (Molchanov et al., 2019)."""
    return [products.abs().mean(dim=0) for products in _products(slices)]


def taylor2(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Second-order change of the loss, `|sum w g - w^2 h / 2|`, mean over batches.

    The curvature h is that of the empirical Fisher information, diagonal.
    """
    return [
        (products - curvature / 2).abs().mean(dim=0)
        for products, curvature in zip(_products(slices), _curvatures(slices), strict=True)
    ]


def obd(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Optimal brain damage (LeCun et al., 1989), `sum w^2 h / 2`, where the slope is zero.

    The Hessian h is taken for that of the empirical Fisher information, diagonal.
    """
    return [curvature / 2 for curvature in _curvatures(slices)]


def fisher(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Squared slope of the loss along the unit as a whole (group Fisher, ICML 2021).

    All that makes the unit is scaled down together, so slices that make up for one another do.
    """
    products = _products([slice_ for slice_ in slices if slice_.role != "reads"])
    return [torch.stack(products).sum(dim=0).square().mean(dim=0)] if products else []


def activation(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Mean of the absolute values that the layers behind read."""
    return [signals.mean_abs for signals in _signals(slices)]


def activation_variance(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Variance of the values that the layers behind read."""
    return [signals.variance for signals in _signals(slices)]


def apoz(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Share of the values behind it that are not zero (1 - APoZ, Hu et al., 2016)."""
    return [signals.nonzero for signals in _signals(slices)]


def reconstruction(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Share of the next layers' output that is lost with the unit (in the manner of ThiNet)."""
    return [signals.lost for signals in _signals(slices)]


def reconstruction_varying(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """The same, where a bias that is learnt anew makes up for what is constant."""
    return [signals.lost_varying for signals in _signals(slices)]


def output(slices: Sequence[Slice], _: np.random.Generator) -> list[Tensor]:
    """Mean square by which the network's output changes when a unit alone is switched off."""
    return [slice_.change for slice_ in slices[:1] if slice_.change is not None]


def _squared(slice_: Slice) -> Tensor:
    """Sum of the squared weights of each unit."""
    return torch.cat([torch.linalg.vector_norm(b, dim=1) for b in slice_.blocks()]).square()


def _products(slices: Sequence[Slice]) -> list[Tensor]:
    return [slice_.products for slice_ in slices if slice_.products is not None]


def _curvatures(slices: Sequence[Slice]) -> Iterator[Tensor]:
    for slice_ in slices:
        if slice_.squares is not None:
            yield (slice_.weights.square() * slice_.squares).sum(dim=1)


def _signals(slices: Sequence[Slice]) -> list[Signals]:
    """Of the layers that read a unit; where none does, as with queries, of those that make it."""
    watched = [slice_ for slice_ in slices if slice_.signals is not None]
    chosen = [s for s in watched if s.role == "reads"] or watched
    return [s.signals for s in chosen if s.signals is not None]


_NO_LAYER = "no layer whose input or output could be watched"
_NO_GRADIENT = "no parameter that the loss depends on"
_GRADIENTS: frozenset[Need] = frozenset({"gradients"})
_SIGNALS: frozenset[Need] = frozenset({"signals"})


def _table(*criteria: Criterion) -> Mapping[str, Criterion]:
    return MappingProxyType({criterion.name: criterion for criterion in criteria})


CRITERIA = _table(
    Criterion("l1", l1),
    Criterion("l2", l2, finish=torch.sqrt),
    Criterion("random", random),
    Criterion("group_norm", group_norm, "mean"),
    Criterion("lamp", group_norm, "mean", "none", finish=lamp),
    Criterion("fpgm", fpgm, "mean"),
    Criterion("bn_scale", bn_scale, "mean", lacking="no batch norm with a scale"),
    Criterion("wn_gamma", wn_gamma, "mean"),
    Criterion("taylor", taylor, "mean", needs=_GRADIENTS, lacking=_NO_GRADIENT),
    Criterion("taylor2", taylor2, "mean", needs=_GRADIENTS, lacking=_NO_GRADIENT),
    Criterion("obd", obd, "sum", needs=_GRADIENTS, lacking=_NO_GRADIENT),
    Criterion("fisher", fisher, needs=_GRADIENTS, lacking=_NO_GRADIENT),
    Criterion("activation", activation, "mean", needs=_SIGNALS, lacking=_NO_LAYER),
    Criterion(
        "activation_variance", activation_variance, "mean", needs=_SIGNALS, lacking=_NO_LAYER
    ),
    Criterion("apoz", apoz, "mean", needs=_SIGNALS, lacking=_NO_LAYER),
    Criterion("reconstruction", reconstruction, "mean", needs=_SIGNALS, lacking=_NO_LAYER),
    Criterion(
        "reconstruction_varying", reconstruction_varying, "mean", needs=_SIGNALS, lacking=_NO_LAYER
    ),
    Criterion("output", output, needs=frozenset({"output"})),
)
"""Every criterion by the name that recipes use."""
