"""Figures of a training for TensorBoard."""

from __future__ import annotations

__all__ = ["Board"]

import importlib
from pathlib import Path
from typing import Any

from prunekit.errors import TrainError


class Board:
    """Event files in a folder; what an earlier sitting wrote after its last checkpoint is void."""

    def __init__(self, folder: Path, *, done: int) -> None:
        """Write after the steps that are done.

        Raises `TrainError` if TensorBoard is not there.
        """
        try:
            module: Any = importlib.import_module("torch.utils.tensorboard")
        except ImportError as error:
            message = (
                "tensorboard is on, but not installed; install it with "
                "pip install 'prunekit[tensorboard]', or leave tensorboard out"
            )
            raise TrainError(message) from error
        self._writer = module.SummaryWriter(str(folder), purge_step=done + 1)

    def add(self, step: int, **figures: float) -> None:
        """Note figures of a step, counted from 1."""
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        self._writer.close()
