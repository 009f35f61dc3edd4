"""The typed form of a recipe: read it, change it, check it, write it."""

from __future__ import annotations

__all__ = [
    "CacheSection",
    "DataSection",
    "DistillSection",
    "Draft",
    "EvaluateSection",
    "ImagesSection",
    "LatencySection",
    "ModelSection",
    "OverrideSection",
    "PruneSection",
    "Recipe",
    "ReportSection",
    "Stage",
    "Target",
    "TrainImagesSection",
    "TrainSection",
    "check_model",
    "check_references",
    "dump_recipe",
    "import_factory",
    "load_model_section",
    "load_recipe",
    "read_recipe",
    "recipe_schema",
]

from prunekit.recipe.explain import recipe_schema
from prunekit.recipe.load import Draft, load_model_section, load_recipe, read_recipe
from prunekit.recipe.references import check_model, check_references, import_factory
from prunekit.recipe.sections import (
    CacheSection,
    DataSection,
    DistillSection,
    EvaluateSection,
    ImagesSection,
    LatencySection,
    ModelSection,
    OverrideSection,
    PruneSection,
    Recipe,
    ReportSection,
    Stage,
    Target,
    TrainImagesSection,
    TrainSection,
)
from prunekit.recipe.write import dump_recipe
