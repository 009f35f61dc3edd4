"""The way back from a slim file alone: built-in networks and those that spandrel knows."""

from __future__ import annotations

import json
import os
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import prunekit
from prunekit.errors import FileFormatError
from prunekit.pipeline.origin import build_origin, origin_of
from prunekit.surgery import SlimFile, read_slim
from tests.nets import conv

RECIPE = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}
MODULE = "spandrel.architectures.Two"


@pytest.fixture
def two(monkeypatch):
    """A network of a library that remembers its arguments, as those of spandrel do."""

    class Two(nn.Module):
        def __init__(self, *, width=16, sizes=(3, 3), act=None):
            super().__init__()
            self.hyperparameters = {"width": width, "sizes": sizes, "act": act}
            self.head, self.tail = conv(sizes[0], width), conv(width, sizes[1])

        def forward(self, x):
            return self.tail(self.head(x))

    Two.__module__, Two.__qualname__ = MODULE, "Two"
    module = types.ModuleType(MODULE)
    module.Two, module.conv, module.os = Two, conv, os
    for name in ("spandrel", "spandrel.architectures"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, MODULE, module)
    return Two


@pytest.fixture
def saved(two, tmp_path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    result = prunekit.prune(two(width=32), RECIPE, torch.rand(1, 3, 12, 12))
    return result.save(tmp_path / "run"), result.model


def test_a_network_of_spandrel_comes_back_without_naming_it(saved):
    folder, slim = saved
    loaded = prunekit.load(folder)
    image = torch.rand(1, 3, 9, 11)
    with torch.no_grad():
        assert torch.equal(loaded(image), slim(image))
    assert loaded.head.out_channels == 16
    assert type(loaded) is type(slim)


def test_the_arguments_are_those_of_the_dense_network(saved):
    folder, slim = saved
    described = read_slim(folder).network
    assert described == {
        "factory": f"{MODULE}:Two",
        "arguments": {"width": 32, "sizes": [3, 3], "act": None},
    }
    assert json.loads(json.dumps(origin_of(slim))) == described


def test_nothing_is_noted_of_other_networks(two):
    assert origin_of(conv(3, 3)) == {}
    assert origin_of(two(act=nn.ReLU)) == {}


@pytest.mark.parametrize(
    ("network", "told"),
    [
        ({}, "was made from a network of your own; build it and pass it as `model`"),
        ({"factory": "os:system", "arguments": {"command": "true"}}, "was made from os:system"),
        ({"factory": "spandrelx.architectures.A:B"}, "was made from spandrelx"),
        ({"factory": f"{MODULE}:os.system"}, "which is no network"),
        ({"factory": f"{MODULE}:os"}, "which is no network"),
        ({"factory": f"{MODULE}:conv"}, "which is no network"),
        ({"factory": f"{MODULE}:Nothing"}, "which is no network"),
        ({"factory": "spandrel.architectures.Nothing:A"}, "which cannot be imported"),
        ({"factory": f"{MODULE}:Two", "arguments": {"depth": 1}}, "cannot be built as the file"),
        ({"factory": f"{MODULE}:Two", "arguments": [1]}, "was made from"),
        ({"factory": f"{MODULE}:Two", "arguments": {"width": 10**12}}, "is 1000000000000; the"),
        ({"factory": f"{MODULE}:Two", "arguments": {"a": [{"b": 10**9}]}}, "is 1000000000; the"),
        ({"network": "edsr", "arguments": {"channels": 10**9}}, "is 1000000000; the file"),
        (
            {"network": "edsr", "arguments": {"res_scale": "a"}},
            "EDSR needs a number above 0 and up",
        ),
        ({"network": "edsr", "arguments": {"res_scale": float("nan")}}, "for res_scale, not nan"),
        ({"network": "edsr", "arguments": {"name": "edsr"}}, "it takes no argument 'name'"),
        ({"network": "carn_m_x2", "arguments": {"heads": "23"}}, "for heads, not '23'"),
        ({"network": "no such", "arguments": {}}, "was made from a network of your own"),
    ],
)
def test_what_a_file_may_name_is_limited(saved, network, told):
    content = replace(read_slim(saved[0]), network=network)
    assert isinstance(content, SlimFile)
    with pytest.raises(FileFormatError, match=told) as caught:
        build_origin(Path("slim.safetensors"), content)
    assert "\n" not in str(caught.value)
