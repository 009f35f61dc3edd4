"""Sections on the network and the images."""

from __future__ import annotations

__all__ = [
    "CacheSection",
    "DataSection",
    "HeldOutSection",
    "ImagesSection",
    "ModelSection",
    "TrainImagesSection",
]

from typing import Annotated, Literal

from pydantic import Field, JsonValue, model_validator

from prunekit.errors import MeasureError
from prunekit.measure.feed import Feed, Padding, TargetFrames, choose_feed
from prunekit.recipe.sections.values import (
    Count,
    FilePath,
    Positive,
    Scale,
    Section,
    Switch,
    need_one,
    one_of,
)


class ModelSection(Section):
    """The network to prune: a built-in one, or a Python callable that returns one."""

    model_config = one_of("network", "factory")

    network: str | None = Field(
        default=None,
        description="Name of a built-in network. Excludes `factory`.",
        examples=["edsr"],
    )
    factory: str | None = Field(
        default=None,
        pattern=r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$",
        examples=["package.module:Class"],
        description=(
            "A class or function that returns the network, as `package.module:name`. "
            "It is imported, so it runs code. Excludes `network`."
        ),
    )
    arguments: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Keyword arguments of the network. Here null is a value like any other.",
    )
    weights: FilePath | None = Field(
        default=None,
        description=(
            "State dict to load: .safetensors, or .pth and .pt, which are read without "
            "unpickling objects. Without it a built-in network takes the weights it comes "
            "with, if any, and a factory's are used as they are."
        ),
    )
    scale: Scale | None = Field(
        default=None, description="Magnification. Taken from the network where it tells."
    )
    input_shape: Annotated[tuple[Count, ...], Field(min_length=4, max_length=5)] = Field(
        default=(1, 3, 48, 48),
        description=(
            "Batch, channels, height and width of the input to trace with; of a network of clips "
            "batch, frames, channels, height and width."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> ModelSection:
        need_one(self, "network", "factory")
        return self


class ImagesSection(Section):
    """High-resolution images or clips, and the low-resolution ones that belong to them."""

    model_config = one_of("folder", "photographs", "clips")

    folder: FilePath | None = Field(
        default=None,
        description="Folder of images, relative to the recipe. Excludes `photographs`, `clips`.",
    )
    photographs: Literal["scikit-image"] | None = Field(
        default=None,
        description=(
            "Photographs that an installed package brings along; nothing is downloaded. "
            "Excludes `folder`, `clips`."
        ),
    )
    clips: FilePath | None = Field(
        default=None,
        description=(
            "Folder of clips, each a folder of frames, relative to the recipe. "
            "Excludes `folder`, `photographs`."
        ),
    )
    lr_folder: FilePath | None = Field(
        default=None,
        description=(
            "Folder of the low-resolution images or clips, of the same names or, of images, with "
            "`x2` (the scale), `_x2` or `_LR` behind. Made by MATLAB's bicubic downscaling if not "
            "given."
        ),
    )
    names: Annotated[tuple[str, ...], Field(min_length=1)] | None = Field(
        default=None,
        description="Take only the images of these names, without the suffix, or these clips.",
    )
    modcrop: Count | None = Field(
        default=None,
        description=(
            "Cut the high-resolution images to a multiple of so many pixels, such as 12. "
            "The scale if not given."
        ),
    )
    alpha: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What becomes of images with transparent pixels; an opaque alpha is dropped.",
    )
    skip_unreadable: Switch = Field(
        default=False,
        description=(
            "Leave out what is corrupt, too small, without its partner or of another scale, and "
            "say so in log and report, where otherwise the run ends."
        ),
    )
    cache: Switch | None = Field(
        default=None,
        description=(
            "Decode once to `data.cache` and map images from there; or keep them in memory. True "
            "if not given, false for `photographs`."
        ),
    )

    @property
    def cached(self) -> bool:
        """Whether images are kept on disk rather than in memory."""
        return self.photographs is None if self.cache is None else self.cache

    @model_validator(mode="after")
    def _check(self) -> ImagesSection:
        need_one(self, "folder", "photographs", "clips")
        if self.lr_folder is not None and self.photographs is not None:
            message = "has 'lr_folder', which 'photographs' do not have; name their 'folder'"
            raise ValueError(message)
        return self


class TrainImagesSection(ImagesSection):
    """What to fine-tune on; images of 16 bits are kept as they are."""

    frames: Count | None = Field(
        default=None,
        description=(
            "For networks that take clips: how many frames of `clips` that follow one another make "
            "a sample. Without it every frame is an image by itself."
        ),
    )
    target: Literal["all", "centre"] = Field(
        default="all",
        description="With `frames`: which of them the network returns, all or the one between.",
    )

    @model_validator(mode="after")
    def _check_frames(self) -> TrainImagesSection:
        if self.frames is not None and self.clips is None:
            message = "has 'frames', which are of 'clips'; name these"
            raise ValueError(message)
        if self.target == "centre" and (self.frames is None or self.frames % 2 == 0):
            message = "has 'target' centre, which needs an odd number of 'frames'"
            raise ValueError(message)
        return self


class HeldOutSection(ImagesSection):
    """What to evaluate on; images are rounded to 8 bits."""

    frames: Literal["whole"] | Count | None = Field(
        default=None,
        description=(
            "For networks that take clips: `whole` gives them whole `clips`, as REDS4 and Vid4 are "
            "evaluated; a number gives them parts of at most so many frames that know nothing of "
            "each other, or with `target: centre` windows of so many. Without it every frame is an "
            "image by itself."
        ),
    )
    target: TargetFrames | None = Field(
        default=None,
        description=(
            "With `frames`: which of them the network returns, all or the one between. All if not "
            "given."
        ),
    )
    padding: Padding | None = Field(
        default=None,
        description=(
            "With `target: centre`: which frames stand for those beyond the ends of a clip, as in "
            "BasicSR. `reflection_circle` if not given."
        ),
    )

    @property
    def feed(self) -> Feed | None:
        """How clips are given to the network; None for images."""
        return choose_feed(self.frames, target=self.target, padding=self.padding)

    @model_validator(mode="after")
    def _check_frames(self) -> HeldOutSection:
        try:
            feed = self.feed
        except MeasureError as error:
            message = f"cannot be: {error}"
            raise ValueError(message) from error
        if feed is not None and self.clips is None:
            message = "has 'frames', which are of 'clips'; name these"
            raise ValueError(message)
        return self


class CacheSection(Section):
    """Where decoded images are kept, so that each is decoded once, and outputs of a teacher."""

    folder: FilePath | None = Field(
        default=None,
        description=(
            "Folder, relative to the recipe; it may be deleted at any time. If not given "
            "$PRUNEKIT_CACHE, else that of the system for caches of the user."
        ),
    )
    limit_gib: Positive = Field(
        default=64.0, description="GiB that are kept; what was not used for longest goes first."
    )


class DataSection(Section):
    """The images to fine-tune on and to evaluate on."""

    train: TrainImagesSection | None = Field(default=None, description="Images to fine-tune on.")
    evaluate: HeldOutSection | None = Field(
        default=None, description="Held-out images or clips to evaluate on."
    )
    cache: CacheSection = Field(
        default=CacheSection(),
        description="Where decoded images and outputs of a teacher are kept between runs.",
    )
