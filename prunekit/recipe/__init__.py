"""The typed form of a recipe: read it, change it, check it, write it."""

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
    "Draft",
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
    "check_model",
    "check_references",
    "dump_recipe",
    "import_factory",
    "load_model_section",
    "load_recipe",
    "read_recipe",
    "recipe_schema",
    "to_mapping",
]

from prunekit.recipe.explain import recipe_schema
from prunekit.recipe.load import Draft, load_model_section, load_recipe, read_recipe
from prunekit.recipe.references import check_model, check_references, import_factory
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
from prunekit.recipe.sections.whole import Recipe, Round, Stage, Step
from prunekit.recipe.write import dump_recipe, to_mapping
