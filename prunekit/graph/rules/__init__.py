"""Operator rules: what each operator says about the channels of its operands."""

__all__ = [
    "DRAWN_IN_TRAINING",
    "RULES",
    "Axes",
    "Call",
    "Contraction",
    "Rule",
    "apply_rule",
    "pointwise",
]

from prunekit.graph.rules.call import Axes, Call, Contraction, Rule
from prunekit.graph.rules.elementwise import pointwise
from prunekit.graph.rules.table import DRAWN_IN_TRAINING, RULES, apply_rule
