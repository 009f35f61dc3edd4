"""The distance of feature affinities that FAKD distils with."""

from __future__ import annotations

__all__ = ["affinity_distance"]

from torch import Tensor
from torch.nn import functional


def affinity_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean absolute difference of the cosine similarities of all pairs of pixels.

    What pixels have in common with one another does not depend on how many channels there are
    (He et al., FAKD, ICIP 2020).

    Args:
        student: `(N, C, H, W)`.
        teacher: `(N, D, H, W)`.
    """
    return functional.l1_loss(_affinity(student), _affinity(teacher))


def _affinity(features: Tensor) -> Tensor:
    """`(N, H * W, H * W)`, each from -1 to 1."""
    pixels = functional.normalize(features.flatten(2).float(), dim=1)
    return pixels.transpose(1, 2) @ pixels
