"""How many bytes a network takes on disk: dense, in half precision, sparse, and compressed."""

from __future__ import annotations

__all__ = ["FileSize", "file_sizes"]

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from torch import nn

from prunekit.graph import clone_model
from prunekit.plan import Plan
from prunekit.sparse.masks import Masks
from prunekit.sparse.store import sparse_content
from prunekit.surgery import SLIM_FILE, save_slim

_LEVEL = 12
"""Of zstd."""


@dataclass(frozen=True)
class FileSize:
    """The size of one file, plan included."""

    what: str
    bytes: int | None
    """None where it could not be made."""
    note: str = ""
    """Why not, or with what."""


def file_sizes(model: nn.Module, plan: Plan, masks: Masks) -> tuple[FileSize, ...]:
    """Write a network in several ways, and tell how many bytes each takes."""
    sparse = sparse_content(model, plan, masks)
    kind = str(next(model.parameters()).dtype).removeprefix("torch.")
    half = clone_model(model).half()
    compressed, note = _compressed(sparse)
    return (
        FileSize(f"dense, {kind}", len(_dense(model, plan))),
        FileSize("dense, float16", len(_dense(half, plan)), "rounds the weights"),
        FileSize(f"sparse, {kind}", len(sparse), "bit-exact"),
        FileSize(f"sparse, {kind}, zstd", compressed, note),
    )


def _dense(model: nn.Module, plan: Plan) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / SLIM_FILE
        save_slim(file, model, plan)
        return file.read_bytes()


def _compressed(content: bytes) -> tuple[int | None, str]:
    """Size after zstd, with Python's own or that of a package."""
    makers: dict[str, Callable[[object], bytes]] = {
        "compression.zstd": lambda zstd: zstd.compress(content, level=_LEVEL),  # type: ignore[attr-defined]
        "zstandard": lambda zstd: zstd.ZstdCompressor(level=_LEVEL).compress(content),  # type: ignore[attr-defined]
    }
    for name, compress in makers.items():
        try:
            library = import_module(name)
        except ImportError:
            continue
        return len(compress(library)), f"level {_LEVEL}, by {name}"
    return None, "there is neither Python 3.14 nor the package zstandard"
