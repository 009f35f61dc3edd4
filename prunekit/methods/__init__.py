"""Pruning methods: each answers which units stay."""

__all__ = ["METHODS", "Method", "plan_filters"]

from prunekit.methods.filter import plan_filters
from prunekit.methods.table import METHODS, Method
