"""Sections on the removal of channels."""

from __future__ import annotations

__all__ = [
    "Allocation",
    "CalibrationSection",
    "CriterionName",
    "OF_WEIGHTS",
    "OverrideSection",
    "PruneSection",
    "SensitivitySection",
    "Target",
]

from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from prunekit.recipe.sections.schedules import IterativeSection, SoftSection
from prunekit.recipe.sections.values import (
    Amount,
    Count,
    CropSize,
    Glob,
    Multiple,
    PatchSize,
    Positive,
    Ratio,
    Section,
    need_one,
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
                need_one(self, *pair)
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
    protect: Literal[True] | None = Field(
        default=None, description="No unit of them leaves; a layer may still read fewer channels."
    )
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
    iterative: IterativeSection | None = Field(
        default=None,
        description="Reach the target in rounds, with training in between. At once if not given.",
    )
    soft: SoftSection | None = Field(
        default=None,
        description=(
            "Reach the target while the next stage trains, after which the units leave. Excludes "
            "`iterative`."
        ),
    )
    protect: tuple[Glob, ...] = Field(
        default=(),
        description=(
            "Patterns of names of groups, or of layers that make them, of which no unit leaves. "
            "What such a layer reads may get narrower; protect that, too, to keep it as it is."
        ),
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
        ranks = self.allocation != "uniform" and (
            self.allocation != "local" or self.target.channel_ratio is None
        )
        if self.normalisation is not None and not ranks:
            message = (
                f"has 'normalisation', but with 'allocation: {self.allocation}' and this target no "
                "group is compared with another; leave it out, or take 'allocation: global'"
            )
            raise ValueError(message)
        self._check_schedule()
        return self

    def _check_schedule(self) -> None:
        if self.iterative is not None and self.soft is not None:
            message = "has 'iterative' and 'soft', which exclude each other; keep one"
            raise ValueError(message)
        if self.soft is not None and self.measuring is not None:
            message = (
                "has 'soft', which plans again and again in training, with 'allocation: "
                "sensitivity', which measures for that; take 'iterative', or another allocation"
            )
            raise ValueError(message)
        timed = {"latency_ratio", "latency_ms"} & self.target.asked.keys()
        if self.soft is not None and timed:
            message = (
                f"has 'soft' with {timed.pop()}, which is met by rebuilding and timing; take "
                "'iterative', or ask for macs_ratio"
            )
            raise ValueError(message)
