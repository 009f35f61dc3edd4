"""What code keeps outside of its modules is as it was after a network was looked at and proven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import prunekit
from tests.fixtures import outside

RECIPE = {
    "prune": {
        "method": "filter",
        "target": {"channel_ratio": 0.5},
        "round_to": 1,
        "min_width": 1,
    }
}
WINDOW: Tensor | None = None


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        self.encoding = outside.Encoding()

    def forward(self, x: Tensor) -> Tensor:
        features = self.first(x)
        return self.last(features * self.mask(features))

    def mask(self, x: Tensor) -> Tensor:
        raise NotImplementedError


class ByDefault(Net):
    def mask(self, x: Tensor, _cache: dict[Any, Tensor] = {}) -> Tensor:  # noqa: B006 (tested)
        size = tuple(x.shape[2:])
        if size not in _cache:
            _cache[size] = torch.ones(1, 1, *size) / 2
        return _cache[size]


class ByLru(Net):
    def mask(self, x: Tensor) -> Tensor:
        return outside.window(*x.shape[2:])


class ByTable(Net):
    def mask(self, x: Tensor) -> Tensor:
        return outside.kept(*x.shape[2:])


class ByObject(Net):
    def mask(self, x: Tensor) -> Tensor:
        return self.encoding(*x.shape[2:])


def closed() -> tuple[Callable[[int, int], Tensor], dict[Any, Tensor]]:
    cache: dict[Any, Tensor] = {}

    def mask(height: int, width: int) -> Tensor:
        if (height, width) not in cache:
            cache[height, width] = torch.ones(1, 1, height, width) / 2
        return cache[height, width]

    return mask, cache


CLOSED, KEPT = closed()


class ByClosure(Net):
    def mask(self, x: Tensor) -> Tensor:
        return CLOSED(*x.shape[2:])


class OnClass(Net):
    def mask(self, x: Tensor) -> Tensor:
        if outside.Once.window is None:
            outside.Once.window = torch.ones(1, 1, *x.shape[2:]) / 2
            outside.Once.width = x.shape[1]
        return outside.Once.window


class OnFile(Net):
    def mask(self, x: Tensor) -> Tensor:
        global WINDOW  # noqa: PLW0603 (the fault that is tested)
        if WINDOW is None:
            WINDOW = torch.ones(1, 1, *x.shape[2:]) / 2
        return WINDOW


def everything_kept() -> list[Any]:
    default = ByDefault.mask.__defaults__
    assert default is not None
    held = (default[0], outside.TABLE, outside.Encoding.cache, KEPT)
    rest = [outside.Once.window, outside.Once.width, WINDOW, outside.window.cache_info().currsize]
    return [*map(dict, held), *rest]


@pytest.mark.parametrize("kind", [ByDefault, ByLru, ByTable, ByObject, ByClosure, OnClass, OnFile])
def test_pruning_leaves_nothing_where_code_keeps_what_it_computed(kind):
    net, image = kind().eval(), torch.rand(1, 3, 8, 8)
    before = everything_kept()
    result = prunekit.prune(net, RECIPE, image)
    assert result.plan.params[1] < result.plan.params[0]
    assert everything_kept() == before
    with torch.no_grad():
        assert type(net(image)) is Tensor
        assert result.model(image).shape == image.shape


@pytest.fixture(autouse=True)
def empty():
    yield
    outside.TABLE.clear()
    outside.Encoding.cache.clear()
    outside.window.cache_clear()
    outside.Once.window = None
    outside.Once.width = 0


def test_what_was_kept_before_stays():
    outside.TABLE[4, 4] = kept = torch.ones(1, 1, 4, 4)
    outside.TABLE[8, 8] = torch.ones(1, 1, 8, 8)
    image = torch.rand(1, 3, 8, 8)
    prunekit.trace(ByTable().eval(), image)
    assert list(outside.TABLE) == [(4, 4), (8, 8)]
    assert outside.TABLE[4, 4] is kept


def test_float64_of_the_proof_gets_into_no_cache():
    """A table kept by size alone would turn all that follows into float64."""
    net, image = ByTable().eval(), torch.rand(1, 3, 8, 8)
    prunekit.prune(net, RECIPE, image)
    with torch.no_grad():
        assert net(image).dtype == torch.float32


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 3, padding=1)

    def __deepcopy__(self, memo: object) -> Shared:
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


def test_a_part_that_no_copy_doubles_is_refused_and_keeps_no_hook():
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Shared(), nn.Conv2d(8, 3, 3))
    with pytest.raises(prunekit.PrunekitError, match=r"shares its module '1'.*__deepcopy__"):
        prunekit.trace(net, torch.rand(1, 3, 8, 8))
    hooks = [(*m._forward_hooks, *m._forward_pre_hooks) for m in net.modules()]
    assert not any(hooks)


class Cut(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        one, two = self.first(x).split(self.sizes(), 1)
        return self.last(one * two.sigmoid())

    def sizes(self) -> list[int]:
        raise NotImplementedError


class ByList(Cut):
    DIMS = [8, 8]  # noqa: RUF012 (as users write it)

    def sizes(self) -> list[int]:
        return self.DIMS


class ByDict(Cut):
    SETTINGS = {"name": "cut", "widths": {"one": 8, "two": 8}}  # noqa: RUF012 (likewise)

    def sizes(self) -> list[int]:
        return list(self.SETTINGS["widths"].values())


@pytest.mark.parametrize("kind", [ByList, ByDict])
def test_sizes_in_containers_of_a_class_follow_and_the_class_stays(kind):
    net, image = kind().eval(), torch.rand(1, 3, 8, 8)
    result = prunekit.prune(net, RECIPE, image)
    assert result.model.sizes() == [4, 4]
    assert net.sizes() == kind().sizes() == [8, 8]
    assert prunekit.prune(result.model, RECIPE, image).model.sizes() == [2, 2]
