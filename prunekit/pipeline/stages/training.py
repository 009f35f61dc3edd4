"""Fine-tune a network."""

from __future__ import annotations

__all__ = ["train"]

import torch
from torch import nn

from prunekit.data.patches import Window
from prunekit.pipeline.stages.data import EitherPairs
from prunekit.progress import Progress
from prunekit.recipe import TrainSection
from prunekit.train.curve import TrainingCurve
from prunekit.train.loop import Session, finetune
from prunekit.train.options import Distill, TrainOptions


def train(
    model: nn.Module,
    teacher: nn.Module,
    section: TrainSection,
    pairs: EitherPairs,
    session: Session,
    *,
    window: Window | None,
    seed: int,
    progress: Progress,
) -> TrainingCurve:
    """Fine-tune in place, with distillation if the section asks for it."""
    distill = section.distill
    exclude = {"distill", "tensorboard"} | (set() if session.folder else {"checkpoint_every"})
    options = TrainOptions(
        **section.model_dump(exclude=exclude),
        distill=None if distill is None else Distill(**distill.model_dump()),
    )
    return finetune(
        model,
        pairs,
        options,
        window=window,
        teacher=None if distill is None else teacher,
        seed=seed,
        device=_device(model),
        progress=progress,
        session=session,
    )


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
