"""Slim networks as safetensors files that carry their plan and a digest of their content."""

from __future__ import annotations

__all__ = [
    "SLIM_FILE",
    "SlimFile",
    "file_in",
    "filled",
    "load_slim",
    "open_slim",
    "read_slim",
    "save_slim",
]

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from prunekit.errors import FileFormatError, SurgeryError
from prunekit.files import write_atomic
from prunekit.plan import Plan
from prunekit.surgery.apply import apply

SLIM_FILE = "slim.safetensors"
"""Name of the file in a run folder."""

_FORMAT = "prunekit-slim/1"

_EXTRA = "_extra_state"
"""torch's name for what a module adds to the state dict."""

_KEY = "prunekit"
"""Key of the metadata that holds format, plan, network and digest, as JSON."""


@dataclass(frozen=True)
class SlimFile:
    """What a slim file holds."""

    tensors: Mapping[str, Tensor]
    plan: Plan
    network: Mapping[str, object]
    """How to build the dense network (`network` or `factory`, `arguments`); may be empty."""


def save_slim(
    path: Path, model: nn.Module, plan: Plan, network: Mapping[str, object] | None = None
) -> None:
    """Write the weights of a slim network, its plan and how to build it; whole or not at all.

    Raises `SurgeryError` if its state holds more than tensors.
    """
    tensors = _unique_state(model)
    described = {
        "format": _FORMAT,
        "plan": plan.to_json(),
        "network": json.dumps(network or {}),
    }
    described["digest"] = _digest(tensors, described)
    # under one key, since safetensors writes several in no certain order
    write_atomic(path, save(tensors, {_KEY: json.dumps(described)}))


def read_slim(path: Path) -> SlimFile:
    """Read and check a slim file, or the one in a folder, without running anything in it.

    Raises:
        FileFormatError: missing, truncated, changed, foreign, or from a newer version.
    """
    file = file_in(path)
    return _checked(file, *open_slim(file))


def file_in(path: Path) -> Path:
    """The file itself, or the one in a run folder. Raises `FileFormatError` for no name of one."""
    try:
        return path / SLIM_FILE if path.is_dir() else path
    except (OSError, ValueError) as error:  # too long, or with a null byte
        why = getattr(error, "strerror", None) or error
        message = f"{str(path)[:80]!r} cannot be read ({why}); name a run folder, or a file"
        raise FileFormatError(message) from error


def open_slim(file: Path) -> tuple[Any, dict[str, Tensor]]:
    """What a file says of itself, not checked, and its tensors.

    Raises `FileFormatError` if it is missing or no whole safetensors file.
    """
    if not file.is_file():
        message = f"{file}: there is no such file; a run folder holds one named {SLIM_FILE}"
        raise FileFormatError(message)
    try:
        with safe_open(file, framework="pt") as opened:
            described = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # what a damaged header does to its parsers is up to them
        message = f"{file}: not a readable safetensors file ({error}); it may be truncated"
        raise FileFormatError(message) from error
    return described, tensors


def load_slim(path: Path, model: nn.Module) -> nn.Module:
    """Turn a fresh dense network into the slim one of a file; the model given is untouched.

    Raises:
        FileFormatError: as `read_slim`, or the tensors are not those that the plan leaves.
        SurgeryError: the model is not the network that the plan was made for.
    """
    if not isinstance(model, nn.Module):  # callers without a type checker
        message = f"a torch.nn.Module is needed to load into, not {type(model).__name__}"  # type: ignore[unreachable]
        raise SurgeryError(message)
    return filled(path, model, read_slim(path))


def filled(path: Path, model: nn.Module, content: SlimFile) -> nn.Module:
    """The slim network of a dense one, with the tensors that were read; raises as `load_slim`."""
    slim = _of_stored_type(apply(content.plan, model), content.tensors)
    state, extra = _live_state(slim), _extra_states(slim)
    wanted = {name: (tuple(t.shape), t.dtype) for name, t in state.items()}
    stored = {name: (tuple(t.shape), t.dtype) for name, t in content.tensors.items()}
    found = {name: told for name, told in stored.items() if name not in extra}
    if wanted != found or not extra.keys() <= stored.keys():
        odd = sorted({n for n, _ in set(wanted.items()) ^ set(found.items())} or extra.keys())
        message = f"{path}: tensor '{odd[0]}' is not as the plan leaves it; the file is damaged"
        raise FileFormatError(message)
    with torch.no_grad():
        for name, tensor in state.items():
            tensor.copy_(content.tensors[name])
    for name, module in extra.items():
        module.set_extra_state(content.tensors[name].clone())
    return slim


def _of_stored_type(slim: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Convert a network that was converted as a whole before it was saved, such as by `half()`."""
    state = _live_state(slim)
    floating = {name: t.dtype for name, t in tensors.items() if t.is_floating_point()}
    types = set(floating.values())
    if len(types) != 1 or all(state[n].dtype == t for n, t in floating.items() if n in state):
        return slim
    (dtype,) = types
    for tensor in (*slim.parameters(), *slim.buffers()):
        if tensor.is_floating_point():  # as `half()` does; `to(dtype)` takes complex ones, too
            tensor.data = tensor.data.to(dtype)
    return slim


def _checked(file: Path, described: object, tensors: dict[str, Tensor]) -> SlimFile:
    found = described.get("format", "") if isinstance(described, dict) else ""
    if not isinstance(described, dict) or found != _FORMAT:
        kind = f"has format {found!r}" if found else "was not written by prunekit"
        message = f"{file}: {kind}; this version reads {_FORMAT!r}"
        raise FileFormatError(message)
    if described.get("digest") != _digest(tensors, described):
        message = f"{file}: the content does not match its digest; the file is damaged"
        raise FileFormatError(message)
    try:
        network = json.loads(described["network"])
        plan = Plan.from_json(described["plan"])
    except (KeyError, TypeError, ValueError, RecursionError, FileFormatError) as error:
        message = f"{file}: the description of the network is damaged ({error})"
        raise FileFormatError(message) from error
    if not isinstance(network, dict):
        message = f"{file}: the description of the network is damaged (no mapping)"
        raise FileFormatError(message)
    return SlimFile(tensors, plan, network)


def _unique_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers; tied ones appear once, under their first name.

    Not the state dict, which a network may change as it likes, but for what modules add to it.
    """
    added = {name: module.get_extra_state() for name, module in _extra_states(model).items()}
    for name, value in (*model.state_dict(keep_vars=True).items(), *added.items()):
        if not isinstance(value, Tensor):
            message = (
                f"'{name}' of the state is no tensor, so it cannot be saved; keep it elsewhere"
            )
            raise SurgeryError(message)
    tensors = {**_live_state(model), **added}
    return {n: tensor.detach().contiguous().cpu() for n, tensor in tensors.items()}


def _extra_states(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that add something of their own to the state dict, by its name there."""
    plain = nn.Module.get_extra_state
    return {
        f"{path}.{_EXTRA}" if path else _EXTRA: module
        for path, module in model.named_modules()
        if getattr(type(module), "get_extra_state", plain) is not plain
    }


def _live_state(model: nn.Module) -> dict[str, Tensor]:
    passing = {
        f"{path}.{name}" if path else name
        for path, module in model.named_modules()
        for name in module._non_persistent_buffers_set
    }
    buffers = {name: b for name, b in model.named_buffers() if name not in passing}
    return {**dict(model.named_parameters()), **buffers}


def _digest(tensors: Mapping[str, Tensor], described: Mapping[str, str]) -> str:
    """Digest of all that a file holds but the digest itself."""
    rest = {key: text for key, text in described.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
