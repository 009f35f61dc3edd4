"""Make torchvision importable beside a torch that its compiled operators were not built for."""

from __future__ import annotations

__all__ = ["deform_conv2d", "ensure_torchvision"]

import functools
import importlib
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    (
        "deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias, "
        "int stride_h, int stride_w, int pad_h, int pad_w, int dilation_h, int dilation_w, "
        "int groups, int n_offset_groups, bool use_mask) -> Tensor"
    ),
)


@functools.cache  # the library has to live as long as its operators are used
def ensure_torchvision() -> Any:
    """Define the operators that torchvision needs to import, where its own did not load.

    The deformable convolution of EDVR and BasicVSR++ keeps its name, `torchvision::deform_conv2d`,
    and is computed by `deform_conv2d` below; so a recording shows what it shows elsewhere.
    """
    try:
        importlib.import_module("torchvision")
    except ImportError:
        return None
    except RuntimeError:  # operator torchvision::nms does not exist
        pass
    else:
        return None
    make_library: Any = torch.library.Library  # torch leaves it untyped
    library = make_library("torchvision", "DEF")
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("deform_conv2d", deform_conv2d, "CPU")
    library.impl("deform_conv2d", _deform_conv2d_shape, "Meta")
    importlib.import_module("torchvision")  # first, for it would register more if it had operators
    extension: Any = importlib.import_module("torchvision.extension")
    extension._has_ops = lambda: True  # noqa: SLF001 - its own switch
    return library


def deform_conv2d(
    x: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    *geometry: int,
) -> Tensor:
    """Deformable convolution: every tap samples where its offset says (Dai et al. 2017).

    `geometry` is stride, padding and dilation by height and width, `groups`, the number of offset
    groups, and whether `mask` counts.
    """
    conv_groups, offset_groups, use_mask = geometry[6:]
    taps = weight.shape[2] * weight.shape[3]
    batch, _, height, width = offset.shape
    offset = offset.view(batch, offset_groups, taps, 2, height, width)
    strengths = mask.view(batch, offset_groups, taps, height, width) if use_mask else None
    parts = []
    for number, part in enumerate(x.chunk(offset_groups, 1)):
        columns = _sampled(part, offset[:, number], weight.shape[2:], geometry)
        if strengths is not None:
            columns = columns * strengths[:, number, None]
        parts.append(columns)
    columns = torch.cat(parts, 1).view(batch, conv_groups, -1, height * width)
    kernels = weight.reshape(conv_groups, weight.shape[0] // conv_groups, -1)
    result = torch.einsum("gok,bgkp->bgop", kernels, columns)
    return result.reshape(batch, -1, height, width) + bias.view(-1, 1, 1)


def _sampled(x: Tensor, offset: Tensor, kernel: torch.Size, geometry: tuple[int, ...]) -> Tensor:
    """Bilinear samples `(batch, channels, taps, height, width)`, zero outside."""
    batch, taps, _, height, width = offset.shape
    positions = []
    for axis, length in enumerate((height, width)):
        stride, padding, dilation = geometry[axis:6:2]
        start = torch.arange(length, dtype=x.dtype) * stride - padding
        tap = torch.arange(kernel[axis], dtype=x.dtype) * dilation
        tap = tap.view(-1, 1).expand(*kernel) if axis == 0 else tap.expand(*kernel)
        start = start.view(-1, 1) if axis == 0 else start
        positions.append(offset[:, :, axis] + tap.reshape(taps, 1, 1) + start)
    scaled = [
        2 * position / max(1, side - 1) - 1
        for position, side in zip(positions, x.shape[2:], strict=True)
    ]
    grid = torch.stack(scaled[::-1], -1).view(batch, taps * height, width, 2)
    columns = F.grid_sample(x, grid, align_corners=True)
    return columns.view(batch, -1, taps, height, width)


def _deform_conv2d_shape(x: Tensor, weight: Tensor, offset: Tensor, *_: object) -> Tensor:
    return x.new_empty((x.shape[0], weight.shape[0], *offset.shape[-2:]))
