"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "GroupPlan",
    "Plan",
    "Policy",
    "Target",
    "TensorPlan",
    "make_plan",
]

from prunekit.plan.data import AttributeChange, GroupPlan, Plan, TensorPlan
from prunekit.plan.make import make_plan
from prunekit.plan.target import Policy, Target
