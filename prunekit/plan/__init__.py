"""Plans: groups, scores and a target in, what stays of every tensor out."""

__all__ = [
    "AttributeChange",
    "Choices",
    "Cost",
    "Curve",
    "GroupDifference",
    "GroupPlan",
    "Kind",
    "Limit",
    "Origin",
    "Override",
    "PeakMemory",
    "Plan",
    "PlanDifference",
    "Policy",
    "Reached",
    "Resource",
    "Sensitivity",
    "Target",
    "TensorPlan",
    "VectorCost",
    "check_reach",
    "find_choices",
    "inside",
    "limits_of",
    "macs_cost",
    "make_plan",
    "narrowest_plan",
    "params_cost",
    "plan_units",
    "reached",
    "reached_by",
    "units_for",
]

from prunekit.plan.costs import Cost, VectorCost, macs_cost, params_cost
from prunekit.plan.data import (
    AttributeChange,
    GroupDifference,
    GroupPlan,
    Plan,
    PlanDifference,
    TensorPlan,
    inside,
)
from prunekit.plan.limits import Limit, Origin, Reached, limits_of, reached, reached_by
from prunekit.plan.make import (
    Choices,
    check_reach,
    find_choices,
    make_plan,
    narrowest_plan,
    plan_units,
    units_for,
)
from prunekit.plan.memory import PeakMemory
from prunekit.plan.sensitivity import Curve, Sensitivity
from prunekit.plan.target import Kind, Override, Policy, Resource, Target
