"""The law decides by mistakes alone, not by what a network makes of rounding."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from prunekit.graph import trace
from prunekit.graph.compare import compare, edited_copy, generic, rounded_once, run
from prunekit.graph.precision import doubled
from prunekit.graph.verify import check_reversal

IMAGE = torch.rand(1, 3, 8, 8)


class Chaotic(nn.Module):
    """Residual blocks that make any two close values run apart."""

    def __init__(self, blocks: int = 24, width: int = 6) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, 1, 1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(blocks))
        self.tail = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for conv in self.body:
            x = x + conv(torch.sin(4 * x))
        return self.tail(x)


class Rounding(nn.Module):
    """Casts to float32 between layers, and mixes in a tensor of the default type."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 1)
        self.last = nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.second(self.first(x).float().to(x.dtype)).exp()
        ones = torch.ones(1, x.shape[1], 1, 1)
        return self.last(
            nn.functional.conv2d(x.transpose(0, 1), ones.transpose(0, 1)).transpose(0, 1)
        )


def test_rounding_breaks_the_law_of_a_chaotic_network_with_strong_weights() -> None:
    model = Chaotic()
    strong = edited_copy(model, generic(model), torch.float64)
    plain = run(edited_copy(strong, lambda _, tensor: tensor), (IMAGE.double(),))
    rounded = run(edited_copy(strong, rounded_once), (IMAGE.double(),))
    assert not compare(plain, rounded).passed


def test_law_holds_on_a_chaotic_network() -> None:
    model = Chaotic()
    graph = trace(model, IMAGE)
    result = graph.verify(model, IMAGE)
    assert result.holds
    assert result.difference.severity < 1


@pytest.mark.parametrize("forgotten", range(8))
def test_a_forgotten_member_breaks_the_law_of_a_chaotic_network(forgotten: int) -> None:
    model = Chaotic()
    (trunk,) = trace(model, IMAGE).groups
    member = forgotten * len(trunk.members) // 8
    members = (*trunk.members[:member], *trunk.members[member + 1 :])
    result = check_reversal(model, [replace(trunk, members=members)], (IMAGE,))
    assert result.violators == (trunk.name,)


def test_a_network_in_double_computes_in_double_throughout() -> None:
    seen = []
    model = Rounding().double()
    model.second.register_forward_hook(lambda _, args, __: seen.append(args[0].dtype))
    casting = nn.Sequential(model.first, _Cast(), model.second)
    with torch.no_grad(), doubled():
        casting(IMAGE.double())
    assert seen == [torch.float64]
    assert torch.get_default_dtype() == torch.float32
    graph = trace(Rounding(), IMAGE)
    result = graph.verify(Rounding(), IMAGE)
    assert result.holds
    assert result.difference.dtype == "float64"


class _Cast(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


class _Insisting(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        return x + torch.zeros(1, dtype=x.dtype)


def test_code_that_insists_on_single_precision_is_still_proven_in_double() -> None:
    model = nn.Sequential(nn.Conv2d(3, 6, 3, 1, 1), _Insisting(), nn.Conv2d(6, 3, 3, 1, 1))
    result = trace(model, IMAGE).verify(model, IMAGE)
    assert result.holds
    assert result.difference.dtype == "float64"
    with pytest.raises(AssertionError), doubled():
        _Insisting()(IMAGE.double())
    assert IMAGE.double().dtype == torch.float64


class Styled(nn.Module):
    """A style made of noise scales the channels, and random rotations sort the pixels."""

    def __init__(self, noise: int = 8, width: int = 6) -> None:
        super().__init__()
        self.noise = noise
        self.style = nn.Sequential(nn.Linear(noise, 10), nn.ReLU(), nn.Linear(10, width))
        self.head, self.tail = nn.Conv2d(3, width, 3, 1, 1), nn.Conv2d(width, 3, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        style = self.style(torch.rand(len(x), self.noise) + torch.randn(len(x), self.noise))
        x = self.head(x)
        rotations = torch.randn(x.shape[1], 4, dtype=x.dtype)
        bucket = (x.permute(0, 2, 3, 1) @ rotations).argmax(-1)[:, None]
        return self.tail(x * style[..., None, None] * bucket)


def test_random_numbers_go_where_their_channels_go() -> None:
    model = Styled()
    graph = trace(model, IMAGE)
    assert sorted(graph.widths.values()) == [6, 8, 10]
    assert graph.verify(model, IMAGE).holds
    left = check_reversal(model, graph.groups, (IMAGE,))
    assert set(left.violators) == {g.name for g in graph.groups if g.width in (6, 8)}
