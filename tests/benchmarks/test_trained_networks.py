"""The benchmark of published weights finds a network for each of them, or says why not."""

from __future__ import annotations

import json

import pytest

from benchmarks.trained_networks import LEFT_OUT, build, network_name
from prunekit.nets import NETWORKS


@pytest.mark.data
def test_published_weights_fit_strictly_or_their_architecture_is_left_out(shared_data):
    cards = [json.loads(file.read_text()) for file in (shared_data / "weights").glob("*.json")]
    assert cards
    for card in cards:
        for scale in card["scale"]:
            known = network_name(card, scale) in NETWORKS
            assert known != (card["architecture"] in LEFT_OUT), card["name"]
            if known:
                model = build(card, scale)
                assert sum(p.numel() for p in model.parameters()) == card["parameters"]
