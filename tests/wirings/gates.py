"""Gates and parts of an axis: halves, slices, squeezes, recurrent cells, maps over space."""

from __future__ import annotations

__all__ = [
    "SimpleGate",
    "GatedLinear",
    "GatedFeedForward",
    "PartsApart",
    "PartsRounded",
    "PartialByAttribute",
    "CutBehind",
    "CutFromEnd",
    "CutInTheMiddle",
    "SplitEvenlyByNumber",
    "WrittenByNumber",
    "SqueezeExcite",
    "PixelAttention",
    "SpatialAttention",
    "Conditioned",
    "RecurrentCell",
    "ConvolutionalRecurrence",
    "Fourier",
    "PhaseKept",
    "PartialInPlace",
    "RecurrentSequence",
]

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv, point


class SimpleGate(Net):
    """Half of a layer times its other half (NAFNet): a unit is a channel of each."""

    widths = (10, 8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.up1, self.depth, self.down1 = point(8, 20), conv(20, 20, groups=20), point(10, 8)
        self.up2, self.down2 = point(8, 12), point(6, 8)
        self.gain = nn.Parameter(torch.rand(1, 8, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        a, b = self.depth(self.up1(x)).chunk(2, dim=1)
        x = x + self.gain * self.down1(a * b)
        a, b = self.up2(x).chunk(2, dim=1)
        return self.tail(x + self.down2(a * b))


class GatedLinear(Net):
    """A gated linear unit: its halves are one group of half the width."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 14), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.glu(self.mid(self.head(x)), dim=1))


class GatedFeedForward(Net):
    """A gate behind a depthwise layer (Restormer's GDFN), cut where the width says."""

    widths = (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.up, self.depth = point(8, 18, bias=False), conv(18, 18, groups=18, bias=False)
        self.down = point(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.depth(self.up(x))
        a, b = y.split(y.shape[1] // 2, dim=1)
        return self.tail(x + self.down(F.gelu(a) * b))


class PartsApart(Net):
    """Two halves go separate ways: two groups that have to stay equally wide."""

    widths = (8, 8, 7)
    balanced = ((8, 8),)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two = conv(3, 16), conv(8, 7), conv(8, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.head(x).chunk(2, dim=1)
        return self.tail(F.relu(self.one(a) + self.two(b)))


class PartsRounded(Net):
    """Two parts of a width that may be odd, cut by `math.ceil` of its half."""

    widths = (8, 8, 7)
    balanced = ((8, 8),)
    inexact = (8, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two = conv(3, 16), conv(8, 7), conv(8, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        end = math.ceil(x.shape[1] / 2)
        return self.tail(F.relu(self.one(x[:, :end]) + self.two(x[:, end:])))


class PartialByAttribute(Net):
    """Only the first channels are convolved (FasterNet); how many, an attribute says."""

    widths = (8, 6, 4)

    def __init__(self) -> None:
        super().__init__()
        self.part = 4
        self.head, self.inner, self.tail = conv(3, 12), conv(4, 6), conv(14, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.head(x))
        first, rest = x[:, : self.part], x[:, self.part :]
        return self.tail(torch.cat([self.inner(first), rest], dim=1))


class CutBehind(Net):
    """A slice from a number on: what lies before it stays, the rest is free."""

    widths = (10, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 16), conv(10, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(self.head(x)[:, 6:]))


class CutFromEnd(Net):
    """The last six by number stay; the ten before them are read elsewhere."""

    widths = (10, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 16), conv(6, 7), conv(7, 3)
        self.whole = conv(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.mid(x[:, -6:]) + self.whole(x)))


class CutInTheMiddle(Net):
    """From a number to a number: up to the second all stay."""

    widths = (10, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 16), conv(4, 7), conv(7, 3)
        self.whole = conv(16, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.mid(x[:, 2:6]) + self.whole(x)))


class SplitEvenlyByNumber(Net):
    """Split in eights by number: all of the axis stays."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two = conv(3, 16), conv(8, 7), conv(8, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.head(x).split(8, dim=1)
        return self.tail(F.relu(self.one(a)) + self.two(b))


class WrittenByNumber(Net):
    """Features written over the first channels of others, by number: these stay.

    So does all that is written; of the ten others each may leave.
    """

    widths = (10, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.over, self.mid = conv(3, 16), conv(3, 6), conv(16, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x).clone()
        y[:, :6] = self.over(x)
        return self.tail(F.relu(self.mid(y)))


class SqueezeExcite(Net):
    """A gate made by linear layers from the mean over space, expanded to the features."""

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.gate = nn.Sequential(nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 8), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        n, c = x.shape[:2]
        return self.tail(x * self.gate(x.mean(dim=(2, 3))).view(n, c, 1, 1).expand_as(x))


class PixelAttention(Net):
    """Features times a sigmoid of a 1x1 layer of themselves (PAN)."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.attend = point(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(self.mid(x) * torch.sigmoid(self.attend(x)))


class SpatialAttention(Net):
    """Mean and maximum over channels make a map (CBAM): one channel fewer changes both."""

    widths = (8, 7)
    inexact = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.attend = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.head(x))
        largest, _ = x.max(dim=1, keepdim=True)
        both = torch.cat([x.mean(dim=1, keepdim=True), largest], dim=1)
        return self.tail(F.relu(self.mid(x * torch.sigmoid(self.attend(both)))))


class Conditioned(Net):
    """Flattened 2x2 means go through linear layers to a gain: a channel is four columns."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.one, self.two = nn.Linear(32, 7), nn.Linear(7, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        seen = torch.flatten(F.adaptive_avg_pool2d(x, 2), 1)
        return self.tail(x * self.two(F.relu(self.one(seen)))[:, :, None, None])


class RecurrentCell(Net):
    """An LSTM cell: a hidden unit is a row in each of four blocks of the gates."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.cell = conv(3, 8), conv(8, 3), nn.LSTMCell(8, 6)
        self.start, self.gate = nn.Linear(8, 6), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        seen = x.mean(dim=(2, 3))
        hidden = cell = torch.tanh(self.start(seen))
        for _ in range(2):
            hidden, cell = self.cell(seen, (hidden, cell))
        return self.tail(x * self.gate(hidden)[..., None, None])


class ConvolutionalRecurrence(Net):
    """Four gates of one convolution (ConvLSTM) over the frames of a clip."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.start, self.gates, self.tail = (
            conv(3, 8),
            conv(3, 6),
            conv(14, 24),
            conv(6, 3),
        )

    def inputs(self, generator: torch.Generator) -> Tensor:
        return self.noise(generator, 1, 2, 3, self.size, self.size)

    def forward(self, frames: Tensor) -> Tensor:
        hidden = cell = self.start(frames[:, 0])
        for frame in frames.unbind(dim=1):
            gates = self.gates(torch.cat([self.head(frame), hidden], dim=1))
            into, forget, out, new = gates.chunk(4, dim=1)
            cell = torch.sigmoid(forget) * cell + torch.sigmoid(into) * torch.tanh(new)
            hidden = torch.sigmoid(out) * torch.tanh(cell)
        return self.tail(hidden)


class Fourier(Net):
    """A layer between two Fourier transforms: real and imaginary part are one unit going back."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mix, self.tail = conv(3, 8), point(16, 12), conv(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft2(self.head(x), norm="ortho")
        mixed = F.relu(self.mix(torch.cat([waves.real, waves.imag], dim=1)))
        real, imaginary = mixed.chunk(2, dim=1)
        back = torch.fft.irfft2(torch.complex(real, imaginary), s=x.shape[-2:], norm="ortho")
        return self.tail(back)


class PhaseKept(Net):
    """The amplitude of the waves is changed, their phase kept: one group through it all."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mix, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.gain = nn.Parameter(torch.rand(8, 1, 1, 2))

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.fft.rfft2(self.head(x)) * torch.view_as_complex(self.gain)
        waves = torch.polar(waves.abs() ** 0.5, waves.angle())
        return self.tail(F.relu(self.mix(torch.fft.irfft2(waves, s=x.shape[-2:]))))


class PartialInPlace(Net):
    """The first channels are convolved and written back (PLKSR): in and out are one group."""

    widths = (8, 4)

    def __init__(self) -> None:
        super().__init__()
        self.part = 4
        self.head, self.inner, self.tail = conv(3, 12), conv(4, 4), conv(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.gelu(self.head(x))
        x[:, : self.part] = self.inner(x[:, : self.part])
        return self.tail(x)


class RecurrentSequence(Net):
    """An LSTM over the rows of an image, in one call: the sizes in it are torch's, so it stays.

    That is safe, not the most: eight channels and six hidden units could leave, as `RecurrentCell`
    shows for the same cell.
    """

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.cells, self.gate = nn.LSTM(8, 6, batch_first=True), nn.Linear(6, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        hidden, _ = self.cells(x.mean(dim=3).transpose(1, 2))
        return self.tail(F.relu(self.mid(x * self.gate(hidden).transpose(1, 2).unsqueeze(-1))))
