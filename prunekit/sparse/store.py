"""Sparse networks as safetensors files that leave the zeros out.

A masked weight is kept as the line of its values, and a code that says where they belong; all
else as in a slim file, with plan, network and digest.
"""

from __future__ import annotations

__all__ = ["SparseFile", "is_sparse", "load_sparse", "read_sparse", "save_sparse", "sparse_content"]

import hashlib
import json
import math
import tempfile
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
from prunekit.sparse.codes import BadCodeError, best_code, places_of, plainest_code
from prunekit.sparse.masks import Masks, Pattern
from prunekit.surgery import (
    SLIM_FILE,
    SlimFile,
    file_in,
    filled,
    open_slim,
    read_slim,
    save_slim,
)

_FORMAT = "prunekit-sparse/1"

_KEY = "prunekit"
"""Key of the metadata that holds all but tensors, as JSON; the same as that of slim files."""

_PLACES = ":places"
"""What the name of a weight's code ends in."""

_LEAST_MEMORY = 2**28
"""Bytes that the tensors of a file may take whatever it holds."""

_LARGEST_RATIO = 128
"""Times as many bytes as in the file that tensors may take besides."""

_MOST_AXES = 8
_LARGEST_BLOCK = 64


@dataclass(frozen=True)
class SparseFile:
    """What a sparse file holds."""

    content: SlimFile
    """As a slim file would hold it, zeros and all."""
    masks: Masks


def save_sparse(
    path: Path,
    model: nn.Module,
    plan: Plan,
    masks: Masks,
    network: Mapping[str, object] | None = None,
) -> None:
    """Write a network without its masked weights, its plan and how to build it; whole or not.

    Raises `SurgeryError` if its state holds more than tensors, or if a masked weight is not zero.
    """
    write_atomic(path, sparse_content(model, plan, masks, network))


def sparse_content(
    model: nn.Module, plan: Plan, masks: Masks, network: Mapping[str, object] | None = None
) -> bytes:
    """What `save_sparse` writes; it has been read back and compared, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        dense = Path(folder) / SLIM_FILE
        save_slim(dense, model, plan, network)
        content = read_slim(dense)
    encoded = _encode(content, masks)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SLIM_FILE
        file.write_bytes(encoded)
        again = read_sparse(file)
    assert _same(content.tensors, again.content.tensors)
    assert _same(masks.kept, again.masks.kept)
    return encoded


def is_sparse(path: Path) -> bool:
    """Whether a file, or the one in a run folder, says that it is sparse; it may be damaged."""
    try:
        with safe_open(file_in(path), framework="pt") as opened:
            described = json.loads((opened.metadata() or {}).get(_KEY, "{}"))
    except Exception:  # noqa: BLE001 - told by what reads all of it
        return False
    form = described.get("format") if isinstance(described, dict) else None
    return isinstance(form, str) and form.startswith("prunekit-sparse/")


def read_sparse(path: Path) -> SparseFile:
    """Read and check a sparse file, or the one in a folder, without running anything in it.

    It takes no more memory than a fixed multiple of the file's size.

    Raises:
        FileFormatError: missing, truncated, changed, foreign, from a newer version, or its counts
            and places do not belong together.
    """
    file = file_in(path)
    described, tensors = open_slim(file)
    _check(file, described, tensors)
    try:
        plan = Plan.from_json(described["plan"])
        network, entries = _mapping(described["network"]), _mapping(described["sparse"])
        return _decode(tensors, {n: _Entry.read(e) for n, e in entries.items()}, plan, network)
    except (KeyError, TypeError, ValueError, RecursionError, FileFormatError) as error:
        message = f"{file}: what it says of its tensors is damaged ({error})"
        raise FileFormatError(message) from error


def load_sparse(path: Path, model: nn.Module) -> nn.Module:
    """Turn a fresh dense network into the sparse one of a file; the model given is untouched.

    Raises:
        FileFormatError: as `read_sparse`, or the tensors are not those that the plan leaves.
        SurgeryError: the model is not the network that the plan was made for.
    """
    return filled(path, model, read_sparse(path).content)


@dataclass(frozen=True)
class _Entry:
    """What a file says of one sparse tensor."""

    shape: tuple[int, ...]
    code: str
    pattern: Pattern | None = None

    @staticmethod
    def read(data: Any) -> _Entry:
        """From JSON. Raises `ValueError`, `TypeError` or `KeyError` if it cannot be true."""
        shape = tuple(_number(size, 2**40) for size in data["shape"])
        if not 1 <= len(shape) <= _MOST_AXES:
            message = f"a tensor of {len(shape)} axes"
            raise ValueError(message)
        if "pattern" not in data:
            return _Entry(shape, str(data["code"]))
        stays, block, axis = data["pattern"]
        block = _number(block, _LARGEST_BLOCK)
        pattern = Pattern(_number(stays, block - 1), block, _number(axis, len(shape) - 1))
        if pattern.stays < 1:
            message = f"a pattern {pattern}"
            raise ValueError(message)
        return _Entry(shape, str(data["code"]), pattern)

    def plain(self) -> dict[str, object]:
        """For JSON."""
        told = self.pattern
        return {
            "shape": self.shape,
            "code": self.code,
            **({"pattern": (told.stays, told.block, told.axis)} if told else {}),
        }

    def line(self, tensor: Tensor) -> Tensor:
        """The elements in the order of the code: those of a block follow one another."""
        moved = tensor if self.pattern is None else tensor.movedim(self.pattern.axis, -1)
        return moved.reshape(-1)

    def whole(self, line: Tensor) -> Tensor:
        """The tensor of a line."""
        if self.pattern is None:
            return line.reshape(self.shape)
        sizes = list(self.shape)
        sizes.append(sizes.pop(self.pattern.axis))
        return line.reshape(sizes).movedim(-1, self.pattern.axis).contiguous()


def _encode(content: SlimFile, masks: Masks) -> bytes:
    tensors, entries = {}, {}
    for name, tensor in content.tensors.items():
        if name.endswith(_PLACES):
            message = f"a tensor is named '{name}', which sparse files keep for themselves"
            raise SurgeryError(message)
        if name in masks.kept:
            entries[name], tensors[name], tensors[name + _PLACES] = _encoded(
                name, tensor, masks.kept[name], masks.patterns.get(name)
            )
        else:
            tensors[name] = tensor
    missing = sorted(set(masks.kept) - set(content.tensors))
    if missing:
        message = f"the mask of '{missing[0]}' is of no tensor; the masks are of another network"
        raise SurgeryError(message)
    described = {
        "format": _FORMAT,
        "plan": content.plan.to_json(),
        "network": json.dumps(dict(content.network)),
        "sparse": json.dumps({name: entry.plain() for name, entry in entries.items()}),
    }
    described["digest"] = _digest(tensors, described)
    return save(tensors, {_KEY: json.dumps(described)})


def _encoded(
    name: str, tensor: Tensor, mask: Tensor, pattern: Pattern | None
) -> tuple[_Entry, Tensor, Tensor]:
    """What is said of it, values, and places."""
    if tensor.shape != mask.shape or (_has_bits(tensor) & ~mask).any():
        message = (
            f"the weight '{name}' is not zero where its mask says so; the masks are of another "
            "network, or it was trained without them"
        )
        raise SurgeryError(message)
    order = _Entry(tuple(tensor.shape), "", pattern)
    line, places = order.line(tensor), order.line(mask)
    values = line[places].contiguous()
    code, written = best_code(places.numpy(), pattern)
    stored = values.nbytes + written.nbytes
    if tensor.nbytes > _LARGEST_RATIO * stored:  # so short that a reader would refuse it
        code, written = plainest_code(places.numpy())
    return _Entry(order.shape, code, pattern), values, torch.from_numpy(written)


def _decode(
    tensors: Mapping[str, Tensor],
    entries: Mapping[str, _Entry],
    plan: Plan,
    network: Mapping[str, object],
) -> SparseFile:
    _check_names(tensors, entries)
    _check_memory(tensors, entries)
    whole = {name: t for name, t in tensors.items() if not name.endswith(_PLACES)}
    kept, patterns = {}, {}
    for name, entry in entries.items():
        values, code = tensors[name], tensors[name + _PLACES]
        told = entry.pattern
        places = torch.from_numpy(
            places_of(
                entry.code,
                code.numpy(),
                math.prod(entry.shape),
                values.numel(),
                (told.stays, told.block) if told else (1, 2),
            )
        )
        line = torch.zeros(places.numel(), dtype=values.dtype)
        line[places] = values
        whole[name], kept[name] = entry.whole(line), entry.whole(places)
        if told is not None:
            if not told.holds(kept[name]):
                message = f"'{name}' does not have the pattern {told}"
                raise BadCodeError(message)
            patterns[name] = told
    return SparseFile(SlimFile(whole, plan, network), Masks(kept, patterns))


def _check_names(tensors: Mapping[str, Tensor], entries: Mapping[str, _Entry]) -> None:
    codes = {name for name in tensors if name.endswith(_PLACES)}
    if codes != {name + _PLACES for name in entries} or not entries.keys() <= tensors.keys():
        message = "codes and sparse tensors do not belong together"
        raise BadCodeError(message)
    for name in entries:
        values, code = tensors[name], tensors[name + _PLACES]
        if values.ndim != 1 or code.ndim != 1 or code.dtype != torch.uint8:
            message = f"'{name}' is no line of values with a line of bytes"
            raise BadCodeError(message)


def _check_memory(tensors: Mapping[str, Tensor], entries: Mapping[str, _Entry]) -> None:
    """Refuse tensors that are far larger than what the file holds of them."""
    held = sum(tensor.nbytes for tensor in tensors.values())
    wanted = sum(math.prod(e.shape) * tensors[n].dtype.itemsize for n, e in entries.items())
    if wanted > _LEAST_MEMORY + _LARGEST_RATIO * held:
        message = f"its tensors would take {wanted:,} bytes, far more than what the file holds"
        raise BadCodeError(message)


def _check(file: Path, described: object, tensors: Mapping[str, Tensor]) -> None:
    found = described.get("format", "") if isinstance(described, dict) else ""
    if not isinstance(described, dict) or found != _FORMAT:
        kind = f"has format {found!r}" if found else "was not written by prunekit"
        message = f"{file}: {kind}; this version reads {_FORMAT!r}"
        raise FileFormatError(message)
    if described.get("digest") != _digest(tensors, described):
        message = f"{file}: the content does not match its digest; the file is damaged"
        raise FileFormatError(message)


def _mapping(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        message = "no mapping"
        raise TypeError(message)
    return found


def _number(value: object, most: int) -> int:
    if type(value) is not int or not 0 <= value <= most:
        message = f"{value!r} is no whole number from 0 to {most}"
        raise TypeError(message)
    return value


def _has_bits(tensor: Tensor) -> Tensor:
    """Where a number is not all zero bits, as a negative zero is not."""
    octets = tensor.reshape(-1).view(torch.uint8).view(tensor.numel(), -1)
    return octets.any(1).view(tensor.shape)


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    """Whether tensors are equal to the bit."""
    return first.keys() == second.keys() and all(
        t.dtype == second[n].dtype
        and t.shape == second[n].shape
        and torch.equal(*(x.contiguous().view(-1).view(torch.uint8) for x in (t, second[n])))
        for n, t in first.items()
    )


def _digest(tensors: Mapping[str, Tensor], described: Mapping[str, str]) -> str:
    """Digest of all that a file holds but the digest itself."""
    rest = {key: text for key, text in described.items() if key != "digest"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
