"""Pruning methods: each answers which units, or which weights, stay."""

__all__ = [
    "METHODS",
    "MaskHook",
    "Method",
    "SoftFilters",
    "Wanted",
    "mask_rule",
    "masking_hook",
    "measure_filters",
    "plan_filters",
    "wanted_of",
]

from prunekit.methods.filter import measure_filters, plan_filters
from prunekit.methods.masking import MaskHook
from prunekit.methods.soft import SoftFilters
from prunekit.methods.table import METHODS, Method
from prunekit.methods.unstructured import mask_rule, masking_hook
from prunekit.methods.wanted import Wanted, wanted_of
