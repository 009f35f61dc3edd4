"""The training loop: patches in, a better network out, on one device or under accelerate."""

from __future__ import annotations

__all__ = ["finetune"]

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional

from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.patches import Patches, Window
from prunekit.errors import TrainError
from prunekit.measure.mode import in_mode, placement
from prunekit.progress import Progress
from prunekit.train.curve import CurveRecorder, TrainingCurve
from prunekit.train.losses import LOSSES
from prunekit.train.options import TrainOptions
from prunekit.train.schedule import learning_rate_at


def finetune(
    model: nn.Module,
    pairs: Sequence[ImagePair] | Sequence[ClipPair],
    options: TrainOptions,
    *,
    window: Window | None = None,
    teacher: nn.Module | None,
    seed: int,
    device: torch.device,
    progress: Progress,
) -> TrainingCurve:
    """Train a network in place with Adam on random patches; the same seed gives the same weights.

    The parameters that require a gradient are trained, in training mode. Afterwards the network
    has the modes it came with, no gradients, and stands on `device`, as does the teacher, which
    is given if and only if `options.distill` is; likewise the window, for clips. Under
    `accelerate launch` every process takes its share of a batch, and its own device. Raises
    `TrainError` if the loss or a weight stops being finite, and `DataError` for an image smaller
    than a patch.
    """
    patches = Patches(pairs, patch_size=options.patch_size, seed=seed, window=window)
    with _trainer(model, teacher, options, seed=seed, device=device) as trainer:
        recorder = CurveRecorder(options, images=len(pairs))
        progress.start("fine-tune", options.steps)
        for step in range(options.steps):
            learning_rate = trainer.set_learning_rate(step)
            lr, hr = patches.sample(step, trainer.share())
            loss = trainer.update(step, lr, hr)
            recorder.add(step, loss, learning_rate)
            progress.advance(loss=loss, learning_rate=learning_rate)
        trainer.check_weights()
    curve = recorder.curve()
    progress.finish(f"loss {curve.loss[0]:.4f} to {curve.loss[-1]:.4f}")
    return curve


@dataclass(frozen=True)
class _Trainer:
    """What one step of training needs; its methods are the parts of a step."""

    model: nn.Module  # as accelerate wraps it
    teacher: nn.Module | None
    parameters: tuple[nn.Parameter, ...]  # those that are trained
    optimizer: torch.optim.Optimizer
    accelerator: Accelerator
    options: TrainOptions
    device: torch.device
    dtype: torch.dtype

    def set_learning_rate(self, step: int) -> float:
        learning_rate = learning_rate_at(step, self.options)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        return learning_rate

    def share(self) -> range:
        """Return the indices into a batch that this process takes."""
        processes = self.accelerator.num_processes
        return range(self.accelerator.process_index, self.options.batch_size, processes)

    def update(self, step: int, lr: Tensor, hr: Tensor) -> float:
        """Take one step of the optimizer and return the loss before it."""
        loss = self._loss(lr.to(self.device, self.dtype), hr.to(self.device, self.dtype))
        value = self._checked(step, loss)
        self.accelerator.backward(loss)
        if self.options.clip_norm is not None:
            self.accelerator.clip_grad_norm_(self.parameters, self.options.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return value

    def check_weights(self) -> None:
        """Refuse weights that the last step ruined, which no later loss would show."""
        if not all(torch.isfinite(parameter).all() for parameter in self.parameters):
            raise TrainError(_diverged("a weight", self.options.steps, self.options))

    def _loss(self, lr: Tensor, hr: Tensor) -> Tensor:
        sr = self._super_resolve(lr)
        _check_shape(sr, lr, hr)
        loss = LOSSES[self.options.loss](sr, hr)
        if self.teacher is None or self.options.distill is None:
            return loss
        with torch.no_grad():
            target = self.teacher(lr)
        _check_shape(target, lr, hr)
        return loss + self.options.distill.weight * functional.l1_loss(sr, target)

    def _super_resolve(self, lr: Tensor) -> Tensor:
        """Refuse whatever the network does instead of returning an image."""
        try:
            sr = self.model(lr)
        except Exception as error:  # the network's own code can fail in any way
            message = (
                f"the network fails on training patches of {tuple(lr.shape)} "
                f"({type(error).__name__}: {error}); change patch_size, or leave the training out"
            )
            raise TrainError(message) from error
        if not isinstance(sr, Tensor):
            message = (
                f"the network returns a {type(sr).__name__} in training where the image alone is "
                "needed; wrap it in a module that returns the image"
            )
            raise TrainError(message)
        return sr

    def _checked(self, step: int, loss: Tensor) -> float:
        """Return the mean loss over the processes, which then all go on or all stop."""
        value = float(self.accelerator.reduce(loss.detach(), "mean"))
        if not math.isfinite(value):
            raise TrainError(_diverged("the loss", step + 1, self.options))
        return value


@contextmanager
def _trainer(
    model: nn.Module,
    teacher: nn.Module | None,
    options: TrainOptions,
    *,
    seed: int,
    device: torch.device,
) -> Iterator[_Trainer]:
    """Get a network ready for training, and clear up behind it, also after a failure."""
    if (teacher is None) != (options.distill is None):
        message = "a teacher is given if and only if options.distill is"
        raise ValueError(message)
    parameters = _trainable(model)
    accelerator = Accelerator(device_placement=False, mixed_precision="no")
    device = accelerator.device if accelerator.num_processes > 1 else device
    _check_shares(options, accelerator.num_processes)
    with ExitStack() as cleanup:
        cleanup.callback(_clear, model, parameters, accelerator)
        cleanup.enter_context(_own_randomness(seed + accelerator.process_index, device))
        cleanup.enter_context(in_mode(model.to(device), training=True))
        if teacher is not None:
            cleanup.enter_context(in_mode(teacher.to(device), training=False))
        adam = torch.optim.Adam(parameters, lr=options.learning_rate, betas=(0.9, 0.999))
        adam.zero_grad()
        wrapped, optimizer = accelerator.prepare(model, adam)
        _, dtype = placement(model)
        yield _Trainer(wrapped, teacher, parameters, optimizer, accelerator, options, device, dtype)


def _trainable(model: nn.Module) -> tuple[nn.Parameter, ...]:
    parameters = tuple(p for p in model.parameters() if p.requires_grad)
    if not parameters:
        message = (
            "the network has no parameter that requires a gradient, so there is nothing to train; "
            "call requires_grad_() on it or leave the training out"
        )
        raise TrainError(message)
    return parameters


def _check_shares(options: TrainOptions, processes: int) -> None:
    """Every process takes as many patches, so that the mean of their gradients is the batch's."""
    if options.batch_size % processes:
        message = (
            f"a batch of {options.batch_size} patches cannot be shared out evenly to {processes} "
            f"processes; make batch_size a multiple of {processes}"
        )
        raise TrainError(message)


def _check_shape(sr: Tensor, lr: Tensor, hr: Tensor) -> None:
    if sr.shape != hr.shape:
        message = (
            f"the network turns patches of {tuple(lr.shape)} into {tuple(sr.shape)} where the "
            f"images ask for {tuple(hr.shape)}; set the scale of the network"
        )
        raise TrainError(message)


def _diverged(what: str, step: int, options: TrainOptions) -> str:
    return (
        f"{what} is not finite at step {step} of {options.steps}; lower learning_rate from "
        f"{options.learning_rate:g}, or set clip_norm"
    )


@contextmanager
def _own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Seed what a network draws in training, and give the caller's generators back as they were."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)
        for gpu in cuda:
            with torch.cuda.device(gpu):
                torch.cuda.manual_seed(seed)
        yield


def _clear(
    model: nn.Module, parameters: tuple[nn.Parameter, ...], accelerator: Accelerator
) -> None:
    """Leave neither gradients nor the marks of accelerate on a network."""
    for parameter in parameters:
        parameter.grad = None
    vars(model).pop("_is_accelerate_prepared", None)
    accelerator.free_memory()
