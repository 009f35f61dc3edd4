"""Figures of images and clips by a protocol, and their means."""

from __future__ import annotations

__all__ = ["ClipScore", "ImageScore", "Scores"]

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from prunekit.measure.feed import Feed
from prunekit.measure.protocol import Protocol


@dataclass(frozen=True)
class ImageScore:
    """The figures of one image."""

    name: str  # `clip/frame` of a clip
    psnr: float  # dB; infinite for an image without error
    ssim: float
    seconds: float  # the network's pass, with the way to the device and back; of a clip, its share


@dataclass(frozen=True)
class ClipScore:
    """The means over the frames of one clip."""

    name: str
    frames: int
    psnr: float
    ssim: float
    seconds: float  # of a frame


@dataclass(frozen=True)
class Scores:
    """The figures of a set of images, and how they were compared."""

    protocol: Protocol  # with border and crop in pixels
    scale: int
    images: tuple[ImageScore, ...]  # or frames; in the order of the pairs
    feed: Feed | None = None  # of clips; None: every image or frame by itself
    clips: tuple[ClipScore, ...] = field(init=False)  # that the frames belong to; else empty
    psnr: float = field(init=False)  # dB; mean over the clips, or the images where there are none
    ssim: float = field(init=False)  # likewise
    seconds: float = field(init=False)

    def __post_init__(self) -> None:
        frames: dict[str, list[ImageScore]] = {}
        for image in self.images:
            frames.setdefault(image.name.rpartition("/")[0], []).append(image)
        in_clips = any(frames.keys())
        clips = tuple(_clip(*clip) for clip in frames.items()) if in_clips else ()
        object.__setattr__(self, "clips", clips)
        for figure, mean in _means(clips or self.images).items():
            object.__setattr__(self, figure, mean)

    @property
    def over(self) -> str:
        """What the means are over, in words."""
        if not self.clips:
            return "1 image" if len(self.images) == 1 else f"{len(self.images)} images"
        clips = "1 clip" if len(self.clips) == 1 else f"{len(self.clips)} clips"
        fed = "each frame by itself" if self.feed is None else str(self.feed)
        return f"the {len(self.images)} frames of {clips}, clip by clip ({fed})"


def _clip(name: str, frames: Sequence[ImageScore]) -> ClipScore:
    return ClipScore(name, len(frames), **_means(frames))


def _means(scores: Sequence[ImageScore] | Sequence[ClipScore]) -> dict[str, float]:
    figures = ("psnr", "ssim", "seconds")
    return {figure: fmean(getattr(score, figure) for score in scores) for figure in figures}
