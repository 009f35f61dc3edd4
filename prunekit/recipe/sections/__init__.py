"""What a recipe can say: one frozen model a section, each field documented beside itself."""

from __future__ import annotations

__all__ = [
    "OF_WEIGHTS",
    "CacheSection",
    "CalibrationSection",
    "CriterionName",
    "DataSection",
    "DepthSection",
    "DepthTarget",
    "DistillSection",
    "EvaluateSection",
    "GradualSection",
    "HeldOutSection",
    "ImagesSection",
    "IterativeSection",
    "LatencySection",
    "ModelSection",
    "OverrideSection",
    "PruneSection",
    "Recipe",
    "ReportSection",
    "Round",
    "Section",
    "SensitivitySection",
    "ShrinkSection",
    "SoftSection",
    "SparsityTarget",
    "Stage",
    "Step",
    "Target",
    "TrainImagesSection",
    "TrainSection",
    "UnstructuredSection",
]

from prunekit.recipe.sections.depth import DepthSection, DepthTarget
from prunekit.recipe.sections.evaluation import EvaluateSection, LatencySection, ReportSection
from prunekit.recipe.sections.filters import (
    OF_WEIGHTS,
    CalibrationSection,
    CriterionName,
    OverrideSection,
    PruneSection,
    SensitivitySection,
    Target,
)
from prunekit.recipe.sections.images import (
    CacheSection,
    DataSection,
    HeldOutSection,
    ImagesSection,
    ModelSection,
    TrainImagesSection,
)
from prunekit.recipe.sections.schedules import (
    GradualSection,
    IterativeSection,
    ShrinkSection,
    SoftSection,
)
from prunekit.recipe.sections.training import DistillSection, TrainSection
from prunekit.recipe.sections.unstructured import SparsityTarget, UnstructuredSection
from prunekit.recipe.sections.values import Section
from prunekit.recipe.sections.whole import Recipe, Round, Stage, Step
