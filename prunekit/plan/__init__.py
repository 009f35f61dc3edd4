"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "Cost",
    "GroupDifference",
    "GroupPlan",
    "Limit",
    "Override",
    "PeakMemory",
    "Plan",
    "PlanDifference",
    "Policy",
    "Reached",
    "Resource",
    "Target",
    "TensorPlan",
    "VectorCost",
    "check_reach",
    "limits_of",
    "macs_cost",
    "make_plan",
    "params_cost",
    "plan_units",
    "reached",
]

from prunekit.plan.costs import Cost, VectorCost, macs_cost, params_cost
from prunekit.plan.data import (
    AttributeChange,
    GroupDifference,
    GroupPlan,
    Plan,
    PlanDifference,
    TensorPlan,
)
from prunekit.plan.limits import Limit, Reached, limits_of, reached
from prunekit.plan.make import check_reach, make_plan, plan_units
from prunekit.plan.memory import PeakMemory
from prunekit.plan.target import Override, Policy, Resource, Target
