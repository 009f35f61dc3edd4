"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "GroupDifference",
    "GroupPlan",
    "Plan",
    "PlanDifference",
    "Policy",
    "Target",
    "TensorPlan",
    "make_plan",
    "plan_units",
]

from prunekit.plan.data import (
    AttributeChange,
    GroupDifference,
    GroupPlan,
    Plan,
    PlanDifference,
    TensorPlan,
)
from prunekit.plan.make import make_plan, plan_units
from prunekit.plan.target import Policy, Target
