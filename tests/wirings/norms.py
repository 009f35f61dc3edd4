"""Normalisation: whose parameters follow the channels, and which depend on all of them."""

from __future__ import annotations

__all__ = [
    "LayerNormed",
    "LayerNormed2d",
    "LevelsByWidth",
    "RootMeanSquare",
    "RootMeanSquareByHand",
    "ScaledByLength",
    "ScaledByPowers",
    "ScaledUnseen",
    "ScaledByWidth",
    "GroupNormed",
    "GroupNormedPlain",
    "InstanceNormed",
    "LocalResponse",
    "SlopePerChannel",
    "NextBlock",
    "ResponseNormed",
]

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv, point


class LayerNormed(Net):
    """Layer normalisation of tokens: exact for none of the channels that it sees."""

    widths = (9, 8)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.norm = conv(3, 8), conv(9, 3), nn.LayerNorm(8)
        self.mid = nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = F.gelu(self.mid(self.norm(x.flatten(2).transpose(1, 2))))
        return self.tail(tokens.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:]))


class LayerNormed2d(Net):
    """The same over the channels of an image, with mean and variance written out (NAFNet)."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.weight, self.bias = nn.Parameter(torch.ones(8)), nn.Parameter(torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        c = x.shape[1]
        centred = x - x.mean(1, keepdim=True)
        x = centred / (centred.pow(2).mean(1, keepdim=True) + 1e-6).sqrt()
        x = self.weight.view(1, c, 1, 1) * x + self.bias.view(1, c, 1, 1)
        return self.tail(F.relu(self.mid(x)))


class RootMeanSquare(Net):
    """RMS normalisation of tokens, by torch's own layer."""

    widths = (9, 8)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.norm = conv(3, 8), conv(9, 3), nn.RMSNorm(8)
        self.mid = nn.Linear(8, 9)

    def forward(self, x: Tensor) -> Tensor:
        y = self.mid(self.norm(self.head(x).permute(0, 2, 3, 1)))
        return self.tail(F.silu(y.permute(0, 3, 1, 2)))


class RootMeanSquareByHand(Net):
    """The same as the length of a vector: `normalize` times a gain."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.gain = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = F.normalize(x, dim=1) * x.shape[1] ** 0.5 * self.gain
        return self.tail(F.relu(self.mid(x)))


class ScaledByLength(Net):
    """Divides by the root of a width that the code asks for by `len`."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.mid(x * len(x[0]) ** -0.5)))


class ScaledUnseen(Net):
    """Computes with a width where no integer is asked: a float is divided by it, or the log taken.

    That it is not exact shows in the proof alone.
    """

    widths = (8, 7)
    computes = True

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(self.head(x) * (1.0 / x.shape[1]))
        return self.tail(F.relu(x) * math.log(x.shape[1]) / int(x.shape[1]))


class ScaledByPowers(Net):
    """A square, a root by numpy, the smaller and the larger of a width and a number, a constant."""

    widths = (8, 7)
    inexact = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        c = x.shape[1]
        x = self.mid(x * c**2 / float(np.sqrt(c)) + torch.full((1,), c).to(x))
        c = x.shape[1]
        return self.tail(torch.add(x / min(c, 64), F.relu(x), alpha=max(c, 1)))


class LevelsByWidth(Net):
    """An attribute is the width of a layer, and the number of levels of a quantiser."""

    widths = (8, 7)
    computes = True

    def __init__(self) -> None:
        super().__init__()
        self.levels = 8
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.head(x).view(n, self.levels, h, w)
        return self.tail(F.relu(self.mid(x)) * math.sqrt(self.levels))


class ScaledByWidth(Net):
    """Divides by the root of a width, by a width, and by a number of values in all."""

    widths = (8, 7)
    inexact = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        x = self.mid(x * x.shape[1] ** -0.5 / math.sqrt(x.size(1)))
        return self.tail(F.relu(x) / x.size(1) + 1 / x.numel())


class GroupNormed(Net):
    """Two sets of six are normalised: both lose the same ones."""

    widths = (7, 6)
    inexact = (6,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 12), conv(12, 7), conv(7, 3)
        self.norm = nn.GroupNorm(2, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.silu(self.mid(self.norm(self.head(x)))))


class GroupNormedPlain(Net):
    """Normalised as one set without affine parameters: every channel is a unit."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.silu(self.mid(F.group_norm(self.head(x), 1))))


class InstanceNormed(Net):
    """Every channel by itself: affine parameters follow, and nothing else changes."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.norm1, self.norm2 = nn.InstanceNorm2d(8, affine=True), nn.InstanceNorm2d(7)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.head(x)))
        return self.tail(F.relu(self.norm2(self.mid(x))))


class LocalResponse(Net):
    """Every channel by its neighbours: their order matters, so they stay."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(F.local_response_norm(self.head(x), size=4)))


class SlopePerChannel(Net):
    """A slope for every channel (PReLU) follows it."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.slope1, self.slope2 = nn.PReLU(8), nn.PReLU(7)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.slope2(self.mid(self.slope1(self.head(x)))))


class NextBlock(Net):
    """Depthwise, layer norm, wide linear layers, a gain, a skip (ConvNeXt)."""

    widths = (20, 8)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.depth = nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.up, self.down = nn.LayerNorm(8), nn.Linear(8, 20), nn.Linear(20, 8)
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        y = self.gain * self.down(F.gelu(self.up(y)))
        return self.tail(x + y.permute(0, 3, 1, 2))


class ResponseNormed(Net):
    """The energy of a channel over the mean energy (GRN): that mean is over all channels."""

    widths = (8, 7)
    inexact = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), point(8, 7), conv(7, 3)
        self.gain, self.shift = (nn.Parameter(torch.rand(1, 7, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.mid(self.head(x)))
        energy = torch.linalg.vector_norm(x, dim=(2, 3), keepdim=True)
        relative = energy / (energy.mean(dim=1, keepdim=True) + 1e-6)
        return self.tail(self.gain * (x * relative) + self.shift + x)
