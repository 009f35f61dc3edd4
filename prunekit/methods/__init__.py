"""Pruning methods: each answers which units stay."""

__all__ = ["METHODS", "Method", "Wanted", "plan_filters", "wanted_of"]

from prunekit.methods.filter import plan_filters
from prunekit.methods.table import METHODS, Method
from prunekit.methods.wanted import Wanted, wanted_of
