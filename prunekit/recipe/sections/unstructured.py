"""Sections on single weights that are set to zero."""

from __future__ import annotations

__all__ = ["LARGEST_BLOCK", "SparsityTarget", "UnstructuredSection"]

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prunekit.recipe.sections.schedules import GradualSection, ShrinkSection
from prunekit.recipe.sections.values import (
    Glob,
    Pattern,
    Ratio,
    Section,
    need_one,
    one_of,
)

LARGEST_BLOCK = 64
"""Largest M of a pattern N:M."""


class SparsityTarget(Section):
    """How many weights become zero."""

    model_config = one_of("sparsity", "weight_ratio", "pattern")

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
        need_one(self, "sparsity", "weight_ratio", "pattern")
        if self.pattern is not None:
            stays, block = map(int, self.pattern.split(":"))
            if not stays < block <= LARGEST_BLOCK:
                message = (
                    f"has 'pattern' {self.pattern}; of N:M, N is below M and M at most "
                    f"{LARGEST_BLOCK}"
                )
                raise ValueError(message)
        return self


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
