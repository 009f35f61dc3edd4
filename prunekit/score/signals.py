"""What layers read and make of each channel, and what their output loses without it."""

from __future__ import annotations

__all__ = ["LayerSignals", "Totals", "watch"]

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from prunekit.score.slices import Signals

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED, nn.Linear)


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

    Of the layers in `losses` it measures too what their output loses with each channel they read.
    """
    found: dict[str, LayerSignals] = {}
    hooks = []
    for path, module in model.named_modules():
        if isinstance(module, _LAYERS):
            hook = _hook(found, path, losses=path in losses)
            hooks.append(module.register_forward_hook(hook, with_kwargs=True))
    try:
        yield found
    finally:
        for handle in hooks:
            handle.remove()


def _hook(found: dict[str, LayerSignals], path: str, *, losses: bool) -> Any:
    def hook(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> None:
        given = args[0] if args else kwargs["input"]
        with torch.no_grad():
            x, y = given.detach(), output.detach()
            read = _totals(_by_channel(module, x))
            if losses:
                read.lost, read.lost_varying = _lost(module, x, y)
            seen = found.setdefault(path, LayerSignals(Totals(), Totals()))
            seen.read.add(read)
            seen.made.add(_totals(_by_channel(module, y)))
            seen.energy += float(y.double().square().sum())

    return hook


def _by_channel(module: nn.Module, value: Tensor) -> Tensor:
    """`(channels, values)`."""
    if isinstance(module, nn.Linear):
        return value.reshape(-1, value.shape[-1]).T
    space = module.weight.dim() - 2  # type: ignore[operator]
    return value.movedim(-space - 1, 0).flatten(1)


def _totals(values: Tensor) -> Totals:
    return Totals(
        count=values.shape[1],
        absolute=values.abs().sum(dim=1, dtype=torch.float64),
        plain=values.sum(dim=1, dtype=torch.float64),
        square=values.square().sum(dim=1, dtype=torch.float64),
        nonzero=(values != 0).sum(dim=1).double(),
    )


def _lost(module: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Energy that leaves the output with each input channel, and that of its changes alone."""
    if isinstance(module, nn.Linear):
        values = x.reshape(-1, x.shape[-1]).double()
        second, first = values.square().sum(dim=0), values.sum(dim=0)
        gain = module.weight.detach().double().square().sum(dim=0)
        return gain * second, gain * (second - first.square() / max(len(values), 1))
    if isinstance(module, nn.Conv2d) and module.groups == 1:
        return _lost_by_covariance(module, x, y)
    return _lost_one_by_one(module, x)


def _lost_by_covariance(module: nn.Conv2d, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """From the second moments of the values under the kernel: as exact, and much faster."""
    x = x[None] if x.dim() == 3 else x  # noqa: PLR2004 (without batch)
    weight = module.weight.detach().flatten(2).movedim(0, 1).double()  # (in, out, taps)
    channels, _, taps = weight.shape
    second = x.new_zeros(channels, taps, taps, dtype=torch.float64)
    first = x.new_zeros(channels, taps, dtype=torch.float64)
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    padding = module._reversed_padding_repeated_twice  # noqa: SLF001 (as `Conv2d.forward` reads it)
    for image in functional.pad(x, padding, mode=mode):
        seen = functional.unfold(
            image[None], module.kernel_size, module.dilation, stride=module.stride
        ).reshape(channels, taps, -1)
        second += (seen @ seen.mT).double()
        first += seen.sum(dim=2, dtype=torch.float64)
    count = y.numel() // module.out_channels
    varying = second - first[:, :, None] * first[:, None, :] / max(count, 1)
    return tuple((weight @ moments * weight).sum(dim=(1, 2)) for moments in (second, varying))  # type: ignore[return-value]


def _lost_one_by_one(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """By running the layer on each channel alone."""
    channels = _by_channel(module, x).shape[0]
    axis = x.dim() - (module.weight.dim() - 2) - 1  # type: ignore[operator]
    nothing = _run(module, torch.zeros_like(x))
    second, varying = [], []
    for channel in range(channels):
        alone = torch.zeros_like(x)
        alone.select(axis, channel).copy_(x.select(axis, channel))
        lost = _by_channel(module, _run(module, alone) - nothing).double()
        second.append(lost.square().sum())
        varying.append(second[-1] - (lost.sum(dim=1).square() / max(lost.shape[1], 1)).sum())
    return torch.stack(second), torch.stack(varying)


def _run(module: nn.Module, x: Tensor) -> Tensor:
    """What the layer makes, unseen by its hooks."""
    made: Tensor = module.forward(x)
    return made
