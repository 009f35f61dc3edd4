"""The smallest network for each wiring, each with its answer, worked by hand.

The plainest are here, the others by family in `tests/wirings/`. `Net` says what an answer is.
"""

from __future__ import annotations

__all__ = ["NETS", "Net", "conv", "graph_of", "make", "point", "traced", "widths"]

from collections.abc import Iterable
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.graph import ChannelGraph, ChannelGroup, trace
from tests.wirings import attention, attributes, convolutions, gates, moves, norms, streams
from tests.wirings.net import Net, conv, point


class Chain(Net):
    """Two layers in a row: the one between them."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Residual(Net):
    """A block adds to its input: head and second layer share their outputs."""

    widths = (10, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.first, self.second = conv(8, 10), conv(10, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.second(F.gelu(self.first(x))))


class Dense(Net):
    """A concatenation: a reader's input is its makers' outputs in turn."""

    widths = (10, 8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = conv(3, 8), conv(8, 6), conv(14, 10)
        self.tail = conv(10, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = self.one(x)
        return self.tail(self.three(torch.cat([self.two(one), one], dim=1)))


class ConcatWithImage(Net):
    """A concatenation with the image: its part of the axis stays."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(11, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(torch.cat([x, self.head(x)], dim=1))


class Shuffled(Net):
    """Pixel shuffle: four consecutive filters are one unit."""

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up, self.tail = conv(3, 8), conv(8, 20), conv(5, 3)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.shuffle(self.up(self.head(x))))


class ShuffledToImage(Net):
    """Pixel shuffle straight to the image: nothing of it can leave."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up = conv(3, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.up(self.head(x)), 2)


class ShuffledByView(Net):
    """The same written with view and permute."""

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up, self.tail = conv(3, 8), conv(8, 20), conv(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.head(x))
        n, c, h, w = x.shape
        x = x.view(n, c // 4, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3)
        return self.tail(x.reshape(n, c // 4, 2 * h, 2 * w))


class ShuffledToImageByView(Net):
    """Written with view and permute, straight to the image."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up = conv(3, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.up(self.head(x))
        n, _, h, w = x.shape
        return x.view(n, 3, 2, 2, h, w).permute(0, 1, 4, 2, 5, 3).reshape(n, 3, 2 * h, 2 * w)


class Unshuffled(Net):
    """Pixel unshuffle: four input channels of the reader are one unit."""

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.inner, self.tail = conv(3, 5), conv(20, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pixel_unshuffle(self.head(x), 2)
        return F.pixel_shuffle(self.tail(self.inner(x)), 2)


class Depthwise(Net):
    """A depthwise layer hands its channels on."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.depth, self.tail = conv(3, 8), conv(8, 8, groups=8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.depth(self.head(x)))


class DepthwiseTwice(Net):
    """A depthwise layer with two outputs a channel: both leave with their input."""

    widths = (8,)
    kinds: ClassVar = {"conv_groups": (8,)}

    def __init__(self) -> None:
        super().__init__()
        self.head, self.depth, self.tail = conv(3, 8), conv(8, 16, groups=8), conv(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.depth(self.head(x)))


class Grouped(Net):
    """A grouped layer: groups or channels within them; the wider may shrink, so the channels."""

    widths = (7, 6, 4)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.grouped, self.mid = conv(3, 8), conv(8, 12, groups=2), conv(12, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(self.grouped(self.head(x))))


class Shared(Net):
    """One layer used twice: its input is its output."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.again, self.tail = conv(3, 8), conv(8, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.again(F.relu(self.again(self.head(x)))))


class Tied(Net):
    """Two layers with one weight."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two, self.tail = conv(3, 8), conv(8, 8), conv(8, 8), conv(8, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.two(F.relu(self.one(self.head(x)))))


class Normed(Net):
    """Batch normalisation: affine parameters and statistics follow."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.norm, self.tail = conv(3, 8), nn.BatchNorm2d(8), conv(8, 3)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.leaky_relu(self.norm(self.head(x))))


class Attention(Net):
    """Channel attention: the gate is as wide as what it gates."""

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.squeeze, self.excite = nn.Conv2d(8, 5, 1), nn.Conv2d(5, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        gate = self.squeeze(F.adaptive_avg_pool2d(x, 1))
        return self.tail(x * torch.sigmoid(self.excite(F.relu(gate))))


class Parameter(Net):
    """A plain parameter scales the channels."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.gain = nn.Parameter(torch.rand(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x) * self.gain)


class Functional(Net):
    """A convolution whose weight is computed from parameters."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.direction = nn.Parameter(torch.rand(8, 8, 3, 3))
        self.length = nn.Parameter(torch.rand(8, 1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + F.conv2d(x, self.direction * self.length, padding=1))


class Transposed(Net):
    """A transposed convolution upsamples."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up = conv(3, 8), nn.ConvTranspose2d(8, 6, 4, stride=2, padding=1)
        self.tail = conv(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.up(self.head(x)))


class ChannelsLast(Net):
    """Linear layers on permuted features."""

    widths = (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.up, self.down = nn.Linear(8, 9), nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.down(F.gelu(self.up(x.permute(0, 2, 3, 1))))
        return self.tail(x + y.permute(0, 3, 1, 2))


class Tokens(Net):
    """Features as a sequence of tokens and back."""

    widths = (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.up, self.down = nn.Linear(8, 9), nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = x.flatten(2).transpose(1, 2)
        y = self.down(F.gelu(self.up(tokens))).transpose(1, 2)
        return self.tail(x + y.unflatten(2, x.shape[2:]))


class Enlarged(Net):
    """Interpolation and padding let channels pass."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), nn.Conv2d(8, 6, 3), conv(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.interpolate(self.head(x), scale_factor=2, mode="nearest")
        return self.tail(self.mid(F.pad(x, (1, 1, 1, 1), mode="reflect")))


class Chunked(Net):
    """A gate made of two halves of one layer: a unit is a channel of each."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 16), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.head(x).chunk(2, dim=1)
        return self.tail(self.mid(a * b))


class Cut(Net):
    """A slice with a number in the code freezes what it keeps; nobody reads the other ten."""

    widths = (10, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 16), conv(6, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(self.head(x)[:, :6]))


class Averaged(Net):
    """A mean over channels: they may leave, but that is not the same as zeroing them."""

    widths = (8,)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x * torch.sigmoid(x.mean(dim=1, keepdim=True)))


class MeanShift(Net):
    """Fixed layers around the image carry it: no wider than the image, so they stay."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.tail(self.head(self.before(x))))


class GlobalSkip(Net):
    """The image is added back at the end."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(conv(3, 8), nn.PReLU(), conv(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) + x


class Features(Net):
    """An output wider than an image stays as well."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x))


_FAMILIES = (streams, convolutions, gates, norms, attention, attributes, moves)

NETS: tuple[type[Net], ...] = (
    *(kind for kind in Net.__subclasses__() if kind.__module__ == __name__),
    *(getattr(family, name) for family in _FAMILIES for name in family.__all__),
)


def make(kind: type[Net]) -> tuple[Net, Any]:
    """Build one in float64 with fixed weights, none of them zero, and inputs for it."""
    with torch.random.fork_rng():
        torch.manual_seed(1)  # buffers
        net = kind().double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.rand(parameter.shape, generator=generator).double() - 0.4)
    return net, net.inputs(generator)


def traced(kind: type[Net]) -> tuple[Net, Any, ChannelGraph]:
    """Build one, and trace it as it wants to be traced."""
    net, inputs = make(kind)
    return net, inputs, trace(net, inputs, **kind.options)


@cache
def graph_of(kind: type[Net]) -> ChannelGraph:
    """The graph of a network, traced once; nobody writes to it."""
    return traced(kind)[2]


def widths(groups: Iterable[ChannelGroup]) -> tuple[int, ...]:
    """Widths of groups, in the order in which answers give them."""
    return tuple(sorted((group.width for group in groups), reverse=True))
