"""Pruning methods: each answers which units stay."""

__all__ = ["METHODS", "Method", "measure_filters", "plan_filters"]

from prunekit.methods.filter import measure_filters, plan_filters
from prunekit.methods.table import METHODS, Method
