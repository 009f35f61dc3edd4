"""Plans that must not change: what was planned before targets had limits and overrides."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR, create
from prunekit.plan import Plan, Policy, Target, make_plan

PLANS = (
    # network, allocation, round_to, target, ratio, digest of names and kept units
    ("edsr", "local", 1, "channel_ratio", 0.05, "3c32e6091aba05f7"),
    ("edsr", "local", 1, "channel_ratio", 0.45, "a37e923b8adb8c7a"),
    ("edsr", "local", 1, "macs_ratio", 0.05, "5e4280bcc8249a77"),
    ("edsr", "local", 1, "macs_ratio", 0.45, "73bf1c4aef9cce86"),
    ("edsr", "local", 1, "params_ratio", 0.05, "792c454964263a3c"),
    ("edsr", "local", 1, "params_ratio", 0.45, "0320ae76e6c4b40d"),
    ("edsr", "local", 8, "channel_ratio", 0.05, "13dc3316db0a32a2"),
    ("edsr", "local", 8, "channel_ratio", 0.45, "993447323b3b1367"),
    ("edsr", "local", 8, "params_ratio", 0.7, "04e3df32f3c64e1f"),
    ("edsr", "global", 1, "channel_ratio", 0.2, "40f5b421b218b54c"),
    ("edsr", "global", 1, "channel_ratio", 0.7, "ce8393f261a2780c"),
    ("edsr", "global", 1, "macs_ratio", 0.2, "ad99b557e5d0a1c0"),
    ("edsr", "global", 1, "macs_ratio", 0.7, "c7f5808c3b0701dc"),
    ("edsr", "global", 1, "params_ratio", 0.2, "ad99b557e5d0a1c0"),
    ("edsr", "global", 1, "params_ratio", 0.7, "e9dcd1463dfc1d00"),
    ("edsr", "global", 8, "channel_ratio", 0.2, "6fccb3e30d65051e"),
    ("edsr", "global", 8, "channel_ratio", 0.7, "85293380d930a38d"),
    ("edsr", "uniform", 1, "channel_ratio", 0.2, "d1cd75541310cde8"),
    ("edsr", "uniform", 1, "channel_ratio", 0.7, "75d78f3e98727d6d"),
    ("edsr", "uniform", 1, "macs_ratio", 0.2, "ed7708c55ef7d877"),
    ("edsr", "uniform", 1, "macs_ratio", 0.7, "5263724130271425"),
    ("edsr", "uniform", 1, "params_ratio", 0.2, "ed7708c55ef7d877"),
    ("edsr", "uniform", 1, "params_ratio", 0.7, "5263724130271425"),
    ("edsr", "uniform", 8, "channel_ratio", 0.2, "6fccb3e30d65051e"),
    ("edsr", "uniform", 8, "channel_ratio", 0.7, "85293380d930a38d"),
    ("edsr", "uniform", 8, "macs_ratio", 0.2, "6fccb3e30d65051e"),
    ("edsr", "uniform", 8, "macs_ratio", 0.7, "993447323b3b1367"),
    ("edsr", "uniform", 8, "params_ratio", 0.2, "6fccb3e30d65051e"),
    ("edsr", "uniform", 8, "params_ratio", 0.7, "993447323b3b1367"),
    ("rlfn_s_x4", "local", 4, "channel_ratio", 0.7, "309055371652deae"),
    ("rlfn_s_x4", "local", 4, "macs_ratio", 0.7, "c6e038b8ef2a3ef4"),
    ("rlfn_s_x4", "local", 4, "params_ratio", 0.7, "77a2edf64f28602e"),
    ("rlfn_s_x4", "local", 8, "channel_ratio", 0.7, "799efd183392b76c"),
    ("rlfn_s_x4", "local", 8, "macs_ratio", 0.7, "20199b6f83604977"),
    ("rlfn_s_x4", "local", 8, "params_ratio", 0.7, "0393520e4e7fe6c4"),
    ("rlfn_s_x4", "global", 4, "channel_ratio", 0.7, "4f6dd61cf651e1e1"),
    ("rlfn_s_x4", "global", 4, "macs_ratio", 0.7, "73f91d9700673967"),
    ("rlfn_s_x4", "global", 4, "params_ratio", 0.7, "6f517e3661811043"),
    ("rlfn_s_x4", "global", 8, "channel_ratio", 0.7, "799efd183392b76c"),
    ("rlfn_s_x4", "global", 8, "macs_ratio", 0.7, "444bafb19b541bb5"),
    ("rlfn_s_x4", "global", 8, "params_ratio", 0.7, "6a08ad50f0d181c4"),
    ("rlfn_s_x4", "uniform", 4, "channel_ratio", 0.7, "319380d0a0cbe466"),
    ("rlfn_s_x4", "uniform", 4, "macs_ratio", 0.7, "7b5f4f786475af53"),
    ("rlfn_s_x4", "uniform", 4, "params_ratio", 0.7, "7b5f4f786475af53"),
    ("rlfn_s_x4", "uniform", 8, "channel_ratio", 0.7, "7b5f4f786475af53"),
    ("rlfn_s_x4", "uniform", 8, "macs_ratio", 0.7, "7b5f4f786475af53"),
    ("rlfn_s_x4", "uniform", 8, "params_ratio", 0.7, "7b5f4f786475af53"),
    ("carn_m_x2", "local", 4, "channel_ratio", 0.7, "d82409be30278676"),
    ("carn_m_x2", "local", 4, "macs_ratio", 0.7, "6ceb4c1e57bca27e"),
    ("carn_m_x2", "local", 8, "channel_ratio", 0.2, "e83ec17efa79228e"),
    ("carn_m_x2", "local", 8, "macs_ratio", 0.2, "1ccbd17a3bc99f89"),
    ("carn_m_x2", "local", 8, "params_ratio", 0.2, "9b49e2336fce7a6d"),
    ("carn_m_x2", "global", 4, "channel_ratio", 0.7, "6c5fc85f3b05d421"),
    ("carn_m_x2", "global", 4, "macs_ratio", 0.7, "7a782d7adf1c6f32"),
    ("carn_m_x2", "global", 8, "channel_ratio", 0.2, "cbf09ee81606d37b"),
    ("carn_m_x2", "global", 8, "macs_ratio", 0.2, "57fd53dc07bc17fe"),
    ("carn_m_x2", "uniform", 4, "channel_ratio", 0.2, "ecc6145764fbcd98"),
    ("carn_m_x2", "uniform", 4, "macs_ratio", 0.2, "ecc6145764fbcd98"),
    ("carn_m_x2", "uniform", 4, "params_ratio", 0.2, "ecc6145764fbcd98"),
    ("carn_m_x2", "uniform", 8, "channel_ratio", 0.7, "8a35da357db70400"),
    ("carn_m_x2", "uniform", 8, "macs_ratio", 0.7, "8a35da357db70400"),
)


@pytest.fixture(scope="module")
def graphs() -> dict[str, ChannelGraph]:
    image = torch.zeros(1, 3, 24, 24)
    names = ("rlfn_s_x4", "carn_m_x2")
    nets = {"edsr": EDSR(channels=32, blocks=3), **{name: create(name) for name in names}}
    return {name: trace(net, image) for name, net in nets.items()}


def digest(plan: Plan) -> str:
    kept = json.dumps([(group.name, group.kept) for group in plan.groups])
    return hashlib.sha256(kept.encode()).hexdigest()[:16]


@pytest.mark.parametrize("row", PLANS, ids=lambda row: " ".join(map(str, row[:-1])))
def test_a_plan_is_what_it_always_was(graphs, row):
    network, allocation, round_to, kind, ratio, expected = row
    graph = graphs[network]
    rng = np.random.default_rng(5)
    scores = {group.name: rng.random(group.width) for group in graph.groups}
    policy = Policy(allocation, round_to, min(round_to, 8))
    assert digest(make_plan(graph, scores, Target(kind, ratio), policy)) == expected
