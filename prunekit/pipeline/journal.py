"""A run's own record of what was done when, beside what the user is shown."""

from __future__ import annotations

__all__ = ["Journal"]

import time
from datetime import datetime, timezone

from prunekit.progress import Progress


class Journal:
    """A `Progress` that passes everything on, and keeps a log and the seconds of each stage."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._lines: list[str] = []
        self._seconds: list[tuple[str, float]] = []
        self._stage = ""
        self._started = time.perf_counter()

    @property
    def seconds(self) -> tuple[tuple[str, float], ...]:
        """Stages that are finished, in order, with the seconds each took."""
        return tuple(self._seconds)

    @property
    def log(self) -> str:
        """Everything so far, a line each, in UTC."""
        return "".join(f"{line}\n" for line in self._lines)

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage."""
        self._stage, self._started = stage, time.perf_counter()
        self._write(f"{stage}{f', {total} steps' if total else ''}")
        self._progress.start(stage, total)

    def advance(self, **figures: float) -> None:
        """Take a step of the stage."""
        self._progress.advance(**figures)

    def finish(self, note: str = "") -> None:
        """End the stage."""
        seconds = time.perf_counter() - self._started
        self._seconds.append((self._stage, seconds))
        self._write(f"{self._stage} done in {seconds:.1f} s{f': {note}' if note else ''}")
        self._progress.finish(note)

    def warn(self, message: str) -> None:
        """Note something that does not stop the run."""
        self._write(f"warning: {message}")
        self._progress.warn(message)

    def _write(self, line: str) -> None:
        now = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        self._lines.append(f"{now} {line}")
