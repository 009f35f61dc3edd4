"""A line a step, that a training which goes on writes as if it had never stopped."""

from __future__ import annotations

__all__ = ["StepLog"]

import json
from pathlib import Path

from prunekit.files import write_atomic


class StepLog:
    """A JSON object a line, with the number of the step; lost lines are written anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, step: int, **figures: float) -> None:
        """Note a step, counted from 1; it is on the disk after `flush`."""
        self._lines.append(json.dumps({"step": step, **figures}) + "\n")

    def flush(self) -> None:
        """Write what was noted."""
        with self._file.open("a", encoding="utf-8") as file:
            file.writelines(self._lines)
        self._lines.clear()

    def go_on_from(self, step: int) -> None:
        """Forget all that came after a step."""
        if not self._file.exists():
            return
        kept = []
        for line in self._file.read_text(encoding="utf-8").splitlines(keepends=True):
            whole = line.endswith("\n")
            if not whole or json.loads(line)["step"] > step:
                break
            kept.append(line)
        write_atomic(self._file, "".join(kept))
