"""A line a step, that a training which goes on writes as if it had never stopped."""

from __future__ import annotations

__all__ = ["StepLog"]

import json
import math
from pathlib import Path

from prunekit.files import append_durably, write_atomic


class StepLog:
    """A JSON object a line, with the number of the step; lost lines are written anew."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, step: int, **figures: float) -> None:
        """Note a step, counted from 1; it is on the disk after `flush`.

        A figure without end, such as the PSNR of images without error, is `null`.
        """
        told = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        self._lines.append(json.dumps({"step": step, **told}, allow_nan=False) + "\n")

    def flush(self) -> None:
        """Write what was noted."""
        append_durably(self._file, "".join(self._lines))
        self._lines.clear()

    def go_on_from(self, step: int) -> int:
        """Forget all that came after a step; returns of how many steps before it no line is left.

        What is no line of ours, such as what a crash of the machine left, is taken out.
        """
        if not self._file.exists():
            return step
        kept, seen = [], set()
        content = self._file.read_text(encoding="utf-8", errors="replace")
        for line in content.splitlines(keepends=True):
            of = _step_of(line)
            if of is not None and of <= step:
                kept.append(line)
                seen.add(of)
        write_atomic(self._file, "".join(kept))
        return step - len(seen)


def _step_of(line: str) -> int | None:
    """The step that a line is of; None if it is not whole."""
    try:
        step = json.loads(line)["step"] if line.endswith("\n") else None
    except (ValueError, LookupError, TypeError):
        return None
    return step if isinstance(step, int) else None
