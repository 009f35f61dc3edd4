"""The typed form of a recipe: read it, change it, check it, write it."""

from __future__ import annotations

__all__ = [
    "OF_WEIGHTS",
    "CacheSection",
    "CalibrationSection",
    "CriterionName",
    "DataSection",
    "DistillSection",
    "Draft",
    "EvaluateSection",
    "GradualSection",
    "HeldOutSection",
    "ImagesSection",
    "LatencySection",
    "ModelSection",
    "PruneSection",
    "Recipe",
    "ReportSection",
    "SensitivitySection",
    "ShrinkSection",
    "SparsityTarget",
    "Stage",
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
from prunekit.recipe.sections import (
    OF_WEIGHTS,
    CacheSection,
    CalibrationSection,
    CriterionName,
    DataSection,
    DistillSection,
    EvaluateSection,
    GradualSection,
    HeldOutSection,
    ImagesSection,
    LatencySection,
    ModelSection,
    PruneSection,
    Recipe,
    ReportSection,
    SensitivitySection,
    ShrinkSection,
    SparsityTarget,
    Stage,
    Target,
    TrainImagesSection,
    TrainSection,
    UnstructuredSection,
)
from prunekit.recipe.write import dump_recipe, to_mapping
