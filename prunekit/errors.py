"""Every error that prunekit raises on purpose."""

from __future__ import annotations

__all__ = [
    "CacheError",
    "DataError",
    "ExportError",
    "FileFormatError",
    "MeasureError",
    "PlanError",
    "PrunekitError",
    "RecipeError",
    "SurgeryError",
    "TraceError",
    "TrainError",
    "VerificationError",
    "brief",
    "did_you_mean",
]

import difflib
from collections.abc import Iterable


class PrunekitError(Exception):
    """What went wrong, where, why and what to do next, in one sentence.

    The command line prints the sentence alone and ends with status 2.
    """


class RecipeError(PrunekitError):
    """A recipe cannot be read or asks for something that does not exist."""


class DataError(PrunekitError):
    """Images are missing, unreadable or do not fit each other."""


class TraceError(PrunekitError):
    """A network cannot be traced with the given inputs."""


class CacheError(PrunekitError):
    """Decoded images cannot be kept on disk."""


class PlanError(PrunekitError):
    """A target cannot be reached, or a plan does not fit a network."""


class SurgeryError(PrunekitError):
    """A network cannot be rebuilt as planned."""


class VerificationError(PrunekitError):
    """The slim network is not the dense one minus the removed channels."""


class ExportError(PrunekitError):
    """A network cannot be written in another format."""


class MeasureError(PrunekitError):
    """A network gives no usable image, or its cost cannot be counted."""


class TrainError(PrunekitError):
    """A network cannot be trained as asked."""


class FileFormatError(PrunekitError):
    """A file is corrupt, truncated, foreign or from a newer version."""


def brief(error: BaseException) -> str:
    """Type and first line of an error that is not ours: `ValueError: too small`."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest known word, else a list of what there is."""
    choices = sorted(known)
    close = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; there is {', '.join(repr(c) for c in choices)}" if choices else ""
