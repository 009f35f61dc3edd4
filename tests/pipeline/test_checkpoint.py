"""Checkpoints: what spandrel makes of them, and one sentence for what it makes nothing of."""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass, field

import pytest
import torch
from safetensors.torch import save_file

from prunekit.errors import FileFormatError
from prunekit.nets import create
from prunekit.pipeline.checkpoint import inspect_checkpoint, load_checkpoint


@dataclass
class Requirements:
    minimum: int = 0
    multiple_of: int = 1


@dataclass
class Found:
    """What spandrel says of a checkpoint."""

    model: torch.nn.Module
    architecture: object = field(default_factory=lambda: types.SimpleNamespace(name="EDSR"))
    scale: int = 2
    input_channels: int = 3
    size_requirements: Requirements = field(default_factory=Requirements)
    purpose: str = "SR"


class UnsupportedModelError(Exception):
    pass


@pytest.fixture
def weights(tmp_path):
    model = create("edsr", channels=8, blocks=1)
    file = tmp_path / "edsr.safetensors"
    save_file(model.state_dict(), file)
    return file


@pytest.fixture
def fake(monkeypatch):
    """A spandrel that knows one architecture, and tells what a test sets in it."""
    module = types.ModuleType("spandrel")
    module.requirements = Requirements()

    class Loader:
        def __init__(self, registry):
            assert registry == ["known"]

        def load_from_state_dict(self, state):
            if "head.0.weight" not in state:
                raise UnsupportedModelError
            model = create("edsr", channels=8, blocks=1)
            model.load_state_dict(state)
            return Found(model.train(), size_requirements=module.requirements)

    module.ModelLoader = Loader
    module.MAIN_REGISTRY = ["known"]
    module.UnsupportedModelError = UnsupportedModelError
    module.canonicalize_state_dict = dict
    monkeypatch.setitem(sys.modules, "spandrel", module)
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    return module


@pytest.mark.usefixtures("fake")
def test_a_checkpoint_becomes_its_network(weights):
    found = load_checkpoint(weights)
    assert (found.architecture, found.scale, found.masked) == ("EDSR", 2, False)
    assert found.input_shape == (1, 3, 48, 48)
    assert not found.model.training
    assert inspect_checkpoint(weights, None).input_shapes == ((1, 3, 48, 48),)
    assert inspect_checkpoint(weights, (1, 3, 8, 12)).input_shapes == ((1, 3, 8, 12),)


@pytest.mark.parametrize(
    ("minimum", "multiple_of", "side"), [(0, 1, 48), (64, 16, 64), (0, 32, 64), (0, 7, 49)]
)
def test_the_input_is_what_the_architecture_takes(fake, weights, minimum, multiple_of, side):
    fake.requirements = Requirements(minimum, multiple_of)
    assert load_checkpoint(weights).input_shape == (1, 3, side, side)


@pytest.mark.usefixtures("fake")
def test_weights_in_a_wrapper_are_found(tmp_path):
    model = create("edsr", channels=8, blocks=1)
    file = tmp_path / "edsr.pth"
    torch.save({"params_ema": model.state_dict(), "step": 3}, file)
    assert load_checkpoint(file).architecture == "EDSR"


@pytest.mark.usefixtures("fake")
def test_weights_of_an_unknown_architecture_are_named(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"layer.weight": torch.zeros(3)}, file)
    with pytest.raises(FileFormatError, match="no architecture with these weights; name the netw"):
        load_checkpoint(file)


@pytest.mark.usefixtures("fake")
def test_an_architecture_that_fails_on_the_weights_is_one_sentence(tmp_path):
    file = tmp_path / "other.safetensors"
    save_file({"head.0.weight": torch.zeros(3)}, file)
    with pytest.raises(FileFormatError, match="spandrel cannot build a network from it") as error:
        load_checkpoint(file)
    assert "\n" not in str(error.value)


class Attack:
    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    "content", [Attack(), {"params": Attack()}, [1, 2]], ids=["object", "inside", "list"]
)
def test_no_object_is_unpickled(tmp_path, content):
    file = tmp_path / "attack.pth"
    torch.save(content, file)
    with pytest.raises(FileFormatError, match=r"cannot be read as plain weights|no state dict"):
        load_checkpoint(file)


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("name", ["broken.pth", "broken.pt", "broken.ckpt", "broken.safetensors"])
def test_a_broken_file_is_one_sentence(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(b"\x80\x04 no weights")
    with pytest.raises(FileFormatError, match=name):
        load_checkpoint(file)


def test_a_missing_spandrel_is_named_with_the_way_to_get_it(monkeypatch, weights):
    monkeypatch.setitem(sys.modules, "spandrel", None)
    with pytest.raises(FileFormatError, match=r"spandrel, which is not there; .*prunekit\[spand"):
        load_checkpoint(weights)


def test_a_torchvision_of_another_torch_is_named(monkeypatch, tmp_path, weights):
    monkeypatch.delitem(sys.modules, "spandrel", raising=False)
    (tmp_path / "spandrel.py").write_text("raise RuntimeError('operator nms does not exist\\nx')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(FileFormatError, match=r"nms does not exist\); install the torchvision"):
        load_checkpoint(weights)


# The real one, where it is installed ------------------------------------------------------------


@pytest.mark.data
@pytest.mark.usefixtures("spandrel")
@pytest.mark.filterwarnings("ignore")  # other people's code
@pytest.mark.parametrize(
    ("name", "architecture"),
    [("realesr_animevideov3_x4", "RealESRGAN Compact"), ("realesrgan_anime6b_x4", "ESRGAN")],
)
def test_published_weights_are_inspected(shared_data, name, architecture):
    file = shared_data / "weights" / f"{name}.safetensors"
    found = load_checkpoint(file)
    graph = inspect_checkpoint(file, None)
    assert found.architecture == architecture
    assert graph.scale == found.scale == 4
    assert len(graph.groups) > 10


@pytest.mark.data
@pytest.mark.usefixtures("spandrel")
@pytest.mark.filterwarnings("ignore")
def test_published_weights_that_spandrel_does_not_know_are_refused(shared_data):
    with pytest.raises(FileFormatError, match="spandrel knows no architecture"):
        load_checkpoint(shared_data / "weights" / "pan_x4.safetensors")
