"""Showing progress on stderr: a live bar on a terminal, plain lines in a log."""

from __future__ import annotations

__all__ = ["PlainProgress", "QuietProgress", "RichProgress", "open_progress"]

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichBars
from rich.text import Text

from prunekit.cli.exits import one_line
from prunekit.progress import Progress, Silent

_SECONDS_BETWEEN_LINES = 10.0
_NARROW = 70  # columns of a terminal on which only the essentials fit


@contextmanager
def open_progress(*, quiet: bool) -> Iterator[Progress]:
    """Choose how to show progress, and leave the terminal as it was, whatever happens."""
    console = Console(stderr=True)
    if quiet:
        yield QuietProgress(console)
    elif not console.is_terminal:
        yield PlainProgress(console)
    else:
        bars = RichProgress(console)
        try:
            yield bars
        finally:
            bars.close()


class QuietProgress(Silent):
    """Shows warnings only."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def warn(self, message: str) -> None:
        """Print a warning on one line."""
        _print(self._console, f"warning: {message}", style="yellow")


class PlainProgress(QuietProgress):
    """One line when a stage starts, one when it ends, and one every ten seconds in between."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._stage = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._printed = clock()

    def start(self, stage: str, total: int | None = None) -> None:
        """Print the stage's name."""
        self._stage, self._total, self._done = stage, total, 0
        self._started = self._printed = self._clock()
        steps = f", {total} steps" if total is not None else ""
        _print(self._console, f"{stage}{steps}")

    def advance(self, **figures: float) -> None:
        """Print where the stage stands, if the last line is old enough."""
        self._done += 1
        now = self._clock()
        if now - self._printed < _SECONDS_BETWEEN_LINES:
            return
        self._printed = now
        of = f"/{self._total}" if self._total is not None else ""
        parts = [f"{self._stage} {self._done}{of}", _figures(figures), self._remaining(now)]
        _print(self._console, ", ".join(part for part in parts if part))

    def finish(self, note: str = "") -> None:
        """Print how long the stage took and its result."""
        took = _duration(self._clock() - self._started)
        _print(self._console, f"{self._stage}: done in {took}{', ' if note else ''}{note}")

    def _remaining(self, now: float) -> str:
        if self._total is None:
            return ""
        seconds = (now - self._started) / self._done * max(self._total - self._done, 0)
        return f"about {_duration(seconds)} left"


class RichProgress(QuietProgress):
    """A live bar with steps, time, an estimate and the last figures; a line for a stage done."""

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console)
        self._clock = clock
        self._bars: RichBars | None = None
        self._task = TaskID(0)
        self._stage = ""
        self._started = clock()

    def start(self, stage: str, total: int | None = None) -> None:
        """Show the bar of a stage."""
        self.close()
        self._stage, self._started = stage, self._clock()
        self._bars = RichBars(
            *_columns(self._console.width),
            console=self._console,
            transient=True,
            get_time=self._clock,
        )
        self._task = self._bars.add_task(one_line(stage), total=total, figures="")
        self._bars.start()

    def advance(self, **figures: float) -> None:
        """Move the bar on by one step."""
        assert self._bars is not None, "advance before start"
        self._bars.advance(self._task)
        if figures:
            self._bars.update(self._task, figures=_figures(figures))

    def finish(self, note: str = "") -> None:
        """Replace the bar by a line that stays."""
        self.close()
        took = _duration(self._clock() - self._started)
        line = Text.assemble(
            ("done ", "green"),
            (one_line(self._stage), "bold"),
            (f"  {took}", "cyan"),
            f"  {one_line(note)}",
        )
        self._console.print(line, soft_wrap=True)

    def close(self) -> None:
        """Take the bar away, if there is one."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None


def _columns(width: int) -> list[ProgressColumn]:
    name = TextColumn("{task.description}", markup=False)
    remaining = TimeRemainingColumn(compact=True)
    if width < _NARROW:
        return [name, BarColumn(bar_width=10), remaining]
    figures = TextColumn("{task.fields[figures]}", markup=False)
    steps = MofNCompleteColumn()
    return [
        SpinnerColumn(),
        name,
        BarColumn(bar_width=None),
        steps,
        TimeElapsedColumn(),
        remaining,
        figures,
    ]


def _print(console: Console, text: str, style: str | None = None) -> None:
    """Print one line as it is, without markup and without breaking it."""
    console.print(Text(one_line(text)), style=style, soft_wrap=True)


def _figures(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"
