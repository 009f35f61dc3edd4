"""One process or several, through accelerate."""

from __future__ import annotations

__all__ = ["Processes", "is_of_others"]

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import Accelerator, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType, GradientAccumulationPlugin, broadcast, gather_object
from torch import Tensor, nn

from prunekit.errors import TrainError, brief
from prunekit.train.options import Precision, TrainOptions

T = TypeVar("T")

_MIXED: dict[Precision, str] = {"fp32": "no", "bf16": "no", "fp16": "fp16"}
"""What accelerate sees to: the scale of losses in fp16. It casts for the device that it would take
itself, which need not be the network's."""

_BACKENDS = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")
"""Words by which they tell that another process is gone."""

_OTHERWISE = (DistributedType.DEEPSPEED, DistributedType.FSDP, DistributedType.MEGATRON_LM)
"""Ways of accelerate that keep a part of the network in each process."""


@dataclass(frozen=True)
class Processes:
    """All processes of a training, seen from one of them."""

    accelerator: Accelerator

    @staticmethod
    @contextmanager
    def begun(options: TrainOptions) -> Iterator[Processes]:
        """Join the other processes, if there are any, and leave no state of it behind.

        Raises `TrainError` if the batch cannot be shared out to them, or one of them is lost.
        """
        timeout = InitProcessGroupKwargs(timeout=timedelta(seconds=options.timeout))
        callers = dict(AcceleratorState._shared_state)  # noqa: SLF001 (its own accelerator's)
        AcceleratorState._reset_state()  # noqa: SLF001 (the precision of an earlier training)
        accelerator = Accelerator(
            device_placement=False,
            mixed_precision=_MIXED[options.precision],
            # The recipe says what is computed, whatever a launcher left in the environment.
            gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
            dynamo_backend="no",
            kwargs_handlers=[timeout],
        )
        try:
            processes = Processes(accelerator)
            processes.check_kind()
            processes.check_shares(options)
            yield processes
        except Exception as error:
            if accelerator.num_processes == 1 or not is_of_others(error):
                raise
            message = (
                f"another process of the training ended or no longer answers ({brief(error)}); "
                "see what it said, and resume"
            )
            raise TrainError(message) from error
        finally:
            accelerator.free_memory()
            AcceleratorState._reset_state()  # noqa: SLF001
            AcceleratorState._shared_state.update(callers)  # noqa: SLF001

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

    def check_kind(self) -> None:
        """Refuse what trains in another way than on the whole network in every process."""
        kind = self.accelerator.distributed_type
        if kind in _OTHERWISE:
            message = (
                f"accelerate is set to {kind.value}, and networks of this kind are trained whole; "
                "launch it without, as with --multi_gpu"
            )
            raise TrainError(message)

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

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the first one's buffers, such as statistics of batches."""
        if self.count > 1:
            for buffer in model.buffers():
                buffer.copy_(broadcast(buffer.contiguous()))

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


def is_of_others(error: BaseException) -> bool:
    """Whether an error is what the libraries say of a process that is gone."""
    lost = isinstance(error, getattr(torch.distributed, "DistError", ()))
    told = str(error).lower()
    return lost or (isinstance(error, RuntimeError) and any(word in told for word in _BACKENDS))
