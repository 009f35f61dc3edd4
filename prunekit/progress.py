"""How long work tells its caller where it stands; printing is left to the command line."""

from __future__ import annotations

__all__ = ["Progress", "Silent"]

from typing import Protocol


class Progress(Protocol):
    """Told what is being done; one stage at a time, in order."""

    def start(self, stage: str, total: int | None = None) -> None:
        """Begin a stage of `total` equal steps (None: not known)."""

    def advance(self, **figures: float) -> None:
        """Tell that one more step of the stage is done, with figures such as `loss`."""

    def finish(self, note: str = "") -> None:
        """End the stage, with its result in a few words."""

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""


class Silent:
    """A `Progress` that says nothing."""

    def start(self, stage: str, total: int | None = None) -> None:
        """Ignore the start of a stage."""

    def advance(self, **figures: float) -> None:
        """Ignore a step."""

    def finish(self, note: str = "") -> None:
        """Ignore the end of a stage."""

    def warn(self, message: str) -> None:
        """Ignore a warning."""
