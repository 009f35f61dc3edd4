"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "Curve",
    "GroupDifference",
    "GroupPlan",
    "Plan",
    "PlanDifference",
    "Policy",
    "Sensitivity",
    "Target",
    "TensorPlan",
    "find_choices",
    "make_plan",
    "plan_units",
    "units_for",
]

from prunekit.plan.data import (
    AttributeChange,
    GroupDifference,
    GroupPlan,
    Plan,
    PlanDifference,
    TensorPlan,
)
from prunekit.plan.make import find_choices, make_plan, plan_units, units_for
from prunekit.plan.sensitivity import Curve, Sensitivity
from prunekit.plan.target import Policy, Target
