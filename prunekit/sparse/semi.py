"""2:4 sparsity on hardware: torch's semi-structured tensors, where device and layer allow them."""

from __future__ import annotations

__all__ = ["SemiStructured", "semi_structured", "unsupported_device"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.sparse import to_sparse_semi_structured

from prunekit.graph import clone_model
from prunekit.sparse.layers import find_weights
from prunekit.sparse.masks import Masks, Pattern

_AMPERE = (8, 0)
_TYPES = (torch.float16, torch.bfloat16)
_PAIRS = (2, 4)


@dataclass(frozen=True, eq=False)
class SemiStructured:
    """A network whose 2:4 layers run on sparse tensor cores, and what stays dense."""

    model: nn.Module
    """For inference."""
    converted: tuple[str, ...]
    """Layers that run so."""
    dense: Mapping[str, str]
    """Other layers with a convolution or linear weight, and why they do not."""


def unsupported_device(device: torch.device) -> str:
    """Why a device has no sparse tensor cores that torch can use; empty if it has."""
    if device.type != "cuda":
        return f"2:4 kernels of torch need an NVIDIA GPU, and the network is on {device.type}"
    capability = torch.cuda.get_device_capability(device)
    if capability < _AMPERE:
        return f"2:4 kernels of torch need compute capability 8.0, and {device} has {capability}"
    return ""


def semi_structured(model: nn.Module, masks: Masks) -> SemiStructured:
    """Return a copy that computes its 2:4 layers with torch's semi-structured tensors.

    Linear layers, and convolutions as products with unfolded images, in half precision. A layer
    stays dense where its weight has no 2:4 mask, where its shape is not one that the kernels take,
    or where the device has none.
    """
    copy = clone_model(model).eval()
    weights, dense = find_weights(copy)
    converted = []
    for weight in weights:
        parameter = copy.get_parameter(weight.name)
        why = unsupported_device(parameter.device) or _unsupported(
            copy.get_submodule(weight.layer), parameter, masks.patterns.get(weight.name)
        )
        try:
            if not why:
                _convert(copy, weight.layer)
                converted.append(weight.layer)
        except (RuntimeError, ValueError) as error:  # what a kernel takes is up to torch
            why = str(error).splitlines()[0]
        if why:
            dense[weight.name] = why
    return SemiStructured(copy, tuple(converted), dense)


def _unsupported(layer: nn.Module, weight: Tensor, pattern: Pattern | None) -> str:
    """Why a layer cannot run so; empty if torch decides."""
    if pattern is None or (pattern.stays, pattern.block) != _PAIRS:
        return "its weight has no 2:4 mask"
    if weight.dtype not in _TYPES:
        return f"2:4 kernels take half precision, and it is {weight.dtype}"
    match layer:
        case nn.Linear():
            return ""
        case nn.Conv2d() if layer.groups == 1 and layer.padding_mode == "zeros":
            plain = not isinstance(layer.padding, str)
            return "" if plain else "its padding is told by a word"
        case _:
            return f"a {type(layer).__name__} of this kind has no product to speed up"


def _convert(model: nn.Module, path: str) -> None:
    layer = model.get_submodule(path)
    if isinstance(layer, nn.Linear):
        layer.weight = nn.Parameter(
            to_sparse_semi_structured(layer.weight.detach()), requires_grad=False
        )
        return
    assert isinstance(layer, nn.Conv2d)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, _UnfoldedConv(layer))


class _UnfoldedConv(nn.Module):
    """A convolution as a product of a sparse matrix with unfolded images."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        assert not isinstance(layer.padding, str)
        # the input dimension goes last, since along it four that follow one another are a block
        flat = layer.weight.detach().permute(0, 2, 3, 1).flatten(1).contiguous()
        self.weight = nn.Parameter(to_sparse_semi_structured(flat), requires_grad=False)
        self.bias = layer.bias
        self.in_channels = layer.in_channels
        self.geometry = (layer.kernel_size, layer.dilation, layer.padding, layer.stride)

    def forward(self, x: Tensor) -> Tensor:
        columns = F.unfold(x, *self.geometry)
        batch, _, places = columns.shape
        lines = columns.view(batch, self.in_channels, -1, places).permute(0, 3, 2, 1)
        result = F.linear(lines.reshape(batch * places, -1), self.weight, self.bias)
        height, width = (
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, kernel, dilation, padding, stride in zip(
                x.shape[2:], *self.geometry, strict=True
            )
        )
        return result.view(batch, height, width, -1).permute(0, 3, 1, 2)
