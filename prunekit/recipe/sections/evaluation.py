"""Sections on what is measured and reported."""

from __future__ import annotations

__all__ = ["EvaluateSection", "LatencySection", "ReportSection"]

from typing import Literal

from pydantic import Field, model_validator

from prunekit.errors import MeasureError
from prunekit.measure.protocol import Channels, Protocol, ProtocolName, choose_protocol
from prunekit.recipe.sections.values import Count, CropSize, FewCrops, Section, Whole


class LatencySection(Section):
    """Measure how long the networks take."""

    repeats: Count = Field(
        default=7, description="Timed passes of each network; the median is reported."
    )
    warmup: Whole = Field(default=2, description="Passes before those.")
    output_size: tuple[Count, Count] = Field(
        default=(1280, 720), description="Width and height of the output image or frames."
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
