"""Calibration: the few images that criteria look at, and the loss that they take gradients of."""

from __future__ import annotations

__all__ = ["Calibration", "CalibrationBatch", "loss_of", "run_on"]

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._pytree import tree_leaves, tree_map

from prunekit.data.loader import Batch
from prunekit.data.patches import Patches
from prunekit.errors import DataError, PlanError, brief


@dataclass(frozen=True, eq=False)
class CalibrationBatch:
    """What a network is called with, and what it should return."""

    inputs: Any
    """A tensor, a sequence of positional or a mapping of keyword arguments."""
    hr: Tensor | None
    """None where nobody knows."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """A few batches in memory, the same for every criterion."""

    batches: tuple[CalibrationBatch, ...]

    @staticmethod
    def cut(patches: Patches, *, batches: int, batch_size: int) -> Calibration:
        """Random patches of images, that depend on the seed of `patches` and on nothing else."""
        drawn = (patches.sample(step, range(batch_size)) for step in range(batches))
        return Calibration(tuple(CalibrationBatch(lr, hr) for lr, hr in drawn))

    @staticmethod
    def taken(loader: Iterable[Any], *, batches: int) -> Calibration:
        """The first batches of any loader: inputs alone, or pairs of inputs and HR.

        Raises `DataError` if there is none, or one is neither.
        """
        try:
            found = tuple(_read(item, place) for place, item in enumerate(islice(loader, batches)))
        except TypeError as error:
            message = (
                f"calibration data is a {type(loader).__name__}, which gives no batches "
                f"({brief(error)}); pass a loader or a list of (lr, hr)"
            )
            raise DataError(message) from error
        if not found:
            message = "the calibration data has no batch; give at least one pair of (lr, hr)"
            raise DataError(message)
        return Calibration(found)


def _read(item: object, place: int) -> CalibrationBatch:
    match item:
        case Batch():
            return CalibrationBatch(item.lr, item.hr)
        case Tensor() | Mapping():
            return CalibrationBatch(item, None)
        case [inputs, (Tensor() | None) as hr] if isinstance(item, Sequence):
            return CalibrationBatch(inputs, hr)
    message = (
        f"batch {place} of the calibration data is a {type(item).__name__}; it should be (lr, hr), "
        "or LR alone"
    )
    raise DataError(message)


def run_on(model: nn.Module, batch: CalibrationBatch, place: int) -> Tensor:
    """Run a network on a batch, on its own device and in its own type; its first output.

    Raises `PlanError` if it fails, or if what comes out is not finite.
    """
    inputs = tree_map(lambda value: _placed(value, model), batch.inputs)
    try:
        match inputs:
            case Mapping():
                result = model(**inputs)
            case Tensor():
                result = model(inputs)
            case _:
                result = model(*inputs)
    except Exception as error:  # the network's own code can fail in any way
        message = f"the network fails on calibration batch {place} ({brief(error)})"
        raise PlanError(message) from error
    output = next(value for value in tree_leaves(result) if isinstance(value, Tensor))
    if not torch.isfinite(output).all():
        message = (
            f"the network's output on calibration batch {place} is not finite, so there is nothing "
            "to rank by; look at its weights and at these images"
        )
        raise PlanError(message)
    return output


def loss_of(sr: Tensor, hr: Tensor | None, place: int) -> Tensor:
    """L1 against HR. Where nobody knows HR, the sign of every error is drawn at random.

    The gradient of L1 knows of HR the signs of the errors alone. With random ones its square is, on
    average, how much a change of the weights changes the output (the Fisher information of a
    network that is right but for noise).

    Raises `PlanError` for HR of another shape.
    """
    if hr is None:
        generator = torch.Generator().manual_seed(place)
        signs = torch.randint(0, 2, sr.shape, generator=generator) * 2 - 1
        return (sr * signs.to(sr.device, sr.dtype)).mean()
    if hr.shape != sr.shape:
        message = (
            f"HR of calibration batch {place} has the shape {tuple(hr.shape)} where the network "
            f"returns {tuple(sr.shape)}; give images of its scale"
        )
        raise PlanError(message)
    return functional.l1_loss(sr, hr.to(sr.device, sr.dtype))


def _placed(value: Any, model: nn.Module) -> Any:
    like = next(model.parameters())
    if not isinstance(value, Tensor):
        return value
    return value.to(like.device, like.dtype if value.is_floating_point() else value.dtype)
