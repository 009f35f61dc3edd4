"""Batches made ahead by worker processes: the same ones however many there are."""

from __future__ import annotations

__all__ = ["Batch", "Batches"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from prunekit.data.patches import Patches
from prunekit.errors import DataError, PrunekitError, brief

T = TypeVar("T")


class Batch(NamedTuple):
    """What one step of training takes."""

    step: int
    lr: Tensor  # as `Patches.sample` cuts them
    hr: Tensor
    teacher: Tensor | None = None  # as `Patches.sample_outputs` cuts it


@dataclass(frozen=True)
class Batches:
    """The batches of some steps in order, each `patches.sample(step, indices)` with its outputs.

    Nothing is carried from step to step, so training goes on anywhere with `range(step, steps)`.
    The generators of torch and numpy are left alone.

    Raises, when iterated:
        DataError: a worker process died; or what `Patches` raises.
    """

    patches: Patches
    indices: Sequence[int]  # into a batch: all, `range(batch_size)`, or the share of this process
    steps: range
    workers: int = 0  # processes that cut patches; 0: this one does, when asked
    prefetch: int = 2  # batches that each worker makes ahead
    pin_memory: bool = False  # where a GPU copies from faster

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Batch]:
        made = iter(
            DataLoader(
                _Steps(self.patches, self.indices),
                batch_size=None,
                sampler=self.steps,
                num_workers=self.workers,
                prefetch_factor=self.prefetch if self.workers else None,
                collate_fn=_as_it_is,
                pin_memory=self.pin_memory,
                generator=torch.Generator(),  # else it draws from the caller's
            )
        )
        for _ in self.steps:
            batch = self._next(made)
            if isinstance(batch, PrunekitError):
                raise batch
            yield batch

    def _next(self, made: Iterator[Batch | PrunekitError]) -> Batch | PrunekitError:
        try:
            return next(made)
        except (RuntimeError, OSError, EOFError) as error:  # what torch says of workers that died
            message = (
                f"patches cannot be cut by {self.workers} worker processes ({brief(error)}); try "
                "fewer workers, or 0"
            )
            raise DataError(message) from error


@dataclass(frozen=True)
class _Steps(Dataset[Batch | PrunekitError]):
    """The batch of every step; errors are returned, since torch would wrap their sentence."""

    patches: Patches
    indices: Sequence[int]

    def __getitem__(self, step: int) -> Batch | PrunekitError:
        try:
            return Batch(
                step,
                *self.patches.sample(step, self.indices),
                self.patches.sample_outputs(step, self.indices),
            )
        except PrunekitError as error:
            return error


def _as_it_is(batch: T) -> T:
    return batch
