"""What a network made of images, kept in a cache, and mapped from there as it is asked for."""

from __future__ import annotations

__all__ = ["StoredOutput", "StoredOutputs"]

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import overload

from prunekit.data.cache import Cache, Output
from prunekit.errors import DataError

_OPEN = 128
"""Files that one process holds open at most."""


@dataclass(frozen=True)
class StoredOutput:
    """Where an output is."""

    name: str  # of the image
    path: Path


class StoredOutputs(Sequence[Output]):
    """Outputs in the order of their images; other processes get names alone.

    Raises `DataError` for one that was deleted since: there is no network here to make it anew.
    """

    def __init__(self, cache: Cache, stored: Sequence[StoredOutput]) -> None:
        self._cache, self._stored = cache, tuple(stored)
        self._open = lru_cache(maxsize=_OPEN)(self._map)

    def __len__(self) -> int:
        return len(self._stored)

    @overload
    def __getitem__(self, index: int) -> Output: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Output]: ...
    def __getitem__(self, index: int | slice) -> Output | Sequence[Output]:
        if isinstance(index, slice):
            return StoredOutputs(self._cache, self._stored[index])
        return self._open(range(len(self._stored))[index])

    def __reduce__(self) -> tuple[type[StoredOutputs], tuple[object, ...]]:
        return type(self), (self._cache, self._stored)

    def _map(self, index: int) -> Output:
        stored = self._stored[index]
        output = self._cache.read_output(stored.path)
        if output is None:
            message = (
                f"what the teacher made of image '{stored.name}' was deleted from "
                f"{self._cache.folder} while it was in use; start again, and it is made anew"
            )
            raise DataError(message)
        self._cache.mark_used(stored.path)
        return output
