"""Slices: what leaves a tensor with each unit of a group, and what was measured of it."""

from __future__ import annotations

__all__ = [
    "Indices",
    "Kind",
    "Layers",
    "Role",
    "Signals",
    "Slice",
    "read_channels",
    "rows",
    "split_name",
]

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, fields
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from prunekit.graph import Member

Indices = NDArray[np.int64]

Kind = Literal["convolution", "linear", "batch_norm", "norm", "other"]
"""What the module of a tensor is."""

Role = Literal["makes", "reads", "bias", "gain", "scale", "shift", "other"]
"""What an axis of a tensor is to the channels: weights that make or read them and the bias of those
that make them; the lengths of a weight norm; the affine weights of a norm; something else."""


_BLOCK = 2**16
"""Numbers of a block of rows."""


@dataclass(frozen=True, eq=False)
class Signals:
    """What a layer reads of each unit, or makes of it, over the calibration images: `(units,)`."""

    mean_abs: Tensor
    variance: Tensor
    nonzero: Tensor
    """Share of the values that are not zero."""
    lost: Tensor
    """Mean square of what the layer's output loses with the unit, as a share of its own."""
    lost_varying: Tensor
    """The same without what is constant, which a bias could make up for."""

    def to(self, device: torch.device) -> Signals:
        """The same on a device."""
        return Signals(*(getattr(self, field.name).to(device) for field in fields(self)))


@dataclass(frozen=True, eq=False)
class Slice:
    """The part of a group that lies on one axis of one parameter."""

    tensor: str
    axis: int
    module: str
    """Dotted path of the module that holds it; "" is the model itself."""
    layer: nn.Module
    """That module; its parameters have gradients if they were asked for."""
    kind: Kind
    role: Role
    indices: Indices
    """`(units, indices of a unit)` along the axis."""
    parameter: Tensor
    """The whole of it, without a gradient."""
    squares: Tensor | None = None
    """Mean over calibration batches of the squared gradient, of the same shape."""
    products: Tensor | None = None
    """`(batches, units)`: sum over the elements of weight times gradient."""
    signals: Signals | None = None
    change: Tensor | None = None
    """`(units,)`: mean square by which the network's output changes without the whole unit."""

    @cached_property
    def weights(self) -> Tensor:
        """`(units, elements)`, float64: row u is what leaves with unit u."""
        return _exact(self._moved, self.indices)

    def blocks(self) -> Iterator[Tensor]:
        """`weights`, some rows at a time: large copies would cost more time than the arithmetic."""
        elements = self.indices.shape[1] * math.prod(self._moved.shape[1:])
        step = max(_BLOCK // max(elements, 1), 1)
        for start in range(0, len(self.indices), step):
            yield _exact(self._moved, self.indices[start : start + step])

    @property
    def _moved(self) -> Tensor:
        return self.parameter.movedim(self.axis, 0)

    @property
    def is_weight(self) -> bool:
        """Whether it is of the weights of a convolution or matrix product."""
        return self.role in ("makes", "reads")


def split_name(name: str) -> tuple[str, str]:
    """Path of the module that computes with a parameter, and what it is called there.

    What torch keeps of a reparametrised weight belongs to the layer it is the weight of.
    """
    path, _, leaf = name.rpartition(".")
    if ".parametrizations." in f".{path}":
        path, _, weight = f".{path}".rpartition(".parametrizations.")
        return path.removeprefix("."), f"{weight}.{leaf}"
    return path, leaf


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)  # noqa: SLF001 (the base of all batch norms)
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.instancenorm._InstanceNorm)  # noqa: SLF001 (likewise)
_WEIGHTS = ("weight", "weight_v", "weight.original1", "weight.original")
_GAINS = ("weight_g", "weight.original0")


@dataclass(frozen=True, eq=False)
class Layers:
    """Tells what the tensors of a model are."""

    model: nn.Module
    outputs: Collection[tuple[str, int]] = ()
    """Axes that make channels, of tensors that are no layer's (`ChannelGraph.output_axes`)."""
    _products: set[str] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_products", {name for name, _ in self.outputs})

    @cached_property
    def modules(self) -> dict[str, nn.Module]:
        """Every module by its path."""
        return dict(self.model.named_modules())

    def kind(self, path: str) -> Kind:
        """What a module is."""
        match self.modules.get(path):
            case module if isinstance(module, _CONVOLUTIONS + _TRANSPOSED):
                return "convolution"
            case nn.Linear():
                return "linear"
            case module if isinstance(module, _BATCH_NORMS) and not isinstance(module, _NORMS):
                return "batch_norm"
            case module if isinstance(module, _NORMS):
                return "norm"
        return "other"

    def role(self, name: str, axis: int) -> Role:
        """What an axis of a parameter is to the channels along it."""
        path, leaf = split_name(name)
        kind = self.kind(path)
        if kind in ("convolution", "linear"):
            return self._of_layer(path, leaf, axis)
        if kind in ("batch_norm", "norm"):
            return {"weight": "scale", "bias": "shift"}.get(leaf, "other")  # type: ignore[return-value]
        if name in self._products:
            return "makes" if (name, axis) in self.outputs else "reads"
        return "other"

    def _of_layer(self, path: str, leaf: str, axis: int) -> Role:
        if leaf in _GAINS and axis == 0:
            return "gain"
        if leaf in _WEIGHTS:
            makes = 1 if isinstance(self.modules[path], _TRANSPOSED) else 0
            return "makes" if axis == makes else "reads"
        return "bias" if leaf == "bias" else "other"

    def slice_of(self, member: Member, parameter: Tensor, **measured: Any) -> Slice:
        """The slices of all units along one axis of a parameter."""
        path, _ = split_name(member.tensor)
        return Slice(
            tensor=member.tensor,
            axis=member.axis,
            module=path,
            layer=self.modules[path],
            kind=self.kind(path),
            role=self.role(member.tensor, member.axis),
            indices=member.indices,
            parameter=parameter.detach(),
            **measured,
        )


def read_channels(layer: nn.Module, columns: Indices) -> Indices:
    """Channels `(units, channels)` of a layer's input that go with columns of its weight.

    A grouped convolution reads as many times its columns as it has groups.
    """
    conv_groups = getattr(layer, "groups", 1)
    if conv_groups == 1 or isinstance(layer, _TRANSPOSED):
        return columns
    width = int(layer.in_channels) // conv_groups  # type: ignore[arg-type]
    shifts = np.arange(conv_groups) * width
    found: Indices = (columns[:, None, :] + shifts[None, :, None]).reshape(len(columns), -1)
    return found


def rows(member: Member, tensor: Tensor) -> Tensor:
    """`(units, elements)` in float64, of a tensor of the shape of the member's."""
    return _exact(tensor.detach().movedim(member.axis, 0), member.indices)


def _exact(moved: Tensor, units: Indices) -> Tensor:
    """Rows of units along the first axis, in float64."""
    places = units.flatten()
    first = int(places[0]) if len(places) else 0
    if (places == np.arange(first, first + len(places))).all():
        chosen = moved[first : first + len(places)]
    else:
        chosen = moved[torch.from_numpy(places).to(moved.device)]
    exact = chosen.to(torch.float64, memory_format=torch.contiguous_format)
    return exact.reshape(len(units), -1)
