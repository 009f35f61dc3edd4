"""Convolutions in every form: computed weights, other dimensions, other operators."""

from __future__ import annotations

__all__ = [
    "Reparametrised",
    "ReparametrisedWeight",
    "MergedBySwitch",
    "MergedInEvaluation",
    "DynamicKernel",
    "WeightNormColumns",
    "WeightNormHook",
    "WeightNormOne",
    "WeightNormParametrized",
    "Standardised",
    "BlurredByExpand",
    "Separable",
    "GroupedTransposed",
    "ConvGroupsLeave",
    "OneDimension",
    "AcrossChannels",
    "ThreeDimensions",
    "Deformable",
    "Unfolded",
    "Folded",
    "SpectralNorm",
    "EinsumPointwise",
    "FakeQuantised",
    "Reassembled",
]

import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from prunekit.graph import rules
from tests.wirings.net import Net, conv, point


class Reparametrised(Net):
    """A 3x3, a 1x1 and an identity side by side (RepVGG): in and out are one group."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.large, self.small = conv(8, 8), point(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.large(x) + self.small(x) + x))


class ReparametrisedWeight(Net):
    """The same merged into one weight, the identity a buffer: in and out may differ."""

    widths = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.large, self.small = conv(8, 8), point(8, 8, bias=False)
        self.register_buffer("identity", nn.init.dirac_(torch.empty(8, 8, 3, 3)))

    def forward(self, x: Tensor) -> Tensor:
        weight = self.large.weight + F.pad(self.small.weight, [1, 1, 1, 1]) + self.identity
        return self.tail(F.relu(F.conv2d(self.head(x), weight, self.large.bias, padding=1)))


class _Merged(nn.Module):
    """A 1x1 and a 3x3 that become one 3x3, written to another layer before it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer, self.merged = point(8, 10, bias=False), conv(10, 7), conv(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        first = self.inner.weight.data.clone().detach()
        second = self.outer.weight.data.clone().detach()
        weight = F.conv2d(first.flip(2, 3).permute(1, 0, 2, 3), second, padding=2)
        weight = weight.flip(2, 3).permute(1, 0, 2, 3)
        self.merged.weight.data = weight.contiguous()
        self.merged.bias.data = self.outer.bias.data.clone()
        return self.merged(x)


class MergedInEvaluation(Net):
    """A weight computed from two layers replaces that of a third in every call (SPAN)."""

    widths = (10, 8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), _Merged(), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.silu(self.mid(self.head(x))))


class MergedBySwitch(Net):
    """Branches that the switch to evaluation merges into a layer of its own (RepConv)."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.wide, self.narrow, self.merged = conv(8, 8), point(8, 8), conv(8, 8)

    def train(self, mode: bool = True) -> Net:  # noqa: FBT001, FBT002 (torch's own form)
        if not mode:
            narrow = F.pad(self.narrow.weight, (1, 1, 1, 1))
            self.merged.weight = nn.Parameter(self.wide.weight + narrow)
            self.merged.bias = nn.Parameter(self.wide.bias + self.narrow.bias)
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        if self.training:
            return self.tail(x + self.wide(x) + self.narrow(x))
        return self.tail(x + self.merged(x))


class DynamicKernel(Net):
    """A mixture of kernels, weighed by the image: experts, rows and columns are a group each."""

    widths = (8, 7, 4)
    inexact = (4,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.router = conv(3, 8), conv(7, 3), nn.Linear(8, 4)
        self.bank = nn.Parameter(torch.rand(4, 7, 8, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        share = self.router(x.mean(dim=(2, 3)))[0].softmax(dim=0)
        weight = (self.bank * share[:, None, None, None, None]).sum(dim=0)
        return self.tail(F.conv2d(x, weight, padding=1))


class WeightNormHook(Net):
    """Weight normalisation by a hook: length and direction follow the weight."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(7, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # many networks still use this form
            self.mid = nn.utils.weight_norm(conv(8, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x))))


class WeightNormParametrized(Net):
    """Weight normalisation by a parametrization."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        parametrizations.weight_norm(self.mid)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x))))


class WeightNormColumns(Net):
    """A length for every input channel: that of a column without the rows that leave."""

    widths = (8, 7)
    inexact = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(7, 3)
        self.mid = parametrizations.weight_norm(conv(8, 7), dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x))))


class WeightNormOne(Net):
    """One length for the whole weight, by a hook."""

    widths = (8, 7)
    inexact = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(7, 3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            self.mid = nn.utils.weight_norm(conv(8, 7), dim=None)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x))))


class Standardised(Net):
    """A weight less its mean, over its deviation: one column fewer changes both."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.mid.weight
        weight = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        weight = weight / (weight.std(dim=(1, 2, 3), keepdim=True) + 1e-5)
        return self.tail(F.relu(F.conv2d(self.head(x), weight, self.mid.bias, padding=1)))


class BlurredByExpand(Net):
    """One fixed kernel expanded to as many channels as there are."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.register_buffer("kernel", torch.rand(1, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        c = x.shape[1]
        return self.tail(F.conv2d(x, self.kernel.expand(c, 1, 3, 3), padding=1, groups=c))


class Separable(Net):
    """Pointwise, depthwise, pointwise (an inverted bottleneck): the wide part is one group."""

    widths = (12, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.widen, self.depth = point(8, 12), nn.Conv2d(12, 12, 5, padding=2, groups=12)
        self.narrow = point(12, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.narrow(F.hardswish(self.depth(self.widen(x)))))


class GroupedTransposed(Net):
    """A transposed convolution in two conv_groups: four of eight go in, five of ten come out."""

    widths = (7, 5, 4)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(10, 7), conv(7, 3)
        self.up = nn.ConvTranspose2d(8, 10, 2, stride=2, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(F.relu(self.up(self.head(x)))))


class ConvGroupsLeave(Net):
    """Six conv_groups of two: there are more of them than channels in each, so they leave."""

    widths = (6,)
    kinds: ClassVar = {"conv_groups": (6,)}

    def __init__(self) -> None:
        super().__init__()
        self.head, self.grouped, self.tail = conv(3, 12), conv(12, 12, groups=6), conv(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.grouped(self.head(x)))


class OneDimension(Net):
    """Convolutions over a sequence."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 4, 5, padding=2)

    def inputs(self, generator: torch.Generator) -> Tensor:
        return self.noise(generator, 1, 4, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(torch.tanh(self.head(x)))


class AcrossChannels(Net):
    """A convolution that slides over the channels (ECA): their order matters, so they stay."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.slide = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        gate = self.slide(x.mean(dim=(2, 3)).unsqueeze(1)).transpose(1, 2).unsqueeze(-1)
        return self.tail(self.mid(x * torch.sigmoid(gate)))


class ThreeDimensions(Net):
    """Convolutions over time, height and width."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid = nn.Conv3d(3, 8, 3, padding=1), nn.Conv3d(8, 6, (3, 1, 1))
        self.tail = nn.Conv3d(6, 3, (1, 3, 3), padding=(0, 1, 1))

    def inputs(self, generator: torch.Generator) -> Tensor:
        return self.noise(generator, 1, 3, 5, self.size, self.size)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(F.pad(self.head(x), (0, 0, 0, 0, 1, 1)))))


@torch.library.custom_op("prunekit_tests::deform_conv2d", mutates_args=())
def deform_conv2d(  # noqa: PLR0917 (the signature of torchvision's operator)
    input: Tensor,  # noqa: A002
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    stride_h: int,
    stride_w: int,
    pad_h: int,
    pad_w: int,
    dilation_h: int,
    dilation_w: int,
    groups: int,
    offset_groups: int,
    use_mask: bool,  # noqa: FBT001
) -> Tensor:
    """Sample the input beside every tap of the kernel, where the offsets say; then sum up."""
    assert (stride_h, stride_w, dilation_h, dilation_w) == (1, 1, 1, 1)
    assert (groups, offset_groups, use_mask) == (1, 1, True)
    n, _, height, width = input.shape
    rows, columns = weight.shape[2:]
    y, x = torch.meshgrid(
        torch.arange(height, dtype=input.dtype),
        torch.arange(width, dtype=input.dtype),
        indexing="ij",
    )
    result = bias.view(1, -1, 1, 1).expand(n, -1, height, width).clone()
    for tap in range(rows * columns):
        at_y = y + tap // columns - pad_h + offset[:, 2 * tap]
        at_x = x + tap % columns - pad_w + offset[:, 2 * tap + 1]
        grid = torch.stack([2 * at_x / (width - 1) - 1, 2 * at_y / (height - 1) - 1], dim=-1)
        taken = F.grid_sample(input, grid, align_corners=True) * mask[:, tap : tap + 1]
        result += torch.einsum("oi,nihw->nohw", weight[:, :, tap // columns, tap % columns], taken)
    return result


@deform_conv2d.register_fake
def _(input: Tensor, weight: Tensor, *_: Any) -> Tensor:  # noqa: A002
    return input.new_empty(input.shape[0], weight.shape[0], *input.shape[2:])


class Deformable(Net):
    """A deformable convolution: offsets and masks stay, input and output are a layer's.

    The operator has torchvision's signature under another name, and is given torchvision's rule.
    """

    widths = (8, 7)
    options: ClassVar = {
        "rules": {"prunekit_tests.deform_conv2d": rules.RULES["torchvision.deform_conv2d"]}
    }

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(7, 3)
        self.offset, self.mask = conv(8, 18), conv(8, 9)
        self.weight, self.bias = nn.Parameter(torch.rand(7, 8, 3, 3)), nn.Parameter(torch.rand(7))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        offset, mask = torch.tanh(self.offset(x)), torch.sigmoid(self.mask(x))
        ones = (1,) * 8
        y = deform_conv2d(x, self.weight, offset, mask, self.bias, *ones, use_mask=True)
        return self.tail(F.relu(y))


class Unfolded(Net):
    """Patches of 3x3 as tokens: a channel is nine columns of the layer that reads them."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.read, self.tail = conv(3, 8), nn.Linear(72, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(self.head(x), 3, padding=1).transpose(1, 2)
        tokens = F.gelu(self.read(patches)).transpose(1, 2)
        return self.tail(tokens.view(*tokens.shape[:2], *x.shape[2:]))


class Folded(Net):
    """Tokens back to overlapping patches: a channel is nine rows of the layer that makes them."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.write, self.tail = conv(3, 7), nn.Linear(7, 72), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = F.relu(self.head(x)).flatten(2).transpose(1, 2)
        patches = self.write(tokens).transpose(1, 2)
        return self.tail(F.fold(patches, x.shape[2:], 3, padding=1))


class SpectralNorm(Net):
    """A weight over its largest singular value, estimated from two buffers that follow it."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        parametrizations.spectral_norm(self.mid)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x))))


class EinsumPointwise(Net):
    """A 1x1 layer written as a sum over a named axis."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(7, 3)
        self.weight = nn.Parameter(torch.rand(7, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(torch.einsum("nchw,oc->nohw", self.head(x), self.weight)))


class FakeQuantised(Net):
    """Weights and features are rounded as few bits would hold them, before they are (QAT)."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.tail = conv(3, 8), conv(8, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        features = torch.fake_quantize_per_tensor_affine(F.relu(x), 2.0**-6, 3, -500, 500)
        weight = torch.fake_quantize_per_tensor_affine(self.body.weight, 2.0**-7, 0, -500, 500)
        return self.tail(x + F.conv2d(features, weight, self.body.bias, padding=1))


class Reassembled(Net):
    """A kernel for every pixel over the places of a window, of which are more than channels."""

    widths = (7, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 5), conv(5, 3)
        self.down, self.kernel = point(5, 7), conv(7, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        n, c, h, w = x.shape
        kernel = self.kernel(F.relu(self.down(x))).softmax(dim=1)
        places = F.unfold(x, 3, padding=1).view(n, c, -1, h, w)
        return self.tail(torch.einsum("nkhw,nckhw->nchw", kernel, places))
