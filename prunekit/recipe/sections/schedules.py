"""Sections on how pruning is spread over training."""

from __future__ import annotations

__all__ = ["GradualSection", "IterativeSection", "ShrinkSection", "SoftSection"]

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, Strict, model_validator

from prunekit.recipe.sections.values import Count, Factor, Section, Whole, whole_number

Rounds = Annotated[int, Strict(), Field(ge=2, le=100), BeforeValidator(whole_number)]


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
        if self.every >= self.until - self.begin:
            given = "" if "every" in self.model_fields_set else ", as nothing else is given"
            message = (
                f"has 'every' {self.every}{given}, so nothing is chosen between 'begin' "
                f"{self.begin} and 'until' {self.until}; lower it"
            )
            raise ValueError(message)
        return self


class ShrinkSection(Section):
    """Shrink the smallest weights a little after every training step (ISS-P, ICCV 2023)."""

    factor: Factor = Field(
        default=0.97, description="What the smallest weights are multiplied by after each step."
    )
    until: Count = Field(description="Training step at which they become zero and stay so.")


class IterativeSection(Section):
    """Prune in rounds: score, remove a part, train; the next stage trains after the last."""

    rounds: Rounds = Field(description="How often channels leave.")
    steps: Count = Field(
        description=(
            "Training steps after every round but the last, at the constant learning rate of the "
            "training that follows."
        )
    )
    curve: Literal["cubic", "linear"] = Field(
        default="cubic",
        description=(
            "How what has left grows from round to round: by `cubic` most leaves early (Zhu and "
            "Gupta, 2017), by `linear` as much in each."
        ),
    )

    def shares(self) -> tuple[float, ...]:
        """Share of the target that is met after each round; the last is 1."""
        parts = [number / self.rounds for number in range(1, self.rounds + 1)]
        return tuple(1 - (1 - part) ** 3 if self.curve == "cubic" else part for part in parts)


class SoftSection(GradualSection):
    """Let units come back before they leave (He et al., "Soft Filter Pruning", 2018).

    While the next stage trains, those that would leave are chosen anew again and again, and the
    weights that make them are set to zero, but go on learning. Their share grows by a cubic curve.
    """

    until: Count = Field(
        description="Training step from which they stay zero, to leave when the training is over."
    )
