"""Plans by the oldest criteria are, unit by unit, what they were before there were others.

Those for costs are what they were before there were other allocations than local, global, uniform.
"""

from __future__ import annotations

import hashlib
import json

import pytest
import torch

from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from tests.nets import NETS, graph_of, make

NETWORKS = ("Chain", "Residual", "Dense", "Shuffled", "Grouped", "LayerNormed", "SqueezeExcite")

KINDS = {"channels": ("channel_ratio",), "costs": ("macs_ratio", "params_ratio")}

FROZEN = {
    "l1 local channels": "c35a2c5192e8e179",
    "l1 local costs": "9b4b11220994b5d8",
    "l1 global channels": "8ee44a4ddb996747",
    "l1 global costs": "270834fad2be2770",
    "l2 local channels": "a3b6b993ac30ed9d",
    "l2 local costs": "7708d127c0d108b7",
    "l2 global channels": "6605c03620beaec1",
    "l2 global costs": "eab986003159eedc",
    "random local channels": "d6b49cb1acd52398",
    "random local costs": "390198aba75fafb0",
    "random global channels": "003df4e343f6a53b",
    "random global costs": "cff154fe05e22e32",
}


def digest(criterion: str, allocation: str, about: str) -> str:
    """Of the kept units of a few networks at targets on channels, or on costs."""
    kept = {}
    nets = {n.__name__: (make(n)[0], graph_of(n)) for n in NETS if n.__name__ in NETWORKS}
    torch.manual_seed(3)
    edsr = EDSR(channels=24, blocks=3)
    nets["EDSR"] = edsr, trace(edsr, torch.rand(1, 3, 12, 12))
    for name, (net, graph) in nets.items():
        scores = score_groups(net, graph.groups, criterion, seed=7)
        for kind in KINDS[about]:
            policy = Policy(allocation, round_to=1, min_width=1)
            plan = make_plan(graph, scores, Target(kind, 0.3), policy)
            kept[f"{name} {kind}"] = {group.name: group.kept for group in plan.groups}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("case", FROZEN)
def test_plans_are_what_they_were(case):
    assert digest(*case.split()) == FROZEN[case]
