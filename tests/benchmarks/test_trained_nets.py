"""The networks written for published weights: they enlarge, trace, and their weights fit."""

from __future__ import annotations

import json

import pytest
import torch

import prunekit
from benchmarks.trained_nets import (
    BSRN,
    BSRNS,
    CARNM,
    IMDN,
    PAN,
    RFDN,
    RLFN,
    SAFMNPP,
    SAFMNV3,
    SlimRLFN,
)
from benchmarks.trained_networks import BUILDERS, LEFT_OUT, PACKAGED, build

SMALL = {
    "BSRN": lambda: BSRN(16, 2, 2),
    "BSRN-S": lambda: BSRNS(16, 2, 4),
    "CARN-M": lambda: CARNM(16, 4, 3),
    "IMDN": lambda: IMDN(16, 2, 4),
    "PAN-x2": lambda: PAN(8, 2, 2, 6),
    "PAN-x4": lambda: PAN(8, 2, 4, 6),
    "RFDN": lambda: RFDN(12, 2, 4),
    "RLFN": lambda: RLFN(12, 2, 4),
    "RLFN-challenge": lambda: RLFN(12, 2, 4, 10),
    "SAFMN++": lambda: SAFMNPP(12, 2, 4, 4),
    "SAFMN-v3": lambda: SAFMNV3(12, 2, 4, 4),
    "SlimRLFN": lambda: SlimRLFN(12, (10, 12), 4),
}
SCALES = {"BSRN": 2, "CARN-M": 3, "PAN-x2": 2}
TRUNKS = {"BSRN": 16, "BSRN-S": 16, "CARN-M": 4, "IMDN": 16, "PAN-x2": 8, "PAN-x4": 8}
"""Widths of the group with the largest share of the parameters, where it is not 12."""


@pytest.mark.parametrize("name", SMALL)
def test_it_enlarges_traces_and_keeps_the_law(name):
    torch.manual_seed(0)
    net, image = SMALL[name]().eval(), torch.rand(1, 3, 32, 40)
    with torch.no_grad():
        enlarged = net(image)
    scale = SCALES.get(name, 4)
    assert enlarged.shape == (1, 3, 32 * scale, 40 * scale)
    graph = prunekit.trace(net, image)
    assert graph.verify(net, image).holds
    trunk = max(graph.groups, key=lambda group: group.params_share)
    assert trunk.width == TRUNKS.get(name, 12)


@pytest.mark.data
def test_published_weights_fit_strictly(shared_data):
    cards = [json.loads(file.read_text()) for file in (shared_data / "weights").glob("*.json")]
    fitting = [card for card in cards if card["architecture"] not in {*LEFT_OUT, *PACKAGED}]
    assert fitting
    for card in fitting:
        model = build(card, card["scale"][0])
        assert sum(p.numel() for p in model.parameters()) == card["parameters"], card["name"]


def test_every_architecture_is_built_or_left_out():
    assert not set(BUILDERS) & set(LEFT_OUT)
    assert set(PACKAGED) <= set(BUILDERS)
