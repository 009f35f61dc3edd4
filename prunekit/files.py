"""Writing files so that a crash leaves the old file or the new one, never a part."""

from __future__ import annotations

__all__ = ["append_durably", "sync_folder", "write_atomic"]

import os
import tempfile
from pathlib import Path

_SHOWN = 48
"""Letters of a name that the file aside is called by: names may be as long as a system takes."""


def write_atomic(path: Path, content: bytes | str) -> None:
    r"""Write aside in the same folder, fsync, rename over `path`, fsync the folder.

    Text is written as UTF-8, bytes of names that are none as `\udcff`. Raises `OSError` with the
    old file intact.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    prefix = f".{path.name[:_SHOWN]}."
    handle, aside = tempfile.mkstemp(prefix=prefix, suffix=".aside", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(aside).chmod(0o666 & ~_umask())
        Path(aside).replace(path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def append_durably(path: Path, text: str) -> None:
    """Add text, as UTF-8, to a file that may not be there yet, and fsync it."""
    with path.open("a", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make the rename itself durable, where the system can open a folder."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
