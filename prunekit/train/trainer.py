"""One step of training: what it needs, and its parts."""

from __future__ import annotations

__all__ = ["Part", "Trainer", "ready"]

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from accelerate import DistributedDataParallelKwargs
from torch import Tensor, nn

from prunekit.errors import TrainError
from prunekit.graph import clone_model
from prunekit.measure.mode import in_mode, placement
from prunekit.train.distill import Distillation, computing_in
from prunekit.train.ema import MovingAverage
from prunekit.train.hooks import TrainHook
from prunekit.train.losses import total_loss
from prunekit.train.optimizers import make_optimizer
from prunekit.train.options import TrainOptions
from prunekit.train.processes import Processes, is_of_others
from prunekit.train.randomness import own_generators

_MARKS = ("forward", "_original_forward", "_is_accelerate_prepared", "_is_torch_compile")
"""What accelerate and torch write on a network."""


class Part(NamedTuple):
    """Patches that are computed at once, `(N, 3, h, w)`, from 0 to 1."""

    lr: Tensor
    hr: Tensor
    teacher: Tensor | None = None
    """Its outputs, where they are kept."""


@dataclass(frozen=True)
class Trainer:
    """What one step of training needs; its methods are the parts of a step."""

    model: nn.Module
    """As accelerate wraps it."""
    inner: nn.Module
    """The network itself."""
    distillation: Distillation | None
    parameters: tuple[nn.Parameter, ...]
    """Those that are trained."""
    optimizer: Any
    processes: Processes
    options: TrainOptions
    device: torch.device
    dtype: torch.dtype
    hooks: Sequence[TrainHook]
    average: MovingAverage | None

    def set_learning_rate(self, learning_rate: float) -> None:
        """Of the next step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def update(self, step: int, parts: Sequence[Part]) -> float:
        """Take one step of the optimizer and return the loss before it.

        Args:
            step: steps done before.
            parts: this process's share of the batch; gradients are those of all of it together.
        """
        precise = torch.promote_types(self.dtype, torch.float32)
        total = torch.zeros((), device=self.device, dtype=precise)
        for place, part in enumerate(parts):
            last = place == len(parts) - 1
            with nullcontext() if last else self._accelerator.no_sync(self.model):
                loss = self._loss(part) / len(parts)
                total += loss.detach()
                if last:
                    loss = loss + self._regularisation(step)
                self._accelerator.backward(loss)
        value = self._checked(step, total)
        self._accelerator.unscale_gradients(self.optimizer)
        for hook in self.hooks:
            hook.after_backward(self.inner, step)
        if self.options.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.options.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        for hook in self.hooks:
            hook.after_step(self.inner, step)
        if self.average is not None:
            self.average.update()
        return value

    def check_weights(self) -> None:
        """Refuse weights that the last step ruined, which no later loss would show."""
        if not all(torch.isfinite(parameter).all() for parameter in self.parameters):
            raise TrainError(_diverged("a weight", self.options.steps, self.options))

    @property
    def _accelerator(self) -> Any:
        return self.processes.accelerator

    def _placed(self, patches: Tensor) -> Tensor:
        placed = patches.to(self.device, self.dtype, non_blocking=True)
        last = self.options.channels_last and _is_image(placed)
        return placed.contiguous(memory_format=torch.channels_last) if last else placed

    def _loss(self, part: Part) -> Tensor:
        lr, hr = self._placed(part.lr), self._placed(part.hr)
        watched = self.distillation.ours.watched() if self.distillation else nullcontext()
        with watched:
            sr = self._super_resolve(lr)
        _check_shape(sr, lr, hr)
        loss = total_loss(sr, hr, self.options.losses)
        if self.distillation is None:
            return loss
        kept = None if part.teacher is None else self._placed(part.teacher)
        return loss + self.distillation.term(lr, sr, kept)

    def _regularisation(self, step: int) -> Tensor | float:
        terms = [hook.before_backward(self.inner, step) for hook in self.hooks]
        found = [term for term in terms if term is not None]
        return torch.stack(found).sum() if found else 0.0

    def _super_resolve(self, lr: Tensor) -> Tensor:
        """Refuse whatever the network does instead of returning an image."""
        try:
            with self._cast():
                sr = self.model(lr)
        except TrainError:
            raise
        except Exception as error:  # the network's own code can fail in any way
            if self.processes.count > 1 and is_of_others(error):
                raise
            message = (
                f"the network fails on training patches of {tuple(lr.shape)} "
                f"({type(error).__name__}: {error}); {self._way_out}, or leave the training out"
            )
            raise TrainError(message) from error
        if not isinstance(sr, Tensor):
            message = (
                f"the network returns a {type(sr).__name__} in training where the image alone is "
                "needed; wrap it in a module that returns the image"
            )
            raise TrainError(message)
        lowered = self.options.precision == "bf16" and sr.dtype == torch.bfloat16
        return sr.float() if lowered else sr

    def _cast(self) -> AbstractContextManager[object]:
        """Within it bf16 is computed in, if it was asked for; fp16 is seen to by accelerate."""
        lower = self.options.precision == "bf16"
        return computing_in("bf16", self.device) if lower else nullcontext()

    @property
    def _way_out(self) -> str:
        """What to try where the network fails."""
        for name in ("compile", "channels_last"):
            if getattr(self.options, name):
                return f"leave {name} out"
        return "change patch_size"

    def _checked(self, step: int, loss: Tensor) -> float:
        """Return the mean loss over the processes, which then all go on or all stop."""
        value = self.processes.mean(loss)
        if not math.isfinite(value):
            raise TrainError(_diverged("the loss", step + 1, self.options))
        return value


@contextmanager
def ready(
    model: nn.Module,
    teacher: nn.Module | None,
    options: TrainOptions,
    *,
    seed: int,
    device: torch.device,
    hooks: Sequence[TrainHook] = (),
    matches: Sequence[str] = (),
) -> Iterator[Trainer]:
    """Get a network ready for training, and clear up behind it, also after a failure."""
    if (teacher is None) != (options.distill is None):
        message = "a teacher is given if and only if options.distill is"
        raise ValueError(message)
    parameters = _trainable(model)
    _check_type(parameters, options)
    with ExitStack() as cleanup:
        processes = cleanup.enter_context(Processes.begun(options))
        device = processes.accelerator.device if processes.count > 1 else device
        _check_precision(options, device)
        cleanup.callback(_clear, model, parameters, dict(vars(model)))
        cleanup.enter_context(own_generators(seed + processes.index, device))
        cleanup.enter_context(in_mode(model.to(device), training=True))
        networks = [model] if teacher is None else [model, teacher]
        if teacher is not None:
            cleanup.enter_context(in_mode(teacher.to(device), training=False))
        if options.channels_last:
            cleanup.enter_context(_channels_last(networks))
        optimizer = make_optimizer(parameters, options)
        optimizer.zero_grad()
        wrapped, prepared = _prepared(model, optimizer, options, processes)
        yield Trainer(
            model=wrapped,
            inner=model,
            distillation=_distillation(teacher, options, model, matches),
            parameters=parameters,
            optimizer=prepared,
            processes=processes,
            options=options,
            device=device,
            dtype=placement(model)[1],
            hooks=hooks,
            average=None if options.ema is None else MovingAverage(model, options.ema),
        )


def _distillation(
    teacher: nn.Module | None, options: TrainOptions, model: nn.Module, matches: Sequence[str]
) -> Distillation | None:
    if teacher is None or options.distill is None:
        return None
    return Distillation(teacher, options.distill, model, matches)


def _prepared(
    model: nn.Module, optimizer: torch.optim.Optimizer, options: TrainOptions, processes: Processes
) -> tuple[nn.Module, Any]:
    accelerator = processes.accelerator
    if processes.count > 1:
        unused = _has_unused(model, options)
        accelerator.ddp_handler = DistributedDataParallelKwargs(find_unused_parameters=unused)
    compiled = torch.compile(model) if options.compile else model
    wrapped, prepared = accelerator.prepare(compiled, optimizer)
    return wrapped, prepared


def _has_unused(model: nn.Module, options: TrainOptions) -> bool:
    """Whether some parameter gets no gradient, which several processes have to know before."""
    probe = clone_model(model)
    device, dtype = placement(probe)
    patch = torch.rand(1, 3, options.patch_size, options.patch_size, device=device, dtype=dtype)
    with own_generators(0, device):
        try:
            result = probe(patch)
            result.sum().backward()
        except Exception:  # noqa: BLE001 - the first step will tell it in a sentence
            return True
    return any(p.grad is None for p in probe.parameters() if p.requires_grad)


def _check_precision(options: TrainOptions, device: torch.device) -> None:
    if options.precision == "fp16" and device.type == "cpu":
        message = "precision fp16 cannot be had on a CPU; take bf16 or fp32, or another device"
        raise TrainError(message)


def _check_type(parameters: Sequence[nn.Parameter], options: TrainOptions) -> None:
    if options.optimizer != "sgd" and any(p.dtype == torch.float16 for p in parameters):
        message = (
            f"the network's weights are float16, in which {options.optimizer} divides by zero; "
            "train it in float32 (model.float()), with precision fp16 or bf16 if it should be fast"
        )
        raise TrainError(message)


def _trainable(model: nn.Module) -> tuple[nn.Parameter, ...]:
    parameters = tuple(p for p in model.parameters() if p.requires_grad)
    if not parameters:
        message = (
            "the network has no parameter that requires a gradient, so there is nothing to train; "
            "call requires_grad_() on it or leave the training out"
        )
        raise TrainError(message)
    return parameters


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


def _clear(
    model: nn.Module, parameters: tuple[nn.Parameter, ...], before: Mapping[str, Any]
) -> None:
    """Leave neither gradients nor the marks of accelerate on a network."""
    for parameter in parameters:
        parameter.grad = None
    for mark in _MARKS:
        if mark in before:
            vars(model)[mark] = before[mark]
        else:
            vars(model).pop(mark, None)


@contextmanager
def _channels_last(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Lay kernels out with channels last for a while."""
    for network in networks:
        _lay_out(network, torch.channels_last)
    try:
        yield
    finally:
        for network in networks:
            _lay_out(network, torch.contiguous_format)


def _is_image(tensor: Tensor) -> bool:
    """Whether it is `(N, C, H, W)`, what channels can be last in; clips have one axis more."""
    return tensor.ndim == len(("N", "C", "H", "W"))


def _lay_out(network: nn.Module, layout: torch.memory_format) -> None:
    for tensor in (*network.parameters(), *network.buffers()):
        if _is_image(tensor):
            tensor.data = tensor.data.contiguous(memory_format=layout)
