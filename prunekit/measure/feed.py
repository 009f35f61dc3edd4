"""How clips are given to networks of video: whole, in parts, or in windows around every frame."""

from __future__ import annotations

__all__ = ["PADDINGS", "Feed", "Padding", "TargetFrames", "choose_feed", "window"]

from dataclasses import dataclass
from typing import Literal, TypeVar

from prunekit.errors import DataError, MeasureError, did_you_mean

T = TypeVar("T", bound=str)

TargetFrames = Literal["all", "centre"]
Padding = Literal["replicate", "reflection", "reflection_circle", "circle"]

TARGETS: tuple[TargetFrames, ...] = ("all", "centre")
PADDINGS: tuple[Padding, ...] = ("replicate", "reflection", "reflection_circle", "circle")
"""Which frames stand for those beyond the ends of a clip, by the names of BasicSR. A window of 5
around the first of the frames 0, 1, 2 ... is, in this order, 0 0 0 1 2, 2 1 0 1 2, 4 3 0 1 2 and
3 4 0 1 2."""


@dataclass(frozen=True)
class Feed:
    """What of a clip a network of video is given at once, and what it gives back."""

    frames: int | None = None
    """None: the whole clip, as REDS4 and Vid4 are evaluated. A number with target `all`: parts of
    at most so many frames that know nothing of each other, which bounds memory and changes the
    figures of a network that looks further; with target `centre` the frames of a window."""
    target: TargetFrames = "all"
    """The network gives back every frame that it is given, or the one in the middle."""
    padding: Padding = "reflection_circle"
    """Of windows at the ends of a clip; BasicSR tests EDVR with this one."""

    def __str__(self) -> str:
        if self.target == "centre":
            return f"windows of {self.frames} frames, padding {self.padding} at the ends of a clip"
        if self.frames is None:
            return "whole clips at once"
        return f"parts of at most {self.frames} frames, each by itself"


def choose_feed(
    frames: int | str | None = None, *, target: str | None = None, padding: str | None = None
) -> Feed | None:
    """Take what is said of clips together; None where every frame is an image by itself.

    `frames` is `whole` or a number. Raises `MeasureError` for what does not fit together.
    """
    wanted = _one_of("target", target or "all", TARGETS)
    beyond = _one_of("padding", padding or Feed.padding, PADDINGS)
    if frames is None and (target or padding):
        what = f"target '{target}'" if target else f"padding '{padding}'"
        message = f"{what} is of networks that are given several 'frames'; name their number"
        raise MeasureError(message)
    if frames is None:
        return None
    number = None if frames == "whole" else frames
    if isinstance(number, str) or (number is not None and number < 1):
        message = f"frames '{frames}' is no number of frames; name 1 or more, or 'whole'"
        raise MeasureError(message)
    if wanted == "centre" and (number is None or number % 2 == 0):
        message = f"target 'centre' needs an odd number of frames, which {frames} is not"
        raise MeasureError(message)
    if padding and wanted == "all":
        message = f"padding '{padding}' is of windows, which target 'centre' has; leave it out"
        raise MeasureError(message)
    return Feed(number, wanted, beyond)


def _one_of(what: str, value: str, known: tuple[T, ...]) -> T:
    for each in known:
        if each == value:
            return each
    message = f"there is no {what} '{value}'{did_you_mean(value, known)}"
    raise MeasureError(message)


def window(index: int, length: int, feed: Feed) -> list[int]:
    """Return the frames of a clip of some length that are given to the network for one of them.

    Raises `DataError` for a clip with too few frames to pad it so.
    """
    assert feed.frames is not None  # a window has a number of them
    half = feed.frames // 2
    found = [
        _padded(at, index, length, feed.frames, feed.padding)
        for at in range(index - half, index + half + 1)
    ]
    if min(found) < 0 or max(found) >= length:
        message = (
            f"its {length} frames are too few for windows of {feed.frames} with padding "
            f"{feed.padding}; take padding replicate, or leave it out"
        )
        raise DataError(message)
    return found


def _padded(at: int, index: int, length: int, frames: int, padding: Padding) -> int:
    """Return the frame at a place, or the one that stands for it beyond the ends."""
    last = length - 1
    if 0 <= at <= last:
        return at
    before = at < 0
    match padding:
        case "replicate":
            return 0 if before else last
        case "reflection":
            return -at if before else 2 * last - at
        case "reflection_circle":  # the frames next to the window, on its other side
            half = frames // 2
            return index + half - at if before else index - half - (at - last)
        case "circle":
            return frames + at if before else at - frames
