"""Small networks of residual blocks, each with its answer: what can be removed, and what stays."""

from __future__ import annotations

__all__ = ["NETS", "BlockNet", "Edsr", "Rcan", "Windowed", "built", "image"]

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.wirings.net import conv, point

WIDTH = 6


class BlockNet(nn.Module):
    """A network that knows its blocks."""

    found: ClassVar[tuple[str, ...]] = ()
    """Blocks that can be removed, in order of execution."""
    refused: ClassVar[Mapping[str, str]] = {}
    """Blocks that cannot, and a part of the reason."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, WIDTH), conv(WIDTH, 3)


class ResBlock(nn.Module):
    """Two convolutions; the activation may be one for all blocks."""

    def __init__(self, act: nn.Module | None = None, hidden: int = 8) -> None:
        super().__init__()
        self.one, self.two = conv(WIDTH, hidden), conv(hidden, WIDTH)
        self.act = act or nn.GELU()

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.5 * self.two(self.act(self.one(x)))


class Edsr(BlockNet):
    """Blocks in a row that share one ReLU, which works in place."""

    found = ("body.0", "body.1", "body.2")

    def __init__(self) -> None:
        super().__init__()
        act = nn.ReLU(inplace=True)
        self.body = nn.Sequential(*(ResBlock(act) for _ in range(3)), conv(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.body(x))


class Attended(nn.Module):
    """A block with channel attention."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(WIDTH, WIDTH), conv(WIDTH, WIDTH)
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), point(WIDTH, 2), nn.ReLU(), point(2, WIDTH), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.two(F.relu(self.one(x)))
        return x + y * self.gate(y)


class Group(nn.Module):
    """Blocks and a convolution, and a skip around them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Attended(), Attended(), conv(WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Rcan(BlockNet):
    """Blocks with channel attention, in groups that are blocks themselves."""

    found = ("body.0", "body.0.body.0", "body.0.body.1", "body.1", "body.1.body.0", "body.1.body.1")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([Group(), Group()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for group in self.body:
            x = group(x)
        return self.tail(x)


class DenseBlock(nn.Module):
    """Everything before is read again; a fifth of what comes of it is added."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = conv(WIDTH, 4), conv(WIDTH + 4, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(self.one(x), 0.2)
        return self.two(torch.cat([x, y], 1)) * 0.2 + x


class DenseBlocks(nn.Module):
    """Two of them, of which a fifth is added: 1.2 x where they add nothing, so it is no block."""

    def __init__(self) -> None:
        super().__init__()
        self.rdb1, self.rdb2 = DenseBlock(), DenseBlock()

    def forward(self, x: Tensor) -> Tensor:
        return self.rdb2(self.rdb1(x)) * 0.2 + x


class Rrdb(BlockNet):
    """Dense blocks inside scaled ones: those inside can leave."""

    found = ("body.0.rdb1", "body.0.rdb2", "body.1.rdb1", "body.1.rdb2")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(DenseBlocks(), DenseBlocks())

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Tokens(nn.Module):
    """Attention over tokens and an MLP, called with the size of the image besides."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 8), nn.GELU(), nn.Linear(8, WIDTH))
        self.bias = nn.Parameter(torch.zeros(1, 16, 16))

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        (batch, tokens, width), (height, columns) = x.shape, size
        parts = (batch, height // 4, 4, columns // 4, 4, width)
        windows = self.first(x).view(parts).transpose(2, 3).reshape(-1, 16, width)
        q, k, v = self.qkv(windows).chunk(3, -1)
        seen = (q @ k.transpose(1, 2) + self.bias).softmax(-1) @ v
        back = seen.view(batch, height // 4, columns // 4, 4, 4, width).transpose(2, 3)
        x = x + self.out(back.reshape(batch, tokens, width))
        return x + self.mlp(self.second(x))


class Windowed(BlockNet):
    """Window attention: blocks that are told the size, by position and by name."""

    found = ("blocks.0", "blocks.1")

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Tokens(), Tokens()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        size, y = (x.shape[2], x.shape[3]), x.flatten(2).transpose(1, 2)
        y = self.blocks[0](y, size)
        y = self.blocks[1](size=size, x=y)
        return self.tail(x + y.transpose(1, 2).reshape(x.shape))


class Normed(nn.Module):
    """Batch norms, whose statistics are no parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(WIDTH, 8), nn.BatchNorm2d(8), nn.PReLU(), conv(8, WIDTH), nn.BatchNorm2d(WIDTH)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Dropped(ResBlock):
    """Dropout on what is added: in training it adds nothing but what it makes."""

    def forward(self, x: Tensor) -> Tensor:
        return x + F.dropout(self.two(F.relu(self.one(x))), 0.3, self.training)


class Accumulating(ResBlock):
    """Adds to its input in place."""

    def forward(self, x: Tensor) -> Tensor:
        x += self.two(F.relu(self.one(x)))
        return x


class Reparametrised(nn.Module):
    """Weight norm, whose direction cannot be zero."""

    def __init__(self) -> None:
        super().__init__()
        self.one = parametrizations.weight_norm(conv(WIDTH, 8))
        self.two = parametrizations.weight_norm(conv(8, WIDTH))
        self.scale = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.two(F.relu(self.one(x)))


class Mixed(BlockNet):
    """Blocks with batch norm, with dropout, in place, with weight norm; and all of them."""

    found = ("body", "body.0", "body.1", "body.2", "body.3")

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Normed(), Dropped(), Accumulating(), Reparametrised())

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x) * 1.0))


class Projected(nn.Module):
    """What is added is a projection of the input, not the input."""

    def __init__(self) -> None:
        super().__init__()
        self.skip, self.one = point(WIDTH, WIDTH), conv(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.one(x)


class Unadded(BlockNet):
    """No block: a projection, an activation behind the sum, a chain."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Projected(), nn.Sequential(conv(WIDTH, WIDTH), nn.ReLU(), conv(WIDTH, WIDTH))
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Recursive(BlockNet):
    """One block that runs three times."""

    refused: ClassVar[Mapping[str, str]] = {"block": "is called 3 times"}

    def __init__(self) -> None:
        super().__init__()
        self.block = ResBlock()

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for _ in range(3):
            x = self.block(x)
        return self.tail(x)


class Tied(BlockNet):
    """Two blocks with one weight, and one with its own; together they can leave."""

    found = ("body", "body.2")
    refused: ClassVar[Mapping[str, str]] = {
        "body.0": "shares 'body.0.one.weight' with 'body.1.one'",
        "body.1": "shares 'body.1.one.weight' with 'body.0.one'",
    }

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(ResBlock(), ResBlock(), ResBlock())
        self.body[1].one.weight = self.body[0].one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.body(self.head(x)))


class Noisy(ResBlock):
    """Adds noise to its input in training, which has nothing to do with its weights."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + torch.randn_like(x) if self.training else x
        return super().forward(x)


class Stashing(ResBlock):
    """Keeps what it made, for the network to read."""

    made: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.made = self.one(x)
        return x + self.two(self.made)


class Busy(BlockNet):
    """Blocks that do more than add, or whose parts are used beside them."""

    found = ("body.4",)
    refused: ClassVar[Mapping[str, str]] = {
        "body.0": "in training mode",
        "body.1": "hands on 2 tensors",
        "body.2": "'body.2.one', that is called from outside",
        "body.3": "holds 'body.3.one.weight', which is read outside",
    }

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.ModuleList([Noisy(), Stashing(), ResBlock(), ResBlock(), ResBlock()])
        self.mix = point(8, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = y = self.head(x)
        for block in self.body:
            y = block(y)
        more = self.mix(self.body[1].made + self.body[2].one(x))
        more = more + self.mix(F.conv2d(x, self.body[3].one.weight, padding=1))
        return self.tail(y + more)


NETS: tuple[type[BlockNet], ...] = (
    Edsr, Rcan, Rrdb, Windowed, Mixed, Unadded, Recursive, Tied, Busy,
)  # fmt: skip


def built(kind: type[BlockNet]) -> BlockNet:
    """With weights that are always the same, in evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        return kind().eval()


def image(side: int = 8) -> Tensor:
    return torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(1))
