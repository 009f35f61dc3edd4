"""Random networks: recipes drawn from all kinds of blocks.

A recipe is plain data with a readable `repr`; evaluating it gives the recipe, and `build` the
network.
"""

from __future__ import annotations

__all__ = ["BLOCKS", "RandomNet", "Recipe", "recipes"]

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from tests.laws.random_blocks import (
    Apart,
    Attention,
    Beside,
    Block,
    ChannelAttention,
    Conv,
    CutByNumber,
    Depthwise,
    Distil,
    Doubled,
    Down,
    Gate,
    Grouped,
    Residual,
    Shared,
    Squeeze,
    Twice,
    Unknown,
    Unshuffled,
    private_widths,
    sequence,
    width_after,
)
from tests.laws.random_operators import (
    Chosen,
    Fourier,
    Gained,
    Mixer,
    Partial,
    Patches,
    WeightNormed,
    Windows,
)
from tests.wirings.net import conv


@dataclass(frozen=True)
class Recipe:
    """A whole network: a head, blocks, a layer that is a group by itself, an upsampler."""

    width: int
    blocks: tuple[Block, ...]
    hidden: int
    scale: Literal[1, 2] = 1

    def build(self) -> RandomNet:
        """Build it in float64 and evaluation mode, always with the same weights."""
        with torch.random.fork_rng():
            torch.manual_seed(0)
            return RandomNet(self).double().eval()

    @property
    def private(self) -> Counter[int]:
        """Widths of groups that the network has, whatever else it has."""
        return Counter([self.hidden, *private_widths(self.blocks)])


class RandomNet(nn.Module):
    """The network of a recipe."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        last = width_after(recipe.blocks, recipe.width)
        self.head, self.body = conv(3, recipe.width), sequence(recipe.blocks, recipe.width)
        self.hidden = conv(last, recipe.hidden)
        self.tail = conv(recipe.hidden, 3 * recipe.scale**2)
        self.shuffle = nn.PixelShuffle(recipe.scale)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(self.body(F.relu(self.head(x))))
        return self.shuffle(self.tail(F.relu(x)))


_width = st.integers(4, 7)
_few = st.integers(2, 3)

_LEAVES: Mapping[str, st.SearchStrategy[Block]] = MappingProxyType(
    {
        "Conv": st.builds(
            Conv, _width, st.sampled_from([3, 1]), st.sampled_from(["none", "batch", "instance"])
        ),
        "Normed": st.builds(Conv, _width, norm=st.sampled_from(["layer", "set"])),
        "Gate": st.builds(Gate, _width, st.booleans()),
        "Squeeze": st.builds(Squeeze, _width),
        "Depthwise": st.builds(Depthwise),
        "Shared": st.builds(Shared),
        "Doubled": st.builds(Doubled, st.sampled_from(["repeat", "negate", "flip"])),
        "Apart": st.builds(Apart, _width, _width),
        "Distil": st.builds(Distil, _width, _width, _width),
        "CutByNumber": st.builds(CutByNumber, _width, _width),
        "Grouped": st.builds(Grouped, _few, _width, _width, st.booleans()),
        "Unshuffled": st.builds(Unshuffled, _width),
        "Attention": st.builds(Attention, _few, _width, st.booleans()),
        "ChannelAttention": st.builds(ChannelAttention, _few, _width),
        "Unknown": st.builds(Unknown, _width),
        "WeightNormed": st.builds(WeightNormed, _width),
        "Fourier": st.builds(Fourier, _width),
        "Patches": st.builds(Patches, _width, st.booleans()),
        "Partial": st.builds(Partial, _width, _width),
        "Windows": st.builds(Windows, _few, _width),
        "Mixer": st.builds(Mixer, _width),
        "Gained": st.builds(Gained),
        "Chosen": st.builds(Chosen, _width),
    }
)


def _around(inside: st.SearchStrategy[Block]) -> dict[str, st.SearchStrategy[Block]]:
    some = st.lists(inside, min_size=1, max_size=2).map(tuple)
    return {
        "Residual": st.builds(Residual, some),
        "Beside": st.builds(Beside, some),
        "Down": st.builds(Down, some, _width),
        "Twice": st.builds(Twice, some),
    }


_leaf = st.one_of(*_LEAVES.values())

BLOCKS: Mapping[str, st.SearchStrategy[Block]] = MappingProxyType(
    {**_LEAVES, **_around(st.one_of(_leaf, *_around(_leaf).values()))}
)
"""Every kind of block, those around others two deep."""


def recipes(kind: str) -> st.SearchStrategy[Recipe]:
    """Networks of one to five blocks, among them one of this kind; they shrink to it alone."""
    others = st.lists(st.one_of(*BLOCKS.values()), max_size=2)
    blocks = st.tuples(others, BLOCKS[kind], others).map(lambda t: (*t[0], t[1], *t[2]))
    return st.builds(Recipe, _width, blocks, _width, st.sampled_from([1, 2]))
