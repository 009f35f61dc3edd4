"""Sections on the removal of whole blocks."""

from __future__ import annotations

__all__ = ["BlockCriterionName", "DepthSection", "DepthTarget"]

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from prunekit.recipe.sections.filters import OF_WEIGHTS, CalibrationSection
from prunekit.recipe.sections.values import Amount, Count, Glob, Ratio, Section, need_one

_TARGETS = ("block_ratio", "params_ratio", "params", "macs_ratio", "macs")
_RIVALS = (("params_ratio", "params"), ("macs_ratio", "macs"))
_NOT_COUNTED = ("latency_ratio", "latency_ms", "memory_ratio", "channel_ratio")


class DepthTarget(Section):
    """What the slim network must meet, all of it; a ratio is the share that is removed."""

    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": [name]} for name in _TARGETS]}
    )

    block_ratio: Ratio | None = Field(
        default=None, description="Share to remove of the blocks that may leave; 0.25 or 25%."
    )
    macs_ratio: Ratio | None = Field(
        default=None, description="Share of the multiply-accumulates to remove; 0.45 or 45%."
    )
    params_ratio: Ratio | None = Field(
        default=None, description="Share of the parameters to remove; 0.45 or 45%."
    )
    params: Amount | None = Field(default=None, description="Parameters that may be left; 1.2M.")
    macs: Amount | None = Field(
        default=None,
        description="Multiply-accumulates that may be left at `output_size`; 40G. Not flops.",
    )
    output_size: tuple[Count, Count] | None = Field(
        default=None,
        description=(
            "Width and height of the output image at which macs count, such as [1280, 720] in "
            "papers. Those of `model.input_shape` if not given."
        ),
    )

    @property
    def asked(self) -> dict[str, float]:
        """What is asked for, by name."""
        return {n: getattr(self, n) for n in _TARGETS if getattr(self, n) is not None}

    @model_validator(mode="before")
    @classmethod
    def _check_kinds(cls, data: Any) -> Any:
        for name in _NOT_COUNTED if isinstance(data, dict) else ():
            if data.get(name) is not None:
                message = (
                    f"has '{name}', at which 'method: depth' cannot aim; ask for 'params_ratio', "
                    "'macs_ratio' or 'block_ratio', or take 'method: filter'"
                )
                raise ValueError(message)
        return data

    @model_validator(mode="after")
    def _check(self) -> DepthTarget:
        if not self.asked:
            message = f"needs at least one of {', '.join(map(repr, _TARGETS))}"
            raise ValueError(message)
        for pair in _RIVALS:
            if self.asked.keys() >= set(pair):
                need_one(self, *pair)
        if self.output_size is not None and self.asked.keys().isdisjoint(("macs_ratio", "macs")):
            message = "has 'output_size', on which none of its targets depends; leave it out"
            raise ValueError(message)
        return self


BlockCriterionName = Literal[
    "l1", "l2", "random", "group_norm", "fpgm", "bn_scale", "wn_gamma",
    "taylor", "taylor2", "obd", "fisher", "activation", "activation_variance", "apoz",
    "output", "custom",
]  # fmt: skip
"""Criteria that say something of a block: not those that tell shares within a group or layer."""


class DepthSection(Section):
    """Remove whole blocks."""

    method: Literal["depth"] = Field(
        description="How to prune: `depth` removes whole residual blocks."
    )
    target: DepthTarget = Field(description="How much to remove; of several, all hold.")
    criterion: BlockCriterionName = Field(
        default="l2",
        description=(
            "What importance is, as for `filter`; of a block it is that of all its parameters "
            "at once, for `fpgm`, `activation`, `activation_variance`, `apoz` and `custom` the sum "
            "over its units. The block with the least for what its removal saves leaves first."
        ),
    )
    calibration: CalibrationSection | None = Field(
        default=None,
        description="What a criterion that looks at images looks at; takes the defaults.",
    )
    blocks: Annotated[tuple[Glob, ...], Field(min_length=1)] = Field(
        default=("*",),
        description=(
            "Patterns of paths of blocks that may leave, such as `body.?` for those around others "
            "alone. Blocks in others leave before these."
        ),
    )
    protect: tuple[Glob, ...] = Field(
        default=(),
        description="Patterns of module paths that stay, with what is in them and around them.",
    )

    @property
    def looks_at_images(self) -> bool:
        """Whether the criterion needs patches of `data.train`."""
        return self.criterion not in OF_WEIGHTS and self.criterion != "custom"

    @model_validator(mode="after")
    def _check(self) -> DepthSection:
        if self.calibration is not None and self.criterion in OF_WEIGHTS:
            message = (
                f"has 'calibration', but the criterion '{self.criterion}' looks at no images; "
                "leave it out, or take another criterion, such as 'taylor'"
            )
            raise ValueError(message)
        return self
