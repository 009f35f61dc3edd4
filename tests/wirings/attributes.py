"""Sizes that a network keeps in lists, tuples, dictionaries, records and classes."""

from __future__ import annotations

__all__ = [
    "BranchSizes",
    "ClassWidth",
    "DividedWidth",
    "RoundedWidth",
    "FrozenRecord",
    "HalvedTotal",
    "NamedSizes",
    "NestedOptions",
    "PairOfSizes",
    "SharedOptions",
    "SlottedRecord",
    "AssertedWidths",
]

from dataclasses import dataclass
from types import SimpleNamespace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv, point


class BranchSizes(Net):
    """A list of sizes says where a tensor is split."""

    widths = (8, 7, 6)

    def __init__(self) -> None:
        super().__init__()
        self.sizes = [8, 6]
        self.head, self.wide, self.slim = conv(3, 14), conv(8, 7), conv(6, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        wide, slim = torch.split(self.head(x), self.sizes, dim=1)
        return self.tail(self.wide(wide) + self.slim(slim))


class PairOfSizes(Net):
    """A tuple of sizes, each the end of a slice."""

    widths = (8, 7, 6)

    def __init__(self) -> None:
        super().__init__()
        self.sizes = (8, 6)
        self.head, self.wide, self.slim = conv(3, 14), conv(8, 7), conv(6, 7)
        self.tail = conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        first, second = self.sizes
        return self.tail(self.wide(x[:, :first]) + self.slim(x[:, first : first + second]))


class _Sizes(NamedTuple):
    hidden: int
    groups: int


class NamedSizes(Net):
    """A named tuple: as many zeros as it says are put beside the channels."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.sizes = _Sizes(8, 1)
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        state = x.new_zeros(n, self.sizes.hidden, h, w)
        return self.tail(F.relu(self.mid(self.head(x) + state)))


class NestedOptions(Net):
    """A dictionary of lists in a namespace."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.settings = SimpleNamespace(widths={"head": [8], "mid": [7]})
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.head(x).reshape(n, self.settings.widths["head"][0], h * w)
        x = self.mid(x.unflatten(2, (h, w)))
        return self.tail(F.relu(x).reshape(n, self.settings.widths["mid"][0], h, w))


class SharedOptions(Net):
    """Two modules hold the same record; it is changed once."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        options = SimpleNamespace(width=8)
        self.first, self.second = _Padded(options), _Padded(options)
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.second(self.first(self.head(x))))


class _Padded(nn.Module):
    def __init__(self, options: SimpleNamespace) -> None:
        super().__init__()
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return F.relu(x + x.new_ones(n, self.options.width, h, w))


@dataclass(frozen=True)
class _Frozen:
    width: int = 8


class FrozenRecord(Net):
    """A dataclass that does not let itself be changed."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.record = _Frozen()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return self.tail(F.relu(self.head(x).view(n, self.record.width, h, w)))


class _Slots:
    __slots__ = ("width",)

    def __init__(self) -> None:
        self.width = 8


class SlottedRecord(Net):
    """An object without a dictionary: its size is not followed, so the width stays."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.record = _Slots()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return self.tail(F.relu(self.mid(self.head(x).view(n, self.record.width, h, w))))


class ClassWidth(Net):
    """A size that the class holds; the slim network has one of its own."""

    widths = (8, 7)
    width: ClassVar[int] = 8

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        return self.tail(F.relu(self.mid(self.head(x).view(n, self.width, h, w))))


class HalvedTotal(Net):
    """An attribute that is the length of no axis: twice a width, and three more."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.total = 19
        self.head, self.mid, self.tail = conv(3, 8), point(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.head(x).reshape(n, (self.total - 3) // 2, h, w)
        return self.tail(F.relu(self.mid(x)))


class DividedWidth(Net):
    """A width that is divided by `/`: another size follows from it, and nobody can say which."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.inner = 6
        self.head, self.one, self.two = conv(3, 8), conv(8, 6), point(8, 6)
        self.tail = conv(6, 3)

    def half(self) -> int:
        return int(self.inner / 2)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        x = self.head(x)
        image = self.two(x).reshape(n, 2, self.half(), h, w).sum(1)
        return self.tail(F.relu(self.one(x).reshape(n, self.inner, h, w))) + image


class RoundedWidth(DividedWidth):
    """The same with the nearest integer."""

    def half(self) -> int:
        return round(self.inner / 2)


class AssertedWidths(Net):
    """Widths that the code only compares: they follow, or the slim network fails its own check."""

    widths = (9, 8)

    def __init__(self) -> None:
        super().__init__()
        self.in_channels, self.sizes = 8, {"hidden": 9}
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 9), conv(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        assert x.shape[1] == self.in_channels
        x = F.relu(self.mid(x))
        if x.size(1) != self.sizes["hidden"]:
            message = "features of another width than promised"
            raise ValueError(message)
        return self.tail(x)
