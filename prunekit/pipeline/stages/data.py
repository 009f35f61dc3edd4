"""What a run reads: images to train and evaluate on, calibration data, what is shown."""

from __future__ import annotations

__all__ = ["EitherPairs", "calibrate", "load_held_out", "load_training", "open_cache", "pictures"]

from collections.abc import Callable, Iterator, Sequence

from prunekit.data.cache import GIB, Cache
from prunekit.data.image import size_of
from prunekit.data.pairs import (
    ClipPair,
    Clips,
    Folder,
    ImagePair,
    ImageSource,
    Pairs,
    Photographs,
    load_clips,
    load_pairs,
)
from prunekit.data.patches import Patches, Window, without_small
from prunekit.errors import DataError
from prunekit.measure.evaluate import frame_name
from prunekit.measure.quality import least_side
from prunekit.progress import Progress
from prunekit.recipe import (
    CacheSection,
    CalibrationSection,
    DepthSection,
    HeldOutSection,
    ImagesSection,
    PruneSection,
    TrainImagesSection,
)
from prunekit.score import Calibration

EitherPairs = Pairs[ImagePair] | Pairs[ClipPair]


def load_training(
    section: TrainImagesSection,
    scale: int,
    cache: CacheSection,
    *,
    patch_size: int,
    progress: Progress,
) -> EitherPairs:
    """Read what to train on: whole clips if the section asks for several frames, else images.

    Those of 16 bits are kept. What is too small for patches of so many pixels is left out with
    what is unreadable, if the section says so.
    """
    window = Window(section.frames, section.target) if section.frames else None
    pairs = _load(
        section,
        scale,
        cache,
        whole=window is not None,
        modcrop=section.modcrop,
        purpose="training",
        progress=progress,
    )
    if not section.skip_unreadable:
        return pairs
    left: Callable[..., EitherPairs] = without_small
    return left(pairs, patch_size, window, progress=progress)


def load_held_out(
    section: HeldOutSection,
    scale: int,
    cache: CacheSection,
    *,
    modcrop: int | None,
    border: int,
    progress: Progress,
) -> EitherPairs:
    """Read what to evaluate on: whole clips if the network is fed with them, else images.

    Those of 16 bits are rounded to 8; `modcrop` and `border` are those of the protocol. What is too
    small to be compared is left out with what is unreadable, if the section says so.

    Raises `DataError` if it does not, or nothing is left.
    """
    pairs = _load(
        section,
        scale,
        cache,
        whole=section.feed is not None,
        modcrop=modcrop,
        purpose="held-out",
        progress=progress,
    )
    least = least_side(border)
    small = dict(_smaller(pairs, least))
    why = f"SSIM needs {least} pixels a side, border included"
    if small and (not section.skip_unreadable or len(small) == len(pairs)):
        message = (
            f"{len(small)} of {len(pairs)} held-out images cannot be compared, since {why} "
            f"({next(iter(small.values()))}); leave them out, or set skip_unreadable"
        )
        raise DataError(message)
    return pairs.without(small, why=why, progress=progress)


def _smaller(pairs: EitherPairs, least: int) -> Iterator[tuple[int, str]]:
    """Places of pairs whose HR has a side of fewer pixels, and how large each is."""
    for place in range(len(pairs)):
        pair = pairs[place]
        frame = pair.hr if isinstance(pair, ImagePair) else pair.hr[0]
        if min(frame.shape[:2]) < least:
            yield place, f"'{pair.name}' is {size_of(frame)} pixels"


def _load(
    section: ImagesSection,
    scale: int,
    cache: CacheSection,
    *,
    whole: bool,
    modcrop: int | None,
    purpose: str,
    progress: Progress,
) -> EitherPairs:
    source = _source(section)
    load: Callable[..., EitherPairs] = load_pairs
    if whole:
        assert isinstance(source, Clips)  # frames are of clips
        load = load_clips
    return load(
        source,
        scale,
        purpose=purpose,
        modcrop=modcrop,
        alpha=section.alpha,
        deep=isinstance(section, TrainImagesSection),
        skip_unreadable=section.skip_unreadable,
        cache=open_cache(cache) if section.cached else None,
        progress=progress,
    )


def pictures(pairs: EitherPairs) -> Sequence[ImagePair]:
    """Return images to show: all of them, or the frame in the middle of every clip."""
    shown: list[ImagePair] = []
    for pair in pairs:
        if isinstance(pair, ImagePair):
            shown.append(pair)
        else:
            middle = len(pair.lr) // 2
            name = frame_name(pair.name, middle)
            shown.append(ImagePair(name, pair.lr[middle].copy(), pair.hr[middle].copy()))
    return shown


def _source(section: ImagesSection) -> ImageSource:
    if section.folder is not None:
        return Folder(section.folder, section.names, section.lr_folder)
    if section.clips is not None:
        return Clips(section.clips, section.names, section.lr_folder)
    return Photographs(section.names)


def open_cache(section: CacheSection) -> Cache:
    """Say where decoded images and outputs of a teacher are kept."""
    limit = int(section.limit_gib * GIB)
    return Cache(limit=limit) if section.folder is None else Cache(section.folder, limit)


def calibrate(
    section: PruneSection | DepthSection,
    pairs: EitherPairs,
    *,
    window: Window | None,
    seed: int,
) -> Calibration:
    """Cut the patches that a criterion looks at."""
    asked = section.calibration or CalibrationSection()
    patches = Patches(pairs, patch_size=asked.patch_size, seed=seed, window=window)
    return Calibration.cut(patches, batches=asked.batches, batch_size=asked.batch_size)
