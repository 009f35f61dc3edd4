"""Plans by the oldest criteria are, unit by unit, what they were before there were others."""

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

KINDS = ("Chain", "Residual", "Dense", "Shuffled", "Grouped", "LayerNormed", "SqueezeExcite")

FROZEN = {
    "l1 local": "ad5e95a7e482c2b7",
    "l1 global": "b828c32c7c2664ea",
    "l2 local": "b3bd61fbed7b4c36",
    "l2 global": "e67ea467d0b38257",
    "random local": "bae6925f02a900ac",
    "random global": "2a2be03ccf6a212e",
}


def digest(criterion: str, allocation: str) -> str:
    """Of the kept units of a few networks at three targets."""
    kept = {}
    nets = {n.__name__: (make(n)[0], graph_of(n)) for n in NETS if n.__name__ in KINDS}
    torch.manual_seed(3)
    edsr = EDSR(channels=24, blocks=3)
    nets["EDSR"] = edsr, trace(edsr, torch.rand(1, 3, 12, 12))
    for name, (net, graph) in nets.items():
        scores = score_groups(net, graph.groups, criterion, seed=7)
        for kind in ("channel_ratio", "macs_ratio", "params_ratio"):
            policy = Policy(allocation, round_to=1, min_width=1)
            plan = make_plan(graph, scores, Target(kind, 0.3), policy)
            kept[f"{name} {kind}"] = {group.name: group.kept for group in plan.groups}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


@pytest.mark.parametrize("case", FROZEN)
def test_plans_are_what_they_were(case):
    assert digest(*case.split()) == FROZEN[case]
