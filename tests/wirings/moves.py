"""Channels that move, are copied, or are held where they are."""

from __future__ import annotations

__all__ = [
    "ShuffledChannels",
    "ShuffledChannelsByView",
    "Repeated",
    "RepeatedEach",
    "FlippedChannels",
    "RolledChannels",
    "Reordered",
    "PickedOut",
    "ConstantAdded",
    "Summed",
    "UnshuffledStem",
    "RoutedToExperts",
    "Ranked",
    "Mysterious",
    "Opaque",
    "SwappedHalves",
    "ViewedByNumber",
    "SortedTokens",
]

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv


class ShuffledChannels(Net):
    """A channel shuffle of two blocks of six: what leaves one block leaves the other."""

    widths = (7, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 12), conv(12, 7), conv(7, 3)
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(F.relu(self.shuffle(self.head(x)))))


class ShuffledChannelsByView(Net):
    """The same written with view and transpose (ShuffleNet)."""

    widths = (8, 7, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.first = conv(3, 8), conv(8, 12)
        self.mid, self.tail = conv(12, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.first(self.head(x)))
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.tail(F.relu(self.mid(x)))


class Repeated(Net):
    """The features twice in a row: each channel is read at two places."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(16, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x).repeat(1, 2, 1, 1))))


class RepeatedEach(Net):
    """Every channel three times in a row (a nearest-neighbour skip before a pixel shuffle)."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(24, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x).repeat_interleave(3, dim=1))))


class FlippedChannels(Net):
    """Channels added in reversed order: the first and the last are one unit, and so on inwards."""

    widths = (7, 4)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.mid(x + x.flip(1))))


class RolledChannels(Net):
    """Channels moved on by a number: they stay."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x).roll(2, dims=1))))


class Reordered(Net):
    """Channels in an order that a buffer keeps: they stay, since it names their places."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)
        self.register_buffer("order", torch.tensor([3, 1, 4, 0, 5, 7, 2, 6]))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.mid(self.head(x)[:, self.order])))


class PickedOut(Net):
    """One channel by number makes a map for all: the axis that it is picked from stays."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(self.mid(x * torch.sigmoid(x[:, 4]).unsqueeze(1))))


class ConstantAdded(Net):
    """A row of numbers made in the code is added to the channels: eight, so they stay."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        shift = torch.linspace(-1, 1, 8, dtype=x.dtype, device=x.device).view(1, -1, 1, 1)
        return self.tail(F.relu(self.mid(self.head(x) + shift)))


class Summed(Net):
    """Running sums: over height and width channels pass, along the channels they stay."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(torch.cumsum(self.head(x), dim=1))
        return self.tail(torch.cumsum(torch.cumsum(x, dim=2), dim=3))


class UnshuffledStem(Net):
    """The image itself is unshuffled and shuffled back: these axes carry it and stay."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up = conv(12, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.up(F.relu(self.head(F.pixel_unshuffle(x, 2)))), 2)


class RoutedToExperts(Net):
    """The best two of five experts are gathered: experts stay, what they map passes."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.router = conv(3, 8), conv(8, 3), nn.Linear(8, 5)
        self.up, self.down = nn.Parameter(torch.rand(5, 8, 6)), nn.Parameter(torch.rand(5, 6, 8))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = x.flatten(2).transpose(1, 2)
        scores = self.router(tokens.mean(dim=1))
        _, chosen = scores.topk(2, dim=1)
        share = scores.gather(1, chosen).sigmoid()
        hidden = F.relu(tokens @ self.up[chosen[0]])
        mixed = (share.view(2, 1, 1) * (hidden @ self.down[chosen[0]])).sum(dim=0, keepdim=True)
        return self.tail(x + mixed.transpose(1, 2).view_as(x))


class Ranked(Net):
    """Channels sorted by size at every pixel: they stay; sorted pixels let channels pass."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        ranked, _ = self.head(x).sort(dim=1)
        pixels, _ = self.mid(ranked).sort(dim=3)
        return self.tail(pixels)


class Accumulated(Net):
    """A running sum over channels needs their order: what it runs over stays, and no more."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.mid(torch.cumsum(self.head(x), dim=1)))


@torch.library.custom_op("prunekit_tests::half_turn", mutates_args=())
def half_turn(x: Tensor) -> Tensor:
    """Move the second half of the channels before the first, unknown to everybody."""
    return x.roll(x.shape[1] // 2, dims=1)


@half_turn.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Mysterious(Net):
    """An operator that nobody knows freezes what it touches, and no more."""

    widths = (9, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.first, self.second = conv(3, 9), conv(9, 8), conv(8, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(F.relu(self.second(half_turn(self.first(self.head(x))))))


class Opaque(Net):
    """A part that is named opaque stays as a whole, with what goes in and comes out."""

    widths = (8, 6)
    options: ClassVar = {"opaque": ["odd*"]}

    def __init__(self) -> None:
        super().__init__()
        self.head, self.first, self.last, self.tail = conv(3, 8), conv(8, 9), conv(7, 6), conv(6, 3)
        self.odd = nn.Sequential(conv(9, 10), nn.ReLU(), conv(10, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.last(self.odd(self.first(self.head(x)))))


class SwappedHalves(Net):
    """Halves change places and are added: a channel is one unit with that half a width away."""

    widths = (7, 4)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        a, b = x.chunk(2, dim=1)
        return self.tail(F.relu(self.mid(x + torch.tanh(torch.cat([b, a], dim=1)))))


class ViewedByNumber(Net):
    """A view with the width written as a number: it stays."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), nn.Linear(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        tokens = self.mid(self.head(x).view(n, 8, h * w).transpose(1, 2))
        return self.tail(F.relu(tokens.transpose(1, 2).view(n, -1, h, w)))


class SortedTokens(Net):
    """Tokens are gathered in the order of their scores and put back: channels pass (ATD)."""

    widths = (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.score = conv(3, 8), conv(8, 3), nn.Linear(8, 1)
        self.up, self.down = nn.Linear(8, 9), nn.Linear(9, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = x.flatten(2).transpose(1, 2)
        order = self.score(tokens).squeeze(-1).argsort(dim=1)
        back = order.argsort(dim=1)
        c = tokens.shape[-1]
        ranked = tokens.gather(1, order.unsqueeze(-1).expand(-1, -1, c))
        ranked = self.down(torch.cumsum(F.gelu(self.up(ranked)), dim=1) * 0.01)
        mixed = ranked.gather(1, back.unsqueeze(-1).expand(-1, -1, c))
        return self.tail(x + mixed.transpose(1, 2).view_as(x))
