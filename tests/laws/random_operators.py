"""More blocks of random networks: normalised weights, transforms, windows, writing in place."""

from __future__ import annotations

__all__ = [
    "Chosen",
    "Fourier",
    "Gained",
    "Mixer",
    "Partial",
    "Patches",
    "WeightNormed",
    "Windows",
]

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from tests.laws.random_blocks import Block, Layers
from tests.wirings.net import conv, point


@dataclass(frozen=True)
class WeightNormed(Block):
    """A layer whose weight is a length times a direction."""

    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": parametrizations.weight_norm(conv(width, self.width))}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return F.relu(layers["conv"](x))


@dataclass(frozen=True)
class Fourier(Block):
    """A layer on real and imaginary parts."""

    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"mix": point(2 * width, 2 * self.width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        waves = torch.fft.rfft2(x, norm="ortho")
        mixed = F.relu(layers["mix"](torch.cat([waves.real, waves.imag], dim=1)))
        back = torch.complex(*mixed.chunk(2, dim=1))
        return torch.fft.irfft2(back, s=x.shape[-2:], norm="ortho")


@dataclass(frozen=True)
class Patches(Block):
    """A linear layer on unfolded patches, perhaps folded back by another."""

    width: int
    folded: bool = False

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        makes = 9 * self.width if self.folded else self.width
        return {"linear": nn.Linear(9 * width, makes)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        tokens = layers["linear"](F.unfold(x, 3, padding=1).transpose(1, 2)).transpose(1, 2)
        if self.folded:
            return F.fold(tokens, x.shape[2:], 3, padding=1)
        return tokens.view(x.shape[0], -1, *x.shape[2:])


class _InPlace(nn.Module):
    """Convolves the first channels in place; an attribute says how many."""

    def __init__(self, part: int) -> None:
        super().__init__()
        self.part, self.inner = part, conv(part, part)

    def forward(self, x: Tensor) -> Tensor:
        x[:, : self.part] = self.inner(x[:, : self.part])
        return x


@dataclass(frozen=True)
class Partial(Block):
    """Only part of a layer's channels is convolved, in place."""

    part: int
    rest: int

    def out(self, _: int) -> int:
        return self.part + self.rest

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"conv": conv(width, self.part + self.rest), "partial": _InPlace(self.part)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return F.relu(layers["partial"](layers["conv"](x)))


@dataclass(frozen=True)
class Windows(Block):
    """Attention in windows of two by two; the width of a head is worked out from the stream's."""

    heads: int
    head_dim: int

    def out(self, _: int) -> int:
        return self.heads * self.head_dim

    def layers(self, width: int) -> dict[str, nn.Module]:
        inside = self.heads * self.head_dim
        return {"conv": conv(width, inside), "qkv": nn.Linear(inside, 3 * inside)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        x = layers["conv"](x)
        n, c, h, w = x.shape
        windows = x.view(n, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, c)
        qkv = layers["qkv"](windows).reshape(-1, 4, 3, self.heads, c // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = (0.5 * q @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        mixed = mixed.transpose(1, 2).reshape(n, h // 2, w // 2, 2, 2, c)
        return x + mixed.permute(0, 5, 1, 3, 2, 4).reshape(n, c, h, w)


@dataclass(frozen=True)
class Mixer(Block):
    """A layer norm and two linear layers over channels that are last; the result is added."""

    hidden: int

    def layers(self, width: int) -> dict[str, nn.Module]:
        one, two = nn.Linear(width, self.hidden), nn.Linear(self.hidden, width)
        return {"norm": nn.LayerNorm(width), "one": one, "two": two}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        y = layers["one"](layers["norm"](x.permute(0, 2, 3, 1)))
        return x + layers["two"](F.gelu(y)).permute(0, 3, 1, 2)

    @property
    def private(self) -> Sequence[int]:
        return (self.hidden,)


class _Gain(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.rand(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain[None, :, None, None]


@dataclass(frozen=True)
class Gained(Block):
    """A plain parameter scales the stream."""

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"gain": _Gain(width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        return layers["gain"](x)


@dataclass(frozen=True)
class Chosen(Block):
    """One of two layers, element by element."""

    width: int

    def out(self, _: int) -> int:
        return self.width

    def layers(self, width: int) -> dict[str, nn.Module]:
        return {"yes": point(width, self.width), "no": conv(width, self.width)}

    def run(self, layers: Layers, x: Tensor) -> Tensor:
        yes = layers["yes"](x)
        return torch.where(yes > 0, yes, layers["no"](x))
