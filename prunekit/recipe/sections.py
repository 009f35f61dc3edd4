"""What a recipe can say: one frozen model a section, each field documented beside itself."""

from __future__ import annotations

__all__ = [
    "OF_WEIGHTS",
    "CacheSection",
    "CalibrationSection",
    "CriterionName",
    "DataSection",
    "DistillSection",
    "EvaluateSection",
    "GradualSection",
    "HeldOutSection",
    "ImagesSection",
    "LatencySection",
    "ModelSection",
    "OverrideSection",
    "PruneSection",
    "Recipe",
    "ReportSection",
    "Section",
    "SensitivitySection",
    "ShrinkSection",
    "SparsityTarget",
    "Stage",
    "Target",
    "TrainImagesSection",
    "TrainSection",
    "UnstructuredSection",
]

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    Strict,
    StringConstraints,
    model_validator,
)

from prunekit.errors import MeasureError
from prunekit.measure.feed import Feed, Padding, TargetFrames, choose_feed
from prunekit.measure.protocol import Channels, Protocol, ProtocolName, choose_protocol

LARGEST_BLOCK = 64
"""Largest M of a pattern N:M."""


def _whole(value: object) -> object:
    """Let `1e4` be a whole number; YAML 1.2 reads it as a float."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _percentage(value: object) -> object:
    """Read text such as `45%` as 0.45; leave the rest to the number that is expected."""
    if not isinstance(value, str) or not value.endswith("%"):
        return value
    try:
        return float(value[:-1]) / 100
    except ValueError:
        return value


_LETTERS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def _amount(value: object) -> object:
    """Read text such as `1.2M` or `40G` as a number; leave the rest to what is expected."""
    if not isinstance(value, str) or value[-1:] not in _LETTERS:
        return value
    try:
        return float(value[:-1]) * _LETTERS[value[-1]]
    except ValueError:
        return value


def _path(value: object) -> object:
    """Refuse text that no file can be called, before `Path` makes something else of it."""
    if isinstance(value, str) and not (value.strip() and value.isprintable()):
        message = "is not the name of a file or folder"
        raise ValueError(message)
    return value


Whole = Annotated[int, Strict(), Field(ge=0), BeforeValidator(_whole)]
Count = Annotated[int, Strict(), Field(ge=1), BeforeValidator(_whole)]
Scale = Annotated[int, Strict(), Field(ge=1, le=8), BeforeValidator(_whole)]
Multiple = Annotated[int, Strict(), Field(ge=1, le=64), BeforeValidator(_whole)]
PatchSize = Annotated[int, Strict(), Field(ge=8), BeforeValidator(_whole)]
FewCrops = Annotated[int, Strict(), Field(ge=0, le=64), BeforeValidator(_whole)]
CropSize = Annotated[int, Strict(), Field(ge=16, le=1024), BeforeValidator(_whole)]
Seed = Annotated[int, Strict(), Field(ge=0, lt=2**32), BeforeValidator(_whole)]
Positive = Annotated[float, Strict(), AllowInfNan(False), Field(gt=0)]
Weight = Annotated[float, Strict(), AllowInfNan(False), Field(ge=0)]
Share = Annotated[float, Strict(), Field(ge=0, lt=1)]
Factor = Annotated[float, Strict(), Field(gt=0, lt=1)]
Pattern = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]?:[1-9][0-9]?$")]
Switch = Annotated[bool, Strict()]
Ratio = Annotated[
    float,
    Field(
        gt=0,
        lt=1,
        json_schema_extra={
            "type": ["number", "string"],
            "pattern": r"^[0-9.]+%$",
            "examples": ["45%"],
        },
    ),
    Strict(),
    BeforeValidator(_percentage),
]
Amount = Annotated[
    float,
    Field(
        gt=0,
        json_schema_extra={
            "type": ["number", "string"],
            "pattern": r"^[0-9.]+ ?[kKMGT]$",
            "examples": ["1.2M", "40G"],
        },
    ),
    AllowInfNan(False),
    Strict(),
    BeforeValidator(_amount),
]
FilePath = Annotated[Path, BeforeValidator(_path)]
Glob = Annotated[
    str,
    StringConstraints(min_length=1, pattern=r"^\S(.*\S)?$"),  # names of groups have spaces inside
    Field(examples=["body.*"]),
]


def _one_of(*names: str) -> ConfigDict:
    """Say in the JSON schema that exactly one of some keys is given."""
    return ConfigDict(json_schema_extra={"oneOf": [{"required": [name]} for name in names]})


def _need_one(section: BaseModel, *names: str) -> None:
    """Refuse none or several of keys that exclude each other."""
    given = [repr(name) for name in names if getattr(section, name) is not None]
    if not given:
        message = f"needs one of {', '.join(map(repr, names))}"
        raise ValueError(message)
    if len(given) > 1:
        message = (
            f"has {' and '.join(given)}, which exclude each other; "
            "keep one, and set an inherited one to null"
        )
        raise ValueError(message)


class Section(BaseModel):
    """A part of a recipe: it never changes, and refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelSection(Section):
    """The network to prune: a built-in one, or a Python callable that returns one."""

    model_config = _one_of("network", "factory")

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
        _need_one(self, "network", "factory")
        return self


class ImagesSection(Section):
    """High-resolution images or clips, and the low-resolution ones that belong to them."""

    model_config = _one_of("folder", "photographs", "clips")

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
        _need_one(self, "folder", "photographs", "clips")
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


_TARGETS = {
    "channels": ("channel_ratio",),
    "params": ("params_ratio", "params"),
    "macs": ("macs_ratio", "macs"),
    "memory": ("memory_ratio",),
    "latency": ("latency_ratio", "latency_ms"),
}
"""What can be asked for, by what it is about."""


class Target(Section):
    """What the slim network must meet, all of it; a ratio is the share that is removed.

    `channel_ratio` stands alone, as it lays widths down where the others are limits.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [{"required": [name]} for names in _TARGETS.values() for name in names]
        }
    )

    channel_ratio: Ratio | None = Field(
        default=None, description="Share of the units of every group to remove; 0.25 or 25%."
    )
    macs_ratio: Ratio | None = Field(
        default=None, description="Share of the multiply-accumulates to remove; 0.45 or 45%."
    )
    params_ratio: Ratio | None = Field(
        default=None, description="Share of the parameters to remove; 0.45 or 45%."
    )
    memory_ratio: Ratio | None = Field(
        default=None, description="Share of the peak of activation memory to remove; 0.3 or 30%."
    )
    latency_ratio: Ratio | None = Field(
        default=None,
        description="Share of the time of a forward pass on this device to remove; 0.4 or 40%.",
    )
    params: Amount | None = Field(default=None, description="Parameters that may be left; 1.2M.")
    macs: Amount | None = Field(
        default=None,
        description="Multiply-accumulates that may be left at `output_size`; 40G. Not flops.",
    )
    latency_ms: Positive | None = Field(
        default=None, description="Milliseconds that a forward pass may take on this device."
    )
    output_size: tuple[Count, Count] | None = Field(
        default=None,
        description=(
            "Width and height of the output image at which macs, memory and latency count, such "
            "as [1280, 720] in papers. Those of `model.input_shape` if not given."
        ),
    )

    @property
    def asked(self) -> dict[str, float]:
        """What is asked for, by name."""
        names = (name for names in _TARGETS.values() for name in names)
        return {n: getattr(self, n) for n in names if getattr(self, n) is not None}

    @model_validator(mode="after")
    def _check(self) -> Target:
        if not self.asked:
            known = ", ".join(repr(name) for names in _TARGETS.values() for name in names)
            message = f"needs at least one of {known}"
            raise ValueError(message)
        rivals = [("channel_ratio", other) for other in self.asked if other != "channel_ratio"]
        for pair in (*rivals, *(pair for pair in _TARGETS.values() if len(pair) > 1)):
            if self.asked.keys() >= set(pair):
                _need_one(self, *pair)
        sized = {name for key in ("macs", "memory", "latency") for name in _TARGETS[key]}
        if self.output_size is not None and sized.isdisjoint(self.asked):
            message = "has 'output_size', on which none of its targets depends; leave it out"
            raise ValueError(message)
        return self


class OverrideSection(Section):
    """What holds for some groups instead of what holds for all."""

    match: Glob = Field(
        description=(
            "Pattern of names of groups (`prunekit inspect` lists them), of layers that make their "
            "channels, or of tensors."
        )
    )
    ratio: Ratio | None = Field(
        default=None, description="Share of the units of each that leaves, whatever the target."
    )
    protect: Literal[True] | None = Field(default=None, description="They stay as they are.")
    min_width: Count | None = Field(default=None, description="They get no narrower than this.")
    round_to: Multiple | None = Field(
        default=None, description="Their widths become multiples of this number."
    )

    @model_validator(mode="after")
    def _check(self) -> OverrideSection:
        others = [n for n in ("ratio", "min_width", "round_to") if getattr(self, n) is not None]
        if self.protect and others:
            message = f"has 'protect' and '{others[0]}', which exclude each other; keep one"
            raise ValueError(message)
        if not self.protect and not others:
            message = "says nothing; give it 'ratio', 'protect', 'min_width' or 'round_to'"
            raise ValueError(message)
        return self


CriterionName = Literal[
    "l1", "l2", "random", "group_norm", "lamp", "fpgm", "bn_scale", "wn_gamma",
    "taylor", "taylor2", "obd", "fisher", "activation", "activation_variance", "apoz",
    "reconstruction", "reconstruction_varying", "output", "custom",
]  # fmt: skip

OF_WEIGHTS: frozenset[CriterionName] = frozenset(
    {"l1", "l2", "random", "group_norm", "lamp", "fpgm", "bn_scale", "wn_gamma"}
)
"""Criteria that look at weights alone; all others look at images."""

_OF_UNITS: frozenset[CriterionName] = frozenset({"random", "fisher", "output"})
"""Criteria that score a unit as a whole."""

Allocation = Literal["local", "global", "uniform", "isomorphic", "sensitivity", "knapsack"]


class CalibrationSection(Section):
    """Random patches of `data.train` that a criterion looks at."""

    batches: Count = Field(default=16, description="How many; each gives a gradient of its own.")
    batch_size: Count = Field(default=4, description="Patches in a batch.")
    patch_size: PatchSize = Field(
        default=48, description="Side of a patch in pixels of the low-resolution image."
    )


class SensitivitySection(Section):
    """What `allocation: sensitivity` measures the removal of units on."""

    data: Literal["train", "evaluate"] = Field(
        default="train",
        description=(
            "Images of `data.train` or `data.evaluate`. By the latter the plan has seen what it is "
            "judged on."
        ),
    )
    images: Count = Field(default=16, description="Images at most, spread evenly over all.")
    crop: CropSize = Field(
        default=96,
        description="Side of the square in the middle of each, in pixels of the LR image.",
    )
    points: Count = Field(
        default=8,
        description="Widths of each group that are measured at most; others are interpolated.",
    )


class PruneSection(Section):
    """Remove channels."""

    method: Literal["filter"] = Field(
        description="How to prune: `filter` removes whole coupled groups of channels."
    )
    target: Target = Field(description="How much to remove; of several, all hold.")
    criterion: CriterionName = Field(
        default="l2",
        description=(
            "What importance is: of weights `l1`, `l2`, `group_norm`, `lamp`, `fpgm`, `bn_scale`, "
            "`wn_gamma`, of chance `random`; on patches of `data.train` `taylor`, `taylor2`, `obd` "
            "and `fisher` of the loss, `activation`, `activation_variance` and `apoz` of what "
            "layers read, `reconstruction` and `reconstruction_varying` of what they lose, "
            "`output` of what the network loses; `custom` is given in Python."
        ),
    )
    reduction: Literal["sum", "mean", "max", "first"] | None = Field(
        default=None,
        description="How scores of coupled slices become one. The criterion's own if not given.",
    )
    normalisation: Literal["none", "mean", "sum", "max", "gaussian", "size"] | None = Field(
        default=None,
        description=(
            "How scores of different groups are made comparable: divided by the group's mean, sum "
            "or largest, standardised, or divided by the parameters of a unit. The mean if not "
            "given, but for `lamp` and `custom` none."
        ),
    )
    calibration: CalibrationSection | None = Field(
        default=None,
        description="What a criterion that looks at images looks at; takes the defaults.",
    )
    allocation: Allocation = Field(
        default="local",
        description=(
            "`local` removes the same share of every group, as nearly as each allows; `global` "
            "compares units of all groups with each other; `isomorphic` those of groups that are "
            "wired alike, and removes the same share of each such class; `uniform` keeps all "
            "widths in proportion, for programs that tell one width of a network by its weights; "
            "`sensitivity` takes the widths with the least loss by what it measures for each "
            "group; `knapsack` those that keep the most importance within the target."
        ),
    )
    sensitivity: SensitivitySection | None = Field(
        default=None, description="How `allocation: sensitivity` measures; it alone reads this."
    )
    round_to: Multiple = Field(
        default=8,
        description=(
            "Widths that change become multiples of this number, as kernels see them; hardware "
            "likes 8 or 16. A group no wider than it stays whole."
        ),
    )
    min_width: Count = Field(default=8, description="No group gets narrower than this.")
    protect: tuple[Glob, ...] = Field(
        default=(), description="Patterns of group names or module paths that stay as they are."
    )
    overrides: tuple[OverrideSection, ...] = Field(
        default=(), description="Other ratios, widths or rounding for single groups or layers."
    )

    @property
    def looks_at_images(self) -> bool:
        """Whether the criterion needs patches of `data.train`."""
        return self.criterion not in OF_WEIGHTS and self.criterion != "custom"

    @property
    def measuring(self) -> SensitivitySection | None:
        """How sensitivity is measured, if the allocation goes by it."""
        if self.allocation != "sensitivity":
            return None
        return self.sensitivity or SensitivitySection()

    @model_validator(mode="after")
    def _check(self) -> PruneSection:
        if self.calibration is not None and self.criterion in OF_WEIGHTS:
            message = (
                f"has 'calibration', but the criterion '{self.criterion}' looks at no images; "
                "leave it out, or take another criterion, such as 'taylor'"
            )
            raise ValueError(message)
        if self.reduction is not None and self.criterion in _OF_UNITS:
            message = (
                f"has 'reduction', but the criterion '{self.criterion}' gives one score a unit; "
                "leave it out"
            )
            raise ValueError(message)
        if self.sensitivity is not None and self.allocation != "sensitivity":
            message = (
                f"has 'sensitivity', which 'allocation: {self.allocation}' does not read; take it "
                "out, or set 'allocation: sensitivity'"
            )
            raise ValueError(message)
        return self


class SparsityTarget(Section):
    """How many weights become zero."""

    model_config = _one_of("sparsity", "weight_ratio", "pattern")

    sparsity: Ratio | None = Field(
        default=None,
        description=(
            "Share of zeros among the weights of the layers in scope: of each of them, or of all "
            "together with `allocation: global`; 0.5 or 50%."
        ),
    )
    weight_ratio: Ratio | None = Field(
        default=None,
        description=(
            "Share of zeros among the weights of all convolutions and linear layers; those in "
            "scope give what the others keep. 0.5 or 50%."
        ),
    )
    pattern: Pattern | None = Field(
        default=None,
        examples=["2:4"],
        description=(
            "N:M: of every M weights that follow one another along the input dimension at most N "
            "are not zero. Layers whose input dimension is no multiple of M stay dense."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> SparsityTarget:
        _need_one(self, "sparsity", "weight_ratio", "pattern")
        if self.pattern is not None:
            stays, block = map(int, self.pattern.split(":"))
            if not stays < block <= LARGEST_BLOCK:
                message = (
                    f"has 'pattern' {self.pattern}; of N:M, N is below M and M at most "
                    f"{LARGEST_BLOCK}"
                )
                raise ValueError(message)
        return self


class GradualSection(Section):
    """Let sparsity grow by a cubic curve while the next stage trains (Zhu and Gupta, 2017)."""

    begin: Whole = Field(default=0, description="Training step at which it begins to grow.")
    until: Count = Field(description="Training step from which the masks are final.")
    every: Count = Field(default=10, description="Steps between two choices of masks.")

    @model_validator(mode="after")
    def _check(self) -> GradualSection:
        if self.begin >= self.until:
            message = f"has 'begin' {self.begin}, which must be less than 'until' {self.until}"
            raise ValueError(message)
        return self


class ShrinkSection(Section):
    """Shrink the smallest weights a little after every training step (ISS-P, ICCV 2023)."""

    factor: Factor = Field(
        default=0.97, description="What the smallest weights are multiplied by after each step."
    )
    until: Count = Field(description="Training step at which they become zero and stay so.")


class UnstructuredSection(Section):
    """Set single weights to zero; the network keeps its shape."""

    method: Literal["unstructured"] = Field(
        description="How to prune: `unstructured` sets the smallest weights to zero."
    )
    target: SparsityTarget = Field(description="How many weights become zero, in one of 3 ways.")
    allocation: Literal["local", "global"] = Field(
        default="local",
        description=(
            "`local` takes the same share of every layer; `global` compares the weights of all "
            "layers with each other."
        ),
    )
    layers: Annotated[tuple[Glob, ...], Field(min_length=1)] = Field(
        default=("*",),
        description=(
            "Patterns of names of layers or weights in scope, among convolutions and linear layers."
        ),
    )
    protect: tuple[Glob, ...] = Field(
        default=(), description="Patterns of names of layers or weights that stay dense."
    )
    gradual: GradualSection | None = Field(
        default=None,
        description="Reach the target while the next stage trains. At once if not given.",
    )
    shrink: ShrinkSection | None = Field(
        default=None,
        description="Reach the target while the next stage trains, softly. Excludes `gradual`.",
    )
    store: Literal["sparse", "dense"] = Field(
        default="sparse",
        description=(
            "How `slim.safetensors` holds the weights: `sparse` leaves the zeros out, and "
            "`prunekit.load` opens it; `dense` is for programs that read plain safetensors."
        ),
    )

    @property
    def steps(self) -> int:
        """Steps of the training that follows until the masks are final; 0 if they are at once."""
        course = self.gradual or self.shrink
        return 0 if course is None else course.until

    @model_validator(mode="after")
    def _check(self) -> UnstructuredSection:
        if self.gradual is not None and self.shrink is not None:
            message = "has 'gradual' and 'shrink', which exclude each other; keep one"
            raise ValueError(message)
        if self.target.pattern is not None and self.allocation == "global":
            message = "has a 'pattern' with 'allocation' global, but it is met in every layer alike"
            raise ValueError(message)
        return self


Pruning = Annotated[PruneSection | UnstructuredSection, Field(discriminator="method")]
"""What a stage that prunes says; its method tells which."""


class DistillSection(Section):
    """Let the slim network imitate the dense network it was made of. Each term has a weight."""

    weight: Weight = Field(
        default=1.0, description="Weight of the L1 distance between both outputs beside the loss."
    )
    laplacian: Weight = Field(
        default=0.0,
        description=(
            "Weight of the distance between Laplacian pyramids of both outputs, and of their high "
            "frequencies (CDISM). Patches of HR then need sides that are multiples of 16."
        ),
    )
    features: Weight = Field(
        default=0.0,
        description="Weight of the distance between feature affinities inside both (FAKD).",
    )
    matches: Count = Field(
        default=4, description="Places inside the networks that `features` compares at."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="What the dense network computes in."
    )
    cache_teacher: Switch = Field(
        default=False,
        description=(
            "Run the dense network once over every whole training image, before the first step, "
            "keep its outputs in `data.cache` as 16-bit floats (rounded by 0.07 of 255 at most, "
            "beyond white by 0.13), and cut patches from them; no step runs it. It sees past the "
            "borders of a patch then, and images upright: its outputs are turned and mirrored, not "
            "its inputs. Not for `features`, nor for `frames` of clips; its time is not part of "
            "`minutes`."
        ),
    )

    @model_validator(mode="after")
    def _check(self) -> DistillSection:
        if not (self.weight or self.laplacian or self.features):
            message = "has no term; give 'weight', 'laplacian' or 'features' a number above 0"
            raise ValueError(message)
        if self.cache_teacher and self.features:
            message = (
                "has 'features' beside 'cache_teacher', which keeps what the dense network returns "
                "and not what is inside it; leave one of both out"
            )
            raise ValueError(message)
        return self


LossName = Literal["l1", "charbonnier", "mse", "fft"]


class TrainSection(Section):
    """Fine-tune on random patches."""

    steps: Count = Field(description="Optimiser steps.")
    batch_size: Count = Field(default=16, description="Patches in a step.")
    patch_size: PatchSize = Field(
        default=48, description="Side of a patch in pixels of the low-resolution image."
    )
    learning_rate: Positive = Field(
        default=2e-4, description="Largest learning rate of the schedule."
    )
    optimizer: Literal["adam", "adamw", "adamax", "sgd"] = Field(
        default="adam", description="Which optimizer of torch."
    )
    betas: tuple[Share, Share] = Field(
        default=(0.9, 0.999),
        description="Decays of the Adam family; the first is the momentum of `sgd`.",
    )
    weight_decay: Weight = Field(default=0.0, description="Weight decay of the optimizer.")
    schedule: Literal["cosine", "constant", "multistep"] = Field(
        default="cosine", description="How the learning rate goes on after the warm-up."
    )
    min_learning_rate: Weight = Field(
        default=0.0, description="Learning rate that the cosine ends with."
    )
    milestones: tuple[Count, ...] = Field(
        default=(),
        description="Steps at which `multistep` multiplies the learning rate by `gamma`.",
    )
    gamma: Positive = Field(default=0.5, description="Factor of `multistep`.")
    warmup: Whole = Field(
        default=0,
        description="Steps over which the learning rate rises linearly; fewer than `steps`.",
    )
    loss: LossName | Annotated[dict[LossName, Positive], Field(min_length=1)] = Field(
        default="l1",
        description=(
            "Distance between the output and the high-resolution patch, or the weights of several "
            "as in `{l1: 1, fft: 0.05}`."
        ),
    )
    distill: DistillSection | None = Field(
        default=None, description="Learn from the dense network as well. Off if not given."
    )
    clip_norm: Positive | None = Field(
        default=None, description="Largest norm of the gradient; it is scaled down to it."
    )
    precision: Literal["fp32", "bf16", "fp16"] = Field(
        default="fp32", description="What autocast computes in; weights stay as they are."
    )
    ema: Annotated[float, Strict(), Field(gt=0, lt=1)] | None = Field(
        default=None,
        description="Decay of the moving average of the weights, which is then the result.",
    )
    accumulate: Count = Field(
        default=1, description="Parts that a batch is computed in, to save memory."
    )
    channels_last: bool = Field(default=False, description="Memory layout with channels last.")
    compile: bool = Field(default=False, description="Compile the network with `torch.compile`.")
    minutes: Positive | None = Field(
        default=None,
        description=(
            "Budget of time; the schedule ends with whichever is over first, `steps` or this."
        ),
    )
    validate_every: Count | None = Field(
        default=None,
        description="Steps between two looks at `data.evaluate`. Never if not given.",
    )
    checkpoint_every: Count = Field(
        default=500, description="Steps between two checkpoints of `prunekit run`."
    )
    keep_last: Count = Field(
        default=2, description="Checkpoints that stay, beside that of the best look."
    )
    workers: Whole = Field(
        default=0, description="Processes that cut patches ahead; the patches are the same."
    )
    tensorboard: bool = Field(
        default=False, description="Write event files for TensorBoard into the run's folder."
    )

    @model_validator(mode="after")
    def _check(self) -> TrainSection:
        if self.warmup >= self.steps:
            message = f"has 'warmup' {self.warmup}, which must be less than 'steps' {self.steps}"
            raise ValueError(message)
        if bool(self.milestones) != (self.schedule == "multistep"):
            message = "needs 'milestones' with 'schedule: multistep', and takes none with others"
            raise ValueError(message)
        ascending = list(self.milestones) == sorted(set(self.milestones))
        if not ascending or any(place >= self.steps for place in self.milestones):
            message = f"has 'milestones' that do not ascend, or are not before step {self.steps}"
            raise ValueError(message)
        if self.batch_size % self.accumulate:
            message = (
                f"has 'batch_size' {self.batch_size}, which must be a multiple of 'accumulate' "
                f"{self.accumulate}"
            )
            raise ValueError(message)
        if self.min_learning_rate > self.learning_rate:
            message = "has a 'min_learning_rate' above 'learning_rate'"
            raise ValueError(message)
        return self


class Stage(Section):
    """One step of a run: either prune or train."""

    model_config = _one_of("prune", "train")

    prune: Pruning | None = Field(
        default=None, description="Remove channels, or set weights to zero."
    )
    train: TrainSection | None = Field(default=None, description="Fine-tune on `data.train`.")

    @property
    def filters(self) -> PruneSection | None:
        """What it says if it removes channels."""
        return self.prune if isinstance(self.prune, PruneSection) else None

    @model_validator(mode="after")
    def _check(self) -> Stage:
        _need_one(self, "prune", "train")
        return self


class LatencySection(Section):
    """Measure how long the networks take."""

    repeats: Count = Field(
        default=7, description="Timed passes of each network; the median is reported."
    )
    warmup: Whole = Field(default=2, description="Passes before those.")
    output_size: tuple[Count, Count] = Field(
        default=(1280, 720), description="Width and height of the output image."
    )


class EvaluateSection(Section):
    """Measure quality on the held-out images; `train.validate_every` compares them likewise."""

    protocol: ProtocolName | None = Field(
        default=None,
        description=(
            "How images are compared, by name: `y` (Y of BT.601, the scale as border), `rgb`, "
            "`gtmod12` (BasicSR: Y, HR cut to a multiple of 12), `ntire` (RGB, border 4), `reds4` "
            "(RGB, no border) or `vid4` (Y, no border). `y` if not given."
        ),
    )
    channels: Channels | None = Field(
        default=None, description="Compare Y or RGB, whatever the protocol says."
    )
    border: Whole | None = Field(
        default=None,
        description="Pixels left out along each edge. What the protocol says if not given.",
    )
    modcrop: Count | None = Field(
        default=None,
        description=(
            "Cut the high-resolution images to a multiple of so many pixels. What the protocol "
            "says if not given, else `data.evaluate.modcrop`, else the scale."
        ),
    )
    latency: LatencySection | None = Field(
        default=None,
        description="Measure latency as well; `{}` takes the defaults. Off if not given.",
    )

    @property
    def compared(self) -> Protocol:
        """How images are compared, as far as this section says."""
        return choose_protocol(
            self.protocol, channels=self.channels, border=self.border, modcrop=self.modcrop
        )

    @model_validator(mode="after")
    def _check(self) -> EvaluateSection:
        try:
            _ = self.compared
        except MeasureError as error:
            message = f"cannot be: {error}"
            raise ValueError(message) from error
        return self


class ReportSection(Section):
    """What the report holds."""

    formats: tuple[Literal["html", "json", "md"], ...] = Field(
        default=("html", "json", "md"), description="Files to write; JSON is written always."
    )
    crops: FewCrops = Field(default=4, description="Number of crops shown side by side.")
    crop_size: CropSize = Field(
        default=96, description="Side of a crop in pixels of the high-resolution image."
    )


class Recipe(Section):
    """A whole run: which network, which data, how to prune, fine-tune, evaluate and report.

    A key that is null counts as not given, which takes an inherited key away.
    """

    name: str = Field(
        default="run",
        pattern=r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$",
        max_length=100,
        description=(
            "Name of the run and its folder: letters, digits, '-', '_' and '.', not first a '.'."
        ),
    )
    seed: Seed = Field(default=0, description="Seed of everything random.")
    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
        examples=["auto", "cpu", "cuda", "cuda:0"],
        description="Where to compute; `auto` takes a GPU if there is one.",
    )
    output: FilePath = Field(
        default=Path("runs"),
        description=(
            "Folder that holds the folders of runs. The one path that is relative to the "
            "current directory, not to the recipe."
        ),
    )
    model: ModelSection | None = Field(
        default=None, description="The network to prune. Needed on the command line."
    )
    data: DataSection | None = Field(default=None, description="Images to train and evaluate on.")
    prune: Pruning | None = Field(
        default=None, description="Remove channels, or set weights to zero, before `train`."
    )
    train: TrainSection | None = Field(
        default=None, description="Fine-tune on `data.train`, after `prune`."
    )
    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] | None = Field(
        default=None, description="Several stages in order, instead of `prune` and `train`."
    )
    evaluate: EvaluateSection | None = Field(
        default=None, description="Measure quality; `{}` takes the defaults. Off if not given."
    )
    report: ReportSection = Field(
        default=ReportSection(), description="Which files the report is written to, and its crops."
    )

    @property
    def steps(self) -> tuple[Stage, ...]:
        """The stages in order, also if they were given as `prune` and `train`."""
        if self.stages is not None:
            return self.stages
        sections = (("prune", self.prune), ("train", self.train))
        return tuple(Stage.model_validate({k: s}) for k, s in sections if s is not None)

    @property
    def protocol(self) -> Protocol:
        """How held-out images are compared, with the crop of `data.evaluate` where it has one."""
        stated = choose_protocol() if self.evaluate is None else self.evaluate.compared
        images = self.data.evaluate if self.data else None
        if stated.modcrop is not None or images is None:
            return stated
        return replace(stated, modcrop=images.modcrop)

    @model_validator(mode="after")
    def _check(self) -> Recipe:
        if self.stages is not None and (self.prune is not None or self.train is not None):
            message = (
                "has 'stages' beside 'prune' or 'train', which exclude each other; "
                "keep one, and set an inherited one to null"
            )
            raise ValueError(message)
        if not any(stage.prune is not None for stage in self.steps):
            message = "needs a 'prune' section, or 'stages' with at least one"
            raise ValueError(message)
        trains = any(stage.train is not None for stage in self.steps)
        if trains and (self.data is None or self.data.train is None):
            message = "trains, but has no 'data.train' that names the images to train on"
            raise ValueError(message)
        looks = any(stage.train and stage.train.validate_every for stage in self.steps)
        if looks and (self.data is None or self.data.evaluate is None):
            message = "has 'validate_every', but no 'data.evaluate' that names images to look at"
            raise ValueError(message)
        self._check_measuring()
        if self.evaluate is not None and (self.data is None or self.data.evaluate is None):
            message = "evaluates, but has no 'data.evaluate' that names the images to measure on"
            raise ValueError(message)
        for stage, following in zip(self.steps, (*self.steps[1:], None), strict=True):
            if isinstance(stage.prune, UnstructuredSection) and stage.prune.steps:
                _check_course(stage.prune, following.train if following else None)
        _check_patterns(self.steps)
        self._check_crop()
        return self

    @model_validator(mode="after")
    def _check_cached_teacher(self) -> Recipe:
        terms = [stage.train.distill for stage in self.steps if stage.train is not None]
        clips = self.data is not None and self.data.train is not None and self.data.train.frames
        if clips and any(distill is not None and distill.cache_teacher for distill in terms):
            message = (
                "has 'cache_teacher', which keeps outputs of single images, beside 'frames' of "
                "clips in 'data.train'; leave one of both out"
            )
            raise ValueError(message)
        return self

    def _check_crop(self) -> None:
        """Refuse two crops of the held-out images, and one that the scale does not divide."""
        crop = self.protocol.modcrop
        images = self.data.evaluate if self.data else None
        if images is not None and images.modcrop not in (None, crop):
            message = (
                f"cuts the images of 'data.evaluate' to a multiple of {images.modcrop}, and to one "
                f"of {crop} by 'evaluate'; keep one 'modcrop'"
            )
            raise ValueError(message)
        scale = self.model.scale if self.model else None
        if images is not None and crop is not None and scale is not None and crop % scale:
            message = (
                f"has images to evaluate on cut to a multiple of {crop}, which is none of "
                f"'model.scale' {scale}; take {scale * -(-crop // scale)} as 'modcrop'"
            )
            raise ValueError(message)

    def _check_measuring(self) -> None:
        """Refuse an allocation that measures on images that are not there."""
        for stage in self.steps:
            how = stage.filters.measuring if stage.filters else None
            if how is not None and (self.data is None or getattr(self.data, how.data) is None):
                other = "train" if how.data == "evaluate" else "evaluate"
                message = (
                    f"has 'allocation: sensitivity', which measures on 'data.{how.data}', but no "
                    f"such images; name them, or set 'prune.sensitivity.data: {other}'"
                )
                raise ValueError(message)


def _check_course(section: UnstructuredSection, train: TrainSection | None) -> None:
    """Refuse masks that would not be final when the training of the next stage ends."""
    key = "gradual" if section.gradual else "shrink"
    if train is None:
        message = f"prunes with '{key}', which happens in training, but no 'train' comes next"
    elif section.steps > train.steps:
        message = (
            f"prunes with '{key}' until step {section.steps}, but the training that follows has "
            f"{train.steps} steps"
        )
    elif train.minutes is not None:
        message = (
            f"prunes with '{key}', which counts steps, in a training with 'minutes', which may end "
            "before; leave one out"
        )
    else:
        return
    raise ValueError(message)


def _check_patterns(stages: tuple[Stage, ...]) -> None:
    """Refuse to cut blocks of an N:M pattern apart."""
    patterned = False
    for stage in stages:
        if patterned and isinstance(stage.prune, PruneSection):
            message = (
                "removes channels after a 'pattern', which that would break; prune filters first"
            )
            raise ValueError(message)
        if isinstance(stage.prune, UnstructuredSection):
            patterned |= stage.prune.target.pattern is not None
