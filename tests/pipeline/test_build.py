"""From a recipe's `model` section to a network: factories, files of weights, devices."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from prunekit.errors import FileFormatError, RecipeError
from prunekit.nets import EDSR
from prunekit.pipeline.build import build_network, choose_device, example_input
from prunekit.recipe import ModelSection

SIZE = {"channels": 8, "blocks": 1}


@pytest.fixture(scope="module")
def trained() -> EDSR:
    torch.manual_seed(9)
    return EDSR(**SIZE)


def section(weights: Path | None = None, **arguments: object) -> ModelSection:
    return ModelSection(network="edsr", arguments={**SIZE, **arguments}, weights=weights)


def assert_loaded(model: nn.Module, trained: nn.Module) -> None:
    state = model.state_dict()
    assert all(torch.equal(state[name], t) for name, t in trained.state_dict().items())
    assert not model.training


def test_safetensors_are_loaded(trained, tmp_path):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    assert_loaded(build_network(section(tmp_path / "w.safetensors")), trained)


WRAPPERS = {
    "bare": lambda s: s,
    "params": lambda s: {"params": s},
    "params_ema": lambda s: {"params_ema": s, "params": {k: v * 0 for k, v in s.items()}},
    "params_ema after params": lambda s: {
        "params": {k: v * 0 for k, v in s.items()},
        "params_ema": s,
    },
    "state_dict": lambda s: {"epoch": 3, "state_dict": s, "optimizer": {"lr": 0.1}},
    "model_state_dict": lambda s: {"model_state_dict": s},
    "model": lambda s: {"model": s, "step": 5},
    "two wrappers": lambda s: {"state_dict": {"params": s}},
    "module.": lambda s: {f"module.{name}": t for name, t in s.items()},
    "module. in a wrapper": lambda s: {"params": {f"module.{name}": t for name, t in s.items()}},
}


@pytest.mark.parametrize("suffix", [".pth", ".pt"])
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_torch_files_are_loaded_out_of_the_usual_wrappers(trained, tmp_path, wrap, suffix):
    torch.save(wrap(trained.state_dict()), tmp_path / f"w{suffix}")
    assert_loaded(build_network(section(tmp_path / f"w{suffix}")), trained)


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "w.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickles_are_refused_and_nothing_in_them_runs(tmp_path, name, zipped):
    marker, file = tmp_path / "boom", tmp_path / name
    if zipped:
        torch.save({"params": Bomb(marker)}, file)
    else:
        file.write_bytes(pickle.dumps({"params": Bomb(marker)}, 2))
    with pytest.raises(FileFormatError, match=str(file)) as caught:
        build_network(section(file))
    assert "\n" not in str(caught.value)
    assert not marker.exists()


def packed(state: dict[str, Tensor], file: Path) -> None:
    """Write what torch would, but compressed."""
    torch.save(state, file)
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


def test_an_archive_that_unpacks_to_more_than_it_has_is_not_unpacked(tmp_path, monkeypatch):
    file = tmp_path / "w.pth"
    packed({"weight": torch.zeros(2_000_000)}, file)
    assert file.stat().st_size < 100_000
    assert len(torch.load(file, weights_only=True)["weight"]) == 2_000_000  # the bomb is real
    monkeypatch.setattr(torch, "load", None)
    with pytest.raises(FileFormatError, match=r"would unpack to 8,\d{3},\d{3} bytes"):
        build_network(section(file))


def test_a_whole_pickled_network_is_refused_with_the_way_out(trained, tmp_path):
    torch.save(trained, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match="save the state dict alone, best as safetensors"):
        build_network(section(tmp_path / "w.pth"))


@pytest.mark.parametrize("name", ["w.pth", "w.safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 500, -30])
def test_truncated_weights_are_refused(trained, tmp_path, name, keep):
    file = tmp_path / name
    if name == "w.pth":
        torch.save(trained.state_dict(), file)
    else:
        save_file(trained.state_dict(), file)
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=str(file)):
        build_network(section(file))


@pytest.mark.parametrize("content", [{}, {"a": 1}, [1, 2], {"params": [3]}, 7], ids=str)
def test_files_without_a_state_dict_are_refused(tmp_path, content):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(FileFormatError, match=r"holds no state dict|the weights are not those of"):
        build_network(section(tmp_path / "w.pth"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"channels": 9}, r"size mismatch for head\.0\.weight"),
        ({"blocks": 2}, r"Missing key\(s\) in state_dict: \"body\.1"),
        ({"scale": 4}, r"Missing key\(s\) in state_dict: \"tail\.0\.2"),
    ],
)
def test_weights_of_another_network_are_one_clear_line(trained, tmp_path, arguments, problem):
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    wanted = rf"w\.safetensors: the weights are not those of EDSR: {problem}"
    with pytest.raises(FileFormatError, match=wanted) as caught:
        build_network(section(tmp_path / "w.safetensors", **arguments))
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400


def raising(**_: object) -> nn.Module:
    raise LookupError("no such thing")  # noqa: EM101, TRY003 (a user's factory)


def leaving(**_: object) -> nn.Module:
    raise SystemExit(3)


def test_a_factory_is_called_with_its_arguments():
    net = build_network(ModelSection(factory="prunekit.nets:EDSR", arguments=SIZE))
    assert isinstance(net, EDSR)
    assert net.head[0].out_channels == 8
    assert not net.training


@pytest.mark.parametrize(
    ("factory", "arguments", "told"),
    [
        ("tests.pipeline.test_build:raising", {}, "raised LookupError: no such thing"),
        ("tests.pipeline.test_build:leaving", {}, "raised SystemExit: 3"),
        ("prunekit.nets:EDSR", {"depth": 3}, "raised TypeError: "),
        ("prunekit.nets:names", {}, r"returned a list where a torch\.nn\.Module is needed"),
    ],
)
def test_what_a_factory_does_wrong_is_told(factory, arguments, told):
    with pytest.raises(RecipeError, match=f"factory '{factory}' {told}"):
        build_network(ModelSection(factory=factory, arguments=arguments))


def test_devices_are_chosen_or_refused():
    assert choose_device("cpu") == torch.device("cpu")
    there = "cuda" if torch.cuda.is_available() else "cpu"
    assert choose_device("auto") == torch.device(there)
    with pytest.raises(RecipeError, match="device 'cuda:99' is asked for and there is none"):
        choose_device("cuda:99")


def test_the_example_is_the_same_noise_every_time_in_the_networks_type():
    net = EDSR(**SIZE).double()
    first, again = (example_input((1, 3, 6, 6), net) for _ in range(2))
    assert torch.equal(first, again)
    assert first.dtype == torch.float64
    assert 0 <= first.min() < first.max() <= 1
