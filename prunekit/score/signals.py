"""What layers read and make of each channel, and what their output loses without it."""

from __future__ import annotations

__all__ = ["LayerSignals", "Totals", "watch"]

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from prunekit.score.slices import Signals

_LAYERS = (
    *(nn.Conv1d, nn.Conv2d, nn.Conv3d),
    *(nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    nn.Linear,
)


@dataclass
class Totals:
    """Sums over the values of each channel: `(channels,)`, float64."""

    count: int = 0
    absolute: Tensor | float = 0.0
    plain: Tensor | float = 0.0
    square: Tensor | float = 0.0
    nonzero: Tensor | float = 0.0
    lost: Tensor | float = 0.0
    """Of the layer's output energy, for what it reads."""
    lost_varying: Tensor | float = 0.0

    def add(self, other: Totals) -> None:
        """Add what another pass has seen."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))


@dataclass
class LayerSignals:
    """What one layer read and made over all calls."""

    read: Totals
    made: Totals
    energy: float = 0.0
    """Sum of the squares of its output."""

    def of_reads(self, channels: Tensor) -> Signals:
        """Of units, each of some channels, `(units, channels)`, that the layer reads."""
        energy = self.energy or 1.0  # a layer that puts out nothing loses nothing
        lost = (_of(self.read.lost, channels) / energy).sum(dim=1)
        varying = (_of(self.read.lost_varying, channels) / energy).sum(dim=1)
        return _signals(self.read, channels, lost, varying)

    def of_makes(self, channels: Tensor) -> Signals:
        """Of units that it makes; without them its output loses what they are."""
        energy = self.energy or 1.0
        lost = (_of(self.made.square, channels) / energy).sum(dim=1)
        constant = _of(self.made.plain, channels).square() / max(self.made.count, 1) / energy
        return _signals(self.made, channels, lost, lost - constant.sum(dim=1))


def _of(values: Tensor | float, channels: Tensor) -> Tensor:
    if not isinstance(values, Tensor):  # never measured
        return torch.zeros(channels.shape, dtype=torch.float64)
    return values.cpu()[channels]


def _signals(totals: Totals, channels: Tensor, lost: Tensor, varying: Tensor) -> Signals:
    count = max(totals.count, 1)
    mean = _of(totals.plain, channels) / count
    return Signals(
        mean_abs=(_of(totals.absolute, channels) / count).mean(dim=1),
        variance=(_of(totals.square, channels) / count - mean.square()).clamp_min(0).mean(dim=1),
        nonzero=(_of(totals.nonzero, channels) / count).mean(dim=1),
        lost=lost,
        lost_varying=varying.clamp_min(0),
    )


@contextmanager
def watch(model: nn.Module, losses: Collection[str] = ()) -> Iterator[Mapping[str, LayerSignals]]:
    """Watch every convolution and linear layer while the model runs, by path.

    Looked at is what goes into the arithmetic itself, and which weights do: a layer's own `forward`
    may put axes elsewhere, pad, or normalise its weights first. Of the layers in `losses` it
    measures too what their output loses with each channel they read.
    """
    watcher = _Watcher(frozenset(losses))
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, _LAYERS):
            hooks.append(module.register_forward_pre_hook(watcher.enter(path)))
            hooks.append(module.register_forward_hook(watcher.leave, always_call=True))
    try:
        with watcher:
            yield watcher.found
    finally:
        for handle in hooks:
            handle.remove()


class _Watcher(TorchFunctionMode):
    """Sees the arithmetic of the layer that runs."""

    def __init__(self, losses: Collection[str]) -> None:
        super().__init__()
        self.found: dict[str, LayerSignals] = {}
        self._losses = losses
        self._running: list[tuple[str, nn.Module]] = []

    def enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        """Hook before the layer at a path."""
        return lambda module, _: self._running.append((path, module))

    def leave(self, *_: Any) -> None:
        """Hook behind a layer, also one that fails."""
        self._running.pop()

    def __torch_function__(
        self, func: Any, _: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if self._running and func in _ARGUMENTS:
            path, module = self._running[-1]
            call = _Call(func, dict(zip(_ARGUMENTS[func], args, strict=False)) | (kwargs or {}))
            if call.weight.shape == module.weight.shape:
                with torch.no_grad():
                    self._add(path, call, result.detach())
        return result

    def _add(self, path: str, call: _Call, y: Tensor) -> None:
        x = call.given
        read = _totals(call.by_channel(x))
        if path in self._losses:
            read.lost, read.lost_varying = _lost(call, x, y)
        seen = self.found.setdefault(path, LayerSignals(Totals(), Totals()))
        seen.read.add(read)
        seen.made.add(_totals(call.by_channel(y)))
        seen.energy += float(y.double().square().sum())


_CONVOLUTION = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_UPCONVOLUTION = (*_CONVOLUTION[:5], "output_padding", "groups", "dilation")
_ARGUMENTS: Mapping[Any, tuple[str, ...]] = {
    functional.linear: ("input", "weight", "bias"),
    **dict.fromkeys((functional.conv1d, functional.conv2d, functional.conv3d), _CONVOLUTION),
    **dict.fromkeys(
        (
            functional.conv_transpose1d,
            functional.conv_transpose2d,
            functional.conv_transpose3d,
        ),
        _UPCONVOLUTION,
    ),
}


@dataclass(frozen=True)
class _Call:
    """One convolution or product."""

    function: Any
    arguments: Mapping[str, Any]

    @property
    def given(self) -> Tensor:
        """What is read."""
        given: Tensor = self.arguments["input"].detach()
        return given

    @property
    def weight(self) -> Tensor:
        """As it was multiplied with."""
        weight: Tensor = self.arguments["weight"].detach()
        return weight

    @property
    def is_linear(self) -> bool:
        """Whether channels are last."""
        return self.function is functional.linear

    def run(self, x: Tensor) -> Tensor:
        """Do the same to other values, without the bias."""
        made: Tensor = self.function(**{**self.arguments, "input": x, "bias": None})
        return made

    def channel_axis(self, value: Tensor) -> int:
        """Axis of the channels of what is read or made."""
        return -1 if self.is_linear else value.dim() - self.weight.dim() + 1

    def by_channel(self, value: Tensor) -> Tensor:
        """`(channels, values)`."""
        return value.movedim(self.channel_axis(value), 0).flatten(1)


def _totals(values: Tensor) -> Totals:
    return Totals(
        count=values.shape[1],
        absolute=values.abs().sum(dim=1, dtype=torch.float64),
        plain=values.sum(dim=1, dtype=torch.float64),
        square=values.square().sum(dim=1, dtype=torch.float64),
        nonzero=(values != 0).sum(dim=1).double(),
    )


def _lost(call: _Call, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Energy that leaves the output with each input channel, and that of its changes alone."""
    if call.is_linear:
        values = x.reshape(-1, x.shape[-1]).double()
        second, first = values.square().sum(dim=0), values.sum(dim=0)
        gain = call.weight.double().square().sum(dim=0)
        return gain * second, gain * (second - first.square() / max(len(values), 1))
    if call.function is functional.conv2d and call.arguments.get("groups", 1) == 1:
        return _lost_by_covariance(call, x, y)
    return _lost_one_by_one(call, x)


def _lost_by_covariance(call: _Call, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """From the second moments of the values under the kernel: as exact, and much faster."""
    x = x[None] if x.dim() == 3 else x  # noqa: PLR2004 (without batch)
    kernel = call.weight.shape[2:]
    weight = call.weight.flatten(2).movedim(0, 1).double()  # (in, out, taps)
    channels, makes, taps = weight.shape
    second = x.new_zeros(channels, taps, taps, dtype=torch.float64)
    first = x.new_zeros(channels, taps, dtype=torch.float64)
    dilation = _pair(call.arguments.get("dilation", 1))
    padding = _padding(call.arguments.get("padding", 0), kernel, dilation)
    stride = _pair(call.arguments.get("stride", 1))
    for image in functional.pad(x, padding):
        seen = functional.unfold(image[None], kernel, dilation, stride=stride)
        seen = seen.reshape(channels, taps, -1)
        second += (seen @ seen.mT).double()
        first += seen.sum(dim=2, dtype=torch.float64)
    count = y.numel() // makes
    varying = second - first[:, :, None] * first[:, None, :] / max(count, 1)
    return tuple((weight @ moments * weight).sum(dim=(1, 2)) for moments in (second, varying))  # type: ignore[return-value]


def _padding(
    given: str | int | Sequence[int], kernel: Sequence[int], dilation: Sequence[int]
) -> list[int]:
    """Zeros put around an image as `functional.pad` takes them: left, right, top, bottom."""
    if not isinstance(given, str):
        return [side for each in reversed(_pair(given)) for side in (each, each)]
    added = [d * (k - 1) if given == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
    return [side for each in reversed(added) for side in (each // 2, each - each // 2)]


def _pair(value: int | Sequence[int]) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value) * (2 // len(value))


def _lost_one_by_one(call: _Call, x: Tensor) -> tuple[Tensor, Tensor]:
    """By running the layer on each channel alone."""
    axis = call.channel_axis(x)
    second, varying = [], []
    for channel in range(x.shape[axis]):
        alone = torch.zeros_like(x)
        alone.select(axis, channel).copy_(x.select(axis, channel))
        lost = call.by_channel(call.run(alone)).double()
        second.append(lost.square().sum())
        varying.append(second[-1] - (lost.sum(dim=1).square() / max(lost.shape[1], 1)).sum())
    return torch.stack(second), torch.stack(varying)
