"""Plans of the three first allocations, byte by byte as they were when there were no others."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch

from prunekit.errors import PlanError
from prunekit.graph import ChannelGraph, trace
from prunekit.nets import EDSR, create
from prunekit.plan import Policy, Target, make_plan
from tests.nets import NETS, graph_of

RATIOS = (0.1, 0.3, 0.5)
KINDS = {"channels": ("channel_ratio",), "costs": ("macs_ratio", "params_ratio")}
ROUNDINGS = ((1, 1), (4, 4), (8, 8))

DIGESTS: dict[tuple[str, str, str], str] = {
    (
        "edsr",
        "local",
        "channels",
    ): "08250c9f6c7342af8c978047c71abbeff6cad4d26ec88fad7bb9e58c6ffbd1f2",
    ("edsr", "local", "costs"): "7d5316696cb3508b7d5cd7f207f678d3b9e087694396d19ebb817a63b32d2801",
    (
        "edsr",
        "global",
        "channels",
    ): "89d1b23ea9434997fff5a52f4e0fac765bbf797201253affff13ebb680bc8db8",
    ("edsr", "global", "costs"): "2227ade818d85a3b7763b15081c2b8b4af061bce265edfe058943e21bd3002e9",
    (
        "edsr",
        "uniform",
        "channels",
    ): "08250c9f6c7342af8c978047c71abbeff6cad4d26ec88fad7bb9e58c6ffbd1f2",
    (
        "edsr",
        "uniform",
        "costs",
    ): "60e551d9353063d46fb879362f4706941fe71c5c767acc05c59e80817410f262",
    (
        "imdn_x2",
        "local",
        "channels",
    ): "fd5327fa8aee56cb5cc93db2208ceebf39cdd4a0647d17ceb7a0093a8cb2420e",
    (
        "imdn_x2",
        "local",
        "costs",
    ): "55855e877010587b813eeb19fc0260b9d29a7744c3db097eb71d4cb354958579",
    (
        "imdn_x2",
        "global",
        "channels",
    ): "832bfe95be0939a9c69ab27272b3f8d9c2a249f7109dbebf6d1253822157bad8",
    (
        "imdn_x2",
        "global",
        "costs",
    ): "3a24ee643e5192768e6b24520b42c9996472f0662738a9d3011f95124745d8b4",
    (
        "imdn_x2",
        "uniform",
        "channels",
    ): "d6f1c8fe414ced97f487999074bb0cefa67d92cb1e91bd65836166ccbdcdb6da",
    (
        "imdn_x2",
        "uniform",
        "costs",
    ): "153956d39271af2d9f627d08f3aecc5efce70892e523b657e69a06fa03f95875",
    (
        "Residual",
        "local",
        "channels",
    ): "d609a3f4966b5e187bf941eac0e7169d4f260f4673fc8e0cb50cf92882c0a1d4",
    (
        "Residual",
        "local",
        "costs",
    ): "ab3a9d9f6c2bea7d6d1ac1156f6fa7c54cece30e5b8339e889de0eb4d7bac3af",
    (
        "Residual",
        "global",
        "channels",
    ): "75db7323c7c3527576c9ed1730bffa69b0bed056ad141c59bb61ccca0282a219",
    (
        "Residual",
        "global",
        "costs",
    ): "708ec92344d0478b4d6985f00e9ceaeb30e18da08655393b79daad140c99015b",
    (
        "Residual",
        "uniform",
        "channels",
    ): "105106b825b2b53040ab1c276a0ae2d4b57facde1a2faecf115c44e7e5316e2b",
    (
        "Residual",
        "uniform",
        "costs",
    ): "5d7b745ea61f60c6d001c105331b1c7112cf69caf1b8c392b5e2e87e17f66106",
    (
        "Dense",
        "local",
        "channels",
    ): "6bc90cfc40d25f9d36b7538d26d639325e92da06c6f2a346151fd3a0b2ee3096",
    ("Dense", "local", "costs"): "56c8572f1009985e6818b7f9700844f5101befd53dd58ec7dd223c36cd349da4",
    (
        "Dense",
        "global",
        "channels",
    ): "1e5b31dca2961bcbffc0548e47a863711b9bbd79d75bb91676c1e03f2503e51d",
    (
        "Dense",
        "global",
        "costs",
    ): "56c8572f1009985e6818b7f9700844f5101befd53dd58ec7dd223c36cd349da4",
    (
        "Dense",
        "uniform",
        "channels",
    ): "c1a701d5431603d8ee966e720dab76087f66c4a0227ca36f48261bfb4b74c5d2",
    (
        "Dense",
        "uniform",
        "costs",
    ): "b03cbeda23e564b9fb35018a43c4953bf6a9af3bfb1ad3881dc4d579294241fd",
    (
        "Chunked",
        "local",
        "channels",
    ): "14864472cfc5fdcf7fa6f4fb5169191d29ca5b72c0711392c33bee3140d10e6e",
    (
        "Chunked",
        "local",
        "costs",
    ): "c2c13ee0461b35f3cd51a8c6bf11b2b1d7d0edb8a0b4095a332fd6e800619dc1",
    (
        "Chunked",
        "global",
        "channels",
    ): "88b9ba39937ee791424c9854f1948a4a05d1e33a86d1d1b1b7efccbf14030738",
    (
        "Chunked",
        "global",
        "costs",
    ): "c2c13ee0461b35f3cd51a8c6bf11b2b1d7d0edb8a0b4095a332fd6e800619dc1",
    (
        "Attention",
        "local",
        "channels",
    ): "815d4cd40fe1e940c3941ca9612a2b6defce28d70b69ea2bc13334ce405305bb",
    (
        "Attention",
        "local",
        "costs",
    ): "af218aac2135370d27fddf397282c96641140cd27462e28916741ee9810c79dd",
    (
        "Attention",
        "global",
        "channels",
    ): "6f3fb94e63665d82c1412f700ac45065bfd0da475aeb8e6560f68c8731cbfff8",
    (
        "Attention",
        "global",
        "costs",
    ): "af218aac2135370d27fddf397282c96641140cd27462e28916741ee9810c79dd",
    (
        "Grouped",
        "local",
        "channels",
    ): "9fa07b09c086947935e145c5be9af23f391d67758d3a9083686682e0631683b7",
    (
        "Grouped",
        "local",
        "costs",
    ): "4e38a5de0ed86af634855ae26bc169c114c01f75b04fbe3cbb8837f69caf9837",
    (
        "Grouped",
        "global",
        "channels",
    ): "b15f2d52beb15439c02bd6e9b8bdac6e0436c3cba3b1dbc91f711d6731f2abf5",
    (
        "Grouped",
        "global",
        "costs",
    ): "4e38a5de0ed86af634855ae26bc169c114c01f75b04fbe3cbb8837f69caf9837",
    (
        "ChannelsLast",
        "local",
        "channels",
    ): "d9a8b008ba4817234af31753f7b50f6e96f5023175b40ebe1b12507632b5328f",
    (
        "ChannelsLast",
        "local",
        "costs",
    ): "d6fc1a6d79834b9d972e4cac9502bd5caa3392c1294a035a00af0ec7f57951e5",
    (
        "ChannelsLast",
        "global",
        "channels",
    ): "d731840e6ba58967177e3c3df5762f7bdefc2ed515eea0cd18e4cd42a556a165",
    (
        "ChannelsLast",
        "global",
        "costs",
    ): "d6fc1a6d79834b9d972e4cac9502bd5caa3392c1294a035a00af0ec7f57951e5",
}
"""SHA-256 of the JSON of all plans, by network, allocation and what the target is about."""


def graph_named(name: str) -> ChannelGraph:
    if name == "edsr":
        return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, 12, 12))
    if name == "imdn_x2":
        return trace(create(name), torch.rand(1, 3, 16, 16))
    return graph_of(next(kind for kind in NETS if kind.__name__ == name))


def digest(graph: ChannelGraph, allocation: str, about: str) -> str:
    """Of the plans for every target and rounding; one that is out of reach counts as such."""
    rng = np.random.default_rng(7)
    scores = {g.name: rng.random(g.width) ** (1 + i % 3) for i, g in enumerate(graph.groups)}
    texts = []
    for kind in KINDS[about]:
        for ratio in RATIOS:
            for round_to, min_width in ROUNDINGS:
                policy = Policy(allocation, round_to, min_width)
                try:
                    plan = make_plan(graph, scores, Target(kind, ratio), policy)
                except PlanError:
                    texts.append("out of reach")
                else:
                    texts.append(json.dumps([[g.name, g.kept] for g in plan.groups]))
                    texts.append(plan.to_json())
    assert len(set(texts)) > 1
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@pytest.mark.parametrize(("name", "allocation", "about"), DIGESTS)
def test_plans_are_those_that_were_made_before(name, allocation, about):
    assert digest(graph_named(name), allocation, about) == DIGESTS[name, allocation, about]
