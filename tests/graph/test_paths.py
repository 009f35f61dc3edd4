"""Reading and writing what a module holds at the end of a path."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from torch import nn

from prunekit.graph.paths import read_path, write_path


class Pair(NamedTuple):
    first: int
    second: tuple[int, int]


@dataclass(frozen=True)
class Record:
    width: int
    sizes: tuple[int, ...] = (1, 2)


class Slots:
    __slots__ = ("width",)


class Derived:
    @property
    def width(self) -> int:
        return 8


@pytest.fixture
def module() -> nn.Module:
    module = nn.Module()
    module.width = 8
    module.sizes = [4, 5, [6]]
    module.pair = Pair(1, (2, 3))
    module.shape = torch.Size((7, 8))
    module.options = {"heads": 2, "it's": {3: [9]}, ("a", 1): 4}
    module.config = SimpleNamespace(dims={"head": (10, 11)}, record=Record(12))
    module.slots = Slots()
    module.slots.width = 13
    return module


PATHS = {
    "width": 8,
    "sizes[1]": 5,
    "sizes[2][0]": 6,
    "pair[0]": 1,
    "pair[1][1]": 3,
    "shape[0]": 7,
    "options['heads']": 2,
    'options["it\'s"][3][0]': 9,
    "options[('a', 1)]": 4,
    "config.dims['head'][1]": 11,
    "config.record.width": 12,
    "config.record.sizes[0]": 1,
    "slots.width": 13,
}


@pytest.mark.parametrize("path", PATHS)
def test_a_value_is_written_where_it_is_read_and_nowhere_else(module, path):
    assert {p: read_path(module, p) for p in PATHS} == PATHS
    write_path(module, path, 99)
    assert {p: read_path(module, p) for p in PATHS} == {**PATHS, path: 99}


def test_types_on_the_way_stay(module):
    for path in ("pair[1][1]", "shape[1]", "config.record.sizes[1]"):
        write_path(module, path, 5)
    assert type(module.pair) is Pair
    assert type(module.shape) is torch.Size
    assert type(module.config.record) is Record


@pytest.mark.parametrize(
    "path", ["depth", "sizes[9]", "sizes['a']", "options['depth']", "config.depth", "width.real.a"]
)
def test_a_path_that_leads_nowhere_is_told(module, path):
    with pytest.raises(LookupError, match="there is no"):
        read_path(module, path)
    with pytest.raises(LookupError, match="there is no"):
        write_path(module, path, 1)


def test_what_cannot_be_set_is_told():
    module = nn.Module()
    module.derived = Derived()
    with pytest.raises(AttributeError):
        write_path(module, "derived.width", 4)
    assert read_path(module, "derived.width") == 8
