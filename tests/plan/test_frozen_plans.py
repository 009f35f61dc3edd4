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
KINDS = ("channel_ratio", "macs_ratio", "params_ratio")
ROUNDINGS = ((1, 1), (4, 4), (8, 8))

DIGESTS: dict[tuple[str, str], str] = {
    ("edsr", "local"): "9edb02c4d896c060a9d3a2c62b121badcdadfd1f4531018443f8ddc298c0305a",
    ("edsr", "global"): "ba689c18fda3a49ad4b922b380d537641467d62cf73e06155f74ca0d805011b3",
    ("edsr", "uniform"): "8aebf9b8b2664d71cc69c4d41b4a8bf0f93d34febdbf124396eda1b30d056e87",
    ("imdn_x2", "local"): "2a784d786eda2fcba17a8fbe2a37e167b47187f27e9e2ba26683b243fa7126e0",
    ("imdn_x2", "global"): "e6cc67b9469d3db14e892fd46f3d5832afe4194791c9b7005226ab53e34230ff",
    ("imdn_x2", "uniform"): "f057c69b4b56d0eff738546fd637083d51369b517aba83193d56a8eafe3940e2",
    ("Residual", "local"): "e0c220644d2bd0cac48604b48d6a2cc2dbbecc067e8929727fe780a9c5f4d101",
    ("Residual", "global"): "cd46cc6428467d154dee5696e9549889ac64179461b8f6d49de97c14ddd7aa72",
    ("Residual", "uniform"): "ef8633bfd0508e074cbff7919f62f960b8cfa24895b4f4e5fbefe0a1b4774ff0",
    ("Dense", "local"): "00611e8f375abdaec8bfd941233b1989f3e19c29f7ecb08086e512145b45c97e",
    ("Dense", "global"): "810ffcd990249bda41e1be2a76c5f02cf48b12cf98e644c06ca123d176f465fa",
    ("Dense", "uniform"): "b96edabe4065a91e5f120a9a3bdece59b27ed14d21071f445219da606b3d2f32",
    ("Chunked", "local"): "73bc4d0f03c09b43d9c1961de045001333c519b54711ce53dea1509b09920387",
    ("Chunked", "global"): "31067d3f86fbcf0b14a8c9e3022aa53e43790d19c4421758f66ccf6c426d5dfd",
    ("Attention", "local"): "9e07d725f98f9030c0ae1db8241b7007214c064a70ed09b25e7ee19060c7f2a9",
    ("Attention", "global"): "e9fdcede3939c7da3b4430215a35be753dedb5239141985299b22eac62b456df",
    ("Grouped", "local"): "49d37ca693181845d99cc2b138d368806d62c108658938f26c8e93f9fb7ad2cf",
    ("Grouped", "global"): "1919b688e9a6bc087fd63b28f09fbf2162ac81b7439dba50faa5f41eae697d34",
    ("ChannelsLast", "local"): "ec45faa74bd0ca6e24000b4350a9bcd5cb23f183ed889c65961ccaebe487399b",
    ("ChannelsLast", "global"): "2853f7c90ce1515c88d8b2da12295e08e352e6bef72c4dfc0385dfccd4ecdd19",
}
"""SHA-256 of the JSON of all plans, by network and allocation."""


def graph_named(name: str) -> ChannelGraph:
    if name == "edsr":
        return trace(EDSR(channels=32, blocks=3), torch.rand(1, 3, 12, 12))
    if name == "imdn_x2":
        return trace(create(name), torch.rand(1, 3, 16, 16))
    return graph_of(next(kind for kind in NETS if kind.__name__ == name))


def digest(graph: ChannelGraph, allocation: str) -> str:
    """Of the plans for every target and rounding; one that is out of reach counts as such."""
    rng = np.random.default_rng(7)
    scores = {g.name: rng.random(g.width) ** (1 + i % 3) for i, g in enumerate(graph.groups)}
    texts = []
    for kind in KINDS:
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
    assert len(set(texts)) > 3
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()


@pytest.mark.parametrize(("name", "allocation"), DIGESTS)
def test_plans_are_those_that_were_made_before(name, allocation):
    assert digest(graph_named(name), allocation) == DIGESTS[name, allocation]
