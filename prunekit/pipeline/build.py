"""From the `model` section of a recipe to a network with its weights, on its device."""

from __future__ import annotations

__all__ = ["build_network", "choose_device", "example_input", "read_state"]

import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from prunekit.errors import FileFormatError, RecipeError
from prunekit.nets import create
from prunekit.recipe import ModelSection, import_factory

_WRAPPERS = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
"""Keys under which training tools keep the state dict, the one to prefer first."""


def build_network(section: ModelSection) -> nn.Module:
    """Build the network of a recipe on the CPU, in evaluation mode.

    Raises:
        RecipeError: it cannot be built with these arguments, or is no network.
        FileFormatError: its weights cannot be read, or are not for it.
    """
    if section.network is not None:
        model = create(section.network, **section.arguments)
    else:
        assert section.factory is not None
        model = _call_factory(section.factory, section.arguments)
    if section.weights is not None:
        _load_weights(model, section.weights)
    return model.eval()


def choose_device(name: str) -> torch.device:
    """Turn `auto`, `cpu`, `cuda` or `cuda:N` into a device that is there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        message = f"there is no kind of device called '{name}'; use 'auto', 'cpu' or 'cuda'"
        raise RecipeError(message) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        message = f"device '{name}' is asked for and there is none; use 'auto' or 'cpu'"
        raise RecipeError(message)
    return device


def example_input(shape: tuple[int, ...], like: nn.Module) -> Tensor:
    """Make an image of noise from 0 to 1, always the same, of a network's device and type."""
    parameter = next(like.parameters())
    try:
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        return noise.to(parameter.device, parameter.dtype)
    except (RuntimeError, MemoryError, TypeError) as error:  # the last for a size past 64 bits
        message = f"there is no room for an input of shape {shape}; lower model.input_shape"
        raise RecipeError(message) from error


def _call_factory(reference: str, arguments: Mapping[str, object]) -> nn.Module:
    factory = import_factory(reference)
    try:
        model = factory(**arguments)
    except (Exception, SystemExit) as error:  # the user's own code can fail in any way
        message = f"factory '{reference}' raised {type(error).__name__}: {error}"
        raise RecipeError(message) from error
    if not isinstance(model, nn.Module):
        kind = type(model).__name__
        message = f"factory '{reference}' returned a {kind} where a torch.nn.Module is needed"
        raise RecipeError(message)
    return model


def _load_weights(model: nn.Module, path: Path) -> None:
    state = read_state(path)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        problems = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        detail = problems[0][:200] if problems else str(error)[:200]
        message = f"{path}: the weights are not those of {type(model).__name__}: {detail}{more}"
        raise FileFormatError(message) from error


def read_state(path: Path) -> Mapping[str, Tensor]:
    """Read a state dict, without unpickling objects; `FileFormatError` for anything else."""
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        _check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileFormatError:
        raise
    except SafetensorError as error:
        message = f"{path}: not a readable safetensors file ({error}); it may be truncated"
        raise FileFormatError(message) from error
    except Exception as error:  # torch.load raises whatever its parsers raise
        message = (
            f"{path}: cannot be read as plain weights ({type(error).__name__}); "
            "save the state dict alone, best as safetensors"
        )
        raise FileFormatError(message) from error
    return _unwrapped(path, state)


def _check_archive(path: Path) -> None:
    """Refuse an archive that is larger unpacked than it is; torch packs nothing."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size:
        message = (
            f"{path}: would unpack to {unpacked:,} bytes, more than it has, as no file of torch "
            "does; save the state dict anew, best as safetensors"
        )
        raise FileFormatError(message)


def _unwrapped(path: Path, state: object) -> Mapping[str, Tensor]:
    """Find the state dict inside what a training tool saved."""
    while isinstance(state, Mapping):
        inner = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
        if inner is None:
            break
        state = inner
    if not isinstance(state, Mapping) or not all(isinstance(t, Tensor) for t in state.values()):
        message = f"{path}: holds no state dict; save `model.state_dict()`, best as safetensors"
        raise FileFormatError(message)
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}
