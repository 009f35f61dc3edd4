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
from prunekit.recipe.sections.training import DistillSection, TrainSection
from prunekit.recipe.sections.unstructured import (
    GradualSection,
    ShrinkSection,
    SparsityTarget,
    UnstructuredSection,
)
from prunekit.recipe.sections.values import Section
from prunekit.recipe.sections.whole import Recipe, Stage
