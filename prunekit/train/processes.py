"""One process or several, through accelerate."""

from __future__ import annotations

__all__ = ["Processes"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor

from prunekit.errors import TrainError, brief
from prunekit.train.options import Precision, TrainOptions

T = TypeVar("T")

_MIXED: dict[Precision, str] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass(frozen=True)
class Processes:
    """All processes of a training, seen from one of them."""

    accelerator: Accelerator

    @staticmethod
    @contextmanager
    def begun(options: TrainOptions) -> Iterator[Processes]:
        """Join the other processes, if there are any, and leave no state of it behind.

        Raises `TrainError` if the batch cannot be shared out to them.
        """
        timeout = InitProcessGroupKwargs(timeout=timedelta(seconds=options.timeout))
        AcceleratorState._reset_state()  # noqa: SLF001 (the precision of an earlier training)
        accelerator = Accelerator(
            device_placement=False,
            mixed_precision=_MIXED[options.precision],
            kwargs_handlers=[timeout],
        )
        try:
            processes = Processes(accelerator)
            processes.check_shares(options)
            yield processes
        finally:
            accelerator.free_memory()
            AcceleratorState._reset_state()  # noqa: SLF001

    @property
    def count(self) -> int:
        """How many there are."""
        return int(self.accelerator.num_processes)

    @property
    def index(self) -> int:
        """Which this one is."""
        return int(self.accelerator.process_index)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def check_shares(self, options: TrainOptions) -> None:
        """Every process takes as many patches, so that the mean of gradients is the batch's."""
        parts = self.count * options.accumulate
        if options.batch_size % parts:
            message = (
                f"a batch of {options.batch_size} patches cannot be shared out evenly to "
                f"{self.count} processes with accumulate {options.accumulate}; make batch_size a "
                f"multiple of {parts}"
            )
            raise TrainError(message)

    def share(self, options: TrainOptions) -> range:
        """Indices into a batch that this process takes."""
        return range(self.index, options.batch_size, self.count)

    def mean(self, value: Tensor) -> float:
        """Mean over the processes, the same in all of them."""
        return float(self.accelerator.reduce(value.detach(), "mean"))

    def any(self, *, truth: bool) -> bool:
        """Whether it is true in some process."""
        flag = torch.tensor(float(truth), device=self.accelerator.device)
        return float(self.accelerator.reduce(flag, "sum")) > 0

    def gathered(self, value: T) -> list[T]:
        """What every process has, in their order."""
        return list(gather_object([value])) if self.count > 1 else [value]

    def first_does(self, work: Callable[[], None]) -> None:
        """Let the first process do something; all go on when it is done, or fail with it."""
        failure = ""
        if self.is_first:
            try:
                work()
            except Exception as error:
                if self.count == 1:
                    raise
                failure = brief(error)
        failed = [text for text in self.gathered(failure) if text]
        if failed:
            message = f"the first process failed: {failed[0]}"
            raise TrainError(message)
