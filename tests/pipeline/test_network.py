"""A network is opened by whatever the user calls it."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import prunekit
from prunekit.errors import FileFormatError, RecipeError
from prunekit.nets import create
from prunekit.pipeline import network
from prunekit.pipeline.checkpoint import Checkpoint
from prunekit.pipeline.network import NetworkSource, is_slim, open_network
from prunekit.recipe import ModelSection
from prunekit.surgery import save_slim

SMALL = {"channels": 16, "blocks": 1}
HALF = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 1, "min_width": 1}


@pytest.fixture(scope="module")
def slim(tmp_path_factory):
    model, image = create("edsr", **SMALL), torch.rand(1, 3, 16, 16)
    result = prunekit.prune(model, {"prune": HALF}, image)
    folder = tmp_path_factory.mktemp("run")
    told = {"network": "edsr", "arguments": SMALL}
    save_slim(folder / "slim.safetensors", result.model, result.plan, told)
    return result.model, folder


def test_a_built_in_network_has_its_own_weights():
    net = open_network(NetworkSource(ModelSection(network="edsr_x2_compact")))
    assert not net.training
    assert net.scale == 2


def test_a_built_in_network_without_weights_is_refused():
    with pytest.raises(RecipeError, match=r"'imdn_x2' comes without weights; .* with --weights"):
        open_network(NetworkSource(ModelSection(network="imdn_x2")))


def test_weights_of_another_network_are_refused(tmp_path):
    file = tmp_path / "edsr.safetensors"
    save_file(create("edsr", channels=8, blocks=1).state_dict(), file)
    with pytest.raises(FileFormatError, match="the weights are not those of IMDN"):
        open_network(NetworkSource(ModelSection(network="imdn_x2", weights=file)))


@pytest.mark.parametrize("inside", ["", "slim.safetensors"])
def test_a_run_folder_and_its_file_are_opened(slim, inside):
    model, folder = slim
    assert is_slim(folder / inside)
    opened = open_network(NetworkSource(file=folder / inside))
    image = torch.rand(1, 3, 12, 12)
    with torch.no_grad():
        assert torch.equal(opened(image), model(image))


def test_other_files_are_no_slim_ones(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "plain.safetensors")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name in ("", "plain.safetensors", "text.safetensors", "missing.safetensors", "a.pth"):
        assert not is_slim(tmp_path / name)


class Strict(nn.Module):
    """Takes sides of multiples of 8 only, and at least 16."""

    def forward(self, x):
        height, width = x.shape[2:]
        assert height % 8 == width % 8 == 0
        assert min(height, width) >= 16
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_a_checkpoint_that_takes_some_sizes_only_is_padded(monkeypatch, tmp_path):
    found = Checkpoint(Strict(), "Strict", 2, (1, 3, 48, 48), masked=False, multiple=8, minimum=16)
    monkeypatch.setattr(network, "load_checkpoint", lambda _: found)
    opened = open_network(NetworkSource(file=tmp_path / "net.pth"))
    assert opened.scale == 2
    for size in ((17, 30), (16, 24), (3, 40)):
        image = torch.rand(1, 3, *size)
        assert torch.equal(opened(image), image.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_a_checkpoint_that_fills_holes_is_refused(monkeypatch, tmp_path):
    found = Checkpoint(Strict(), "Strict", 1, (1, 3, 48, 48), masked=True, multiple=1, minimum=0)
    monkeypatch.setattr(network, "load_checkpoint", lambda _: found)
    with pytest.raises(RecipeError, match="fills holes and does not enlarge"):
        open_network(NetworkSource(file=tmp_path / "net.pth"))
