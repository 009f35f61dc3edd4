"""What random networks are made of: blocks as plain data, each of which says what it promises.

A block takes a stream of any width.
"""

from __future__ import annotations

__all__ = [
    "Apart",
    "Attention",
    "Beside",
    "Block",
    "ChannelAttention",
    "Conv",
    "CutByNumber",
    "Depthwise",
    "Distil",
    "Doubled",
    "Down",
    "Gate",
    "Grouped",
    "Residual",
    "Shared",
    "Squeeze",
    "Twice",
    "Unknown",
    "Unshuffled",
    "private_widths",
    "sequence",
    "width_after",
]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.moves import half_turn
from tests.wirings.net import conv, point

Layers = Mapping[str, nn.Module]


@dataclass(frozen=True)
class Block:
    """A part of a network, from a stream to a stream."""

    def out(self, width: int) -> int:
        """Width of the stream that leaves, from that of the one that enters."""
        return width

    def layers(self, width: int) -> dict[str, nn.Module]:
        """Layers for a stream of this width."""
        raise NotImplementedError

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        """What the block does."""
        raise NotImplementedError

    @property
    def private(self) -> Sequence[int]:
        """Widths of groups that are inside the block, whatever is around it."""
        return ()


class _Stage(nn.Module):
    """A block with its layers."""

    def __init__(self, block: Block, width: int) -> None:
        super().__init__()
        self.block, self.layers = block, nn.ModuleDict(block.layers(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.block.run(self.layers, x)


def sequence(blocks: Sequence[Block], width: int) -> nn.Sequential:
    """Blocks in a row, for a stream of this width."""
    stages = nn.Sequential()
    for block in blocks:
        stages.append(_Stage(block, width))
        width = block.out(width)
    return stages


def width_after(blocks: Sequence[Block], width: int) -> int:
    """Width of the stream behind these blocks."""
    for block in blocks:
        width = block.out(width)
    return width


def private_widths(blocks: Sequence[Block]) -> list[int]:
    """Widths of the groups that are inside these blocks."""
    return [width for block in blocks for width in block.private]


class _LayerNorm2d(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain, self.shift = (nn.Parameter(torch.rand(width, 1, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        centred = x - x.mean(dim=1, keepdim=True)
        deviation = (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return centred / deviation * self.gain + self.shift


class _Split(nn.Module):
    """Cuts a stream where its attributes say."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.sizes = list(sizes)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(self.sizes, dim=1)


# Blocks that make a stream of their own ------------------------------------------------------

Norm = Literal["batch", "instance", "layer", "none", "set"]


@dataclass(frozen=True)
class Conv(Block):
    """A convolution, a norm, an activation."""

    width: int
    kernel: Literal[1, 3] = 3
    norm: Norm = "none"

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        norms = {
            "batch": nn.BatchNorm2d,
            "instance": lambda c: nn.InstanceNorm2d(c, affine=True),
            "layer": _LayerNorm2d,
            "none": lambda _: nn.Identity(),
            "set": lambda c: nn.GroupNorm(1, c),
        }
        layer = (point if self.kernel == 1 else conv)(width, self.width)
        return {"conv": layer, "norm": norms[self.norm](self.width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return F.leaky_relu(layers["norm"](layers["conv"](x)), 0.2)


@dataclass(frozen=True)
class Gate(Block):
    """Half of a layer times the other."""

    half: int
    by_glu: bool = False

    def out(self, _: int) -> int:
        return self.half

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, 2 * self.half)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        x = layers["conv"](x)
        if self.by_glu:
            return F.glu(x, dim=1)
        a, b = x.chunk(2, dim=1)
        return a * torch.tanh(b)


@dataclass(frozen=True)
class Apart(Block):
    """Two halves of a layer go through layers of their own."""

    half: int
    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        first, second = (conv(self.half, self.width) for _ in range(2))
        return {"conv": conv(width, 2 * self.half), "first": first, "second": second}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        a, b = F.relu(layers["conv"](x)).chunk(2, dim=1)
        return layers["first"](a) + layers["second"](b)

    @property
    def private(self) -> Sequence[int]:
        return (self.half, self.half)


@dataclass(frozen=True)
class Distil(Block):
    """Part of a layer is kept, the rest refined; attributes or numbers say how much."""

    kept: int
    passed: int
    width: int

    def out(self, _: int) -> int:
        return self.kept + self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {
            "conv": conv(width, self.kept + self.passed),
            "split": _Split(self.kept, self.passed),
            "refine": conv(self.passed, self.width),
        }

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        kept, rest = layers["split"](F.relu(layers["conv"](x)))
        return torch.cat([kept, layers["refine"](rest)], dim=1)

    @property
    def private(self) -> Sequence[int]:
        return (self.passed,)


@dataclass(frozen=True)
class CutByNumber(Block):
    """The first channels are dropped, by number."""

    dropped: int
    kept: int

    def out(self, _: int) -> int:
        return self.kept

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, self.dropped + self.kept)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return F.relu(layers["conv"](x)[:, self.dropped :])


@dataclass(frozen=True)
class Grouped(Block):
    """A plain layer, a grouped one, perhaps a channel shuffle."""

    conv_groups: int
    reads: int
    makes: int
    shuffled: bool = False

    def out(self, _: int) -> int:
        return self.conv_groups * self.makes

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside, outside = self.conv_groups * self.reads, self.conv_groups * self.makes
        return {
            "conv": point(width, inside),
            "grouped": conv(inside, outside, groups=self.conv_groups),
            "shuffle": nn.ChannelShuffle(self.conv_groups if self.shuffled else 1),
        }

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return layers["shuffle"](layers["grouped"](F.gelu(layers["conv"](x))))


@dataclass(frozen=True)
class Unshuffled(Block):
    """A layer at half the size, between pixel unshuffle and pixel shuffle."""

    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(4 * width, 4 * self.width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.relu(layers["conv"](F.pixel_unshuffle(x, 2))), 2)


# Blocks that work on the stream they are given -----------------------------------------------


@dataclass(frozen=True)
class Squeeze(Block):
    """A gate from the mean over space."""

    hidden: int

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"one": nn.Linear(width, self.hidden), "two": nn.Linear(self.hidden, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        gate = layers["two"](F.silu(layers["one"](x.mean(dim=(2, 3)))))
        return x * torch.sigmoid(gate)[:, :, None, None]

    @property
    def private(self) -> Sequence[int]:
        return (self.hidden,)


@dataclass(frozen=True)
class Depthwise(Block):
    """A depthwise layer, a slope for each channel."""

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, width, groups=width), "slope": nn.PReLU(width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return layers["slope"](layers["conv"](x))


@dataclass(frozen=True)
class Attention(Block):
    """Every pixel attends to every pixel; the result is added."""

    heads: int
    head_dim: int
    fused: bool = False

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside = self.heads * self.head_dim
        return {"qkv": nn.Linear(width, 3 * inside), "proj": nn.Linear(inside, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        n, length, _ = tokens.shape
        qkv = layers["qkv"](tokens).view(n, length, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        if self.fused:
            mixed = F.scaled_dot_product_attention(q, k, v, scale=0.5)
        else:
            mixed = (0.5 * q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        mixed = layers["proj"](mixed.transpose(1, 2).reshape(n, length, -1))
        return x + mixed.transpose(1, 2).view(n, -1, *x.shape[2:])

    @property
    def private(self) -> Sequence[int]:
        return (self.head_dim,)


@dataclass(frozen=True)
class ChannelAttention(Block):
    """Channels attend to channels; the result is added."""

    heads: int
    head_dim: int

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside = self.heads * self.head_dim
        parts = {name: point(width, inside) for name in "qkv"}
        return {**parts, "proj": point(inside, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        n, _, height, width = x.shape
        q, k, v = (layers[name](x).view(n, self.heads, -1, height * width) for name in "qkv")
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        return x + layers["proj"]((scores.softmax(dim=-1) @ v).reshape(n, -1, height, width))

    @property
    def private(self) -> Sequence[int]:
        return (self.head_dim, self.head_dim)


@dataclass(frozen=True)
class Shared(Block):
    """One layer used twice."""

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return layers["conv"](F.relu(layers["conv"](x)))


@dataclass(frozen=True)
class Doubled(Block):
    """The stream beside its negative, itself, or itself in reversed order."""

    how: Literal["flip", "negate", "repeat"]

    def out(self, width: int) -> int:
        return 2 * width

    def layers(self, _: int) -> dict[str, nn.Module]:
        return {}

    def run(self, _: Layers, x: Tensor) -> Tensor:
        match self.how:
            case "flip":
                return torch.cat([x, x.flip(1)], dim=1)
            case "negate":
                return F.relu(torch.cat([x, -x], dim=1))
            case "repeat":
                return x.repeat(1, 2, 1, 1)


@dataclass(frozen=True)
class Unknown(Block):
    """An operator that nobody knows, between two layers."""

    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, 6), "next": conv(6, self.width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return layers["next"](half_turn(layers["conv"](x)))


# Blocks around blocks ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Around(Block):
    inner: tuple[Block, ...]

    @property
    def private(self) -> Sequence[int]:
        return private_widths(self.inner)


@dataclass(frozen=True)
class Residual(_Around):
    """What the inside makes is brought back to the width of the stream and added."""

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside = width_after(self.inner, width)
        return {"inner": sequence(self.inner, width), "back": point(inside, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return x + layers["back"](layers["inner"](x))


@dataclass(frozen=True)
class Beside(_Around):
    """What the inside makes is put beside the stream."""

    def out(self, width: int) -> int:
        return width + width_after(self.inner, width)

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"inner": sequence(self.inner, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return torch.cat([layers["inner"](x), x], dim=1)


@dataclass(frozen=True)
class Down(_Around):
    """Half the size inside, a skip around it (U-Net)."""

    width: int

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside = width_after(self.inner, self.width)
        return {
            "down": conv(width, self.width, stride=2),
            "inner": sequence(self.inner, self.width),
            "up": nn.ConvTranspose2d(inside, width, 2, stride=2),
        }

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return x + layers["up"](layers["inner"](F.relu(layers["down"](x))))


@dataclass(frozen=True)
class Twice(_Around):
    """The same blocks for the image and its mirror image, and the larger of both."""

    def out(self, width: int) -> int:
        return width_after(self.inner, width)

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"inner": sequence(self.inner, width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return torch.maximum(layers["inner"](x), layers["inner"](x.flip(3)).flip(3))
