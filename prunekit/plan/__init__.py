"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "Cost",
    "GroupDifference",
    "GroupPlan",
    "Kind",
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
    "narrowest_plan",
    "params_cost",
    "plan_units",
    "reached",
    "reached_by",
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
from prunekit.plan.limits import Limit, Reached, limits_of, reached, reached_by
from prunekit.plan.make import check_reach, make_plan, narrowest_plan, plan_units
from prunekit.plan.memory import PeakMemory
from prunekit.plan.target import Kind, Override, Policy, Resource, Target
