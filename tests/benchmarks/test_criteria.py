"""The comparison of criteria: its rows, where it goes on, and what it says of its peer."""

from __future__ import annotations

import json

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks import criteria
from benchmarks.children import Job
from prunekit.data.pairs import ImagePair
from prunekit.data.resize import downscale
from prunekit.graph import trace
from tests.data.samples import noise
from tests.nets import conv


class Small(nn.Module):
    """A block on a trunk, enlarged at the very end: torch-pruning can do that."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 12)
        self.first, self.second = conv(8, 8), conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return F.pixel_shuffle(self.tail(x + self.second(F.relu(self.first(x)))), 2)


CARD = {"name": "small_x2", "scale": [2]}


@pytest.fixture(scope="module")
def subject():
    torch.manual_seed(3)
    model = Small().eval()
    pixels = [noise(seed, (32, 40)) for seed in (1, 2)]
    pairs = [ImagePair(str(n), downscale(hr, 2), hr) for n, hr in enumerate(pixels)]
    graph = trace(model, criteria.example())
    return criteria.Subject(model, graph, pairs[:1], {"Set5": pairs[1:]}, {"Set5": 9.9}, {})


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    for name, value in {"PATCH": 8, "BATCHES": 2, "BATCH_SIZE": 1, "STEP": 1 / 8}.items():
        monkeypatch.setattr(criteria, name, value)


def case(criterion: str, steps: int = 0) -> criteria.Case:
    return criteria.Case(CARD, 2, criterion, 30, 0, steps)


@pytest.mark.parametrize("criterion", ["l2", "random", "fisher", "output", *criteria.PEERS])
def test_a_row_meets_its_share_of_the_macs(subject, criterion):
    row = subject.measure(case(criterion))
    assert 0.3 <= row["macs"] < 0.6
    assert row["before"].keys() == {"Set5"}
    assert "after" not in row
    assert criteria.macs(subject.model) == subject.graph.macs()  # the dense one is untouched
    assert all(parameter.grad is None for parameter in subject.model.parameters())


def test_fine_tuning_is_measured_beside_what_was_before(subject):
    row = subject.measure(case("l2", steps=1))
    assert row["after"]["Set5"] != row["before"]["Set5"]


def test_what_looks_at_the_same_is_measured_once(subject):
    subject.measure(case("taylor"))
    evidence, _ = subject.known["gradients"]
    subject.measure(case("obd"))
    assert subject.known["gradients"][0] is evidence


def test_a_failure_is_a_row(subject, monkeypatch):
    monkeypatch.setattr(criteria.Subject, "of", lambda *_: subject)
    (found,) = criteria.measured([case("bn_scale")], ["Set5"])
    name, row = found
    assert name == "small_x2, bn_scale, 30 %, seed 0, 0 steps"
    assert row["status"] == "failed"
    assert "no batch norm" in row["why"]


def test_rows_of_the_same_code_are_kept_and_others_are_not(tmp_path):
    job = Job((), criteria.SOURCES)
    rows = [{"name": "a", "code": job.code}, {"name": "b", "code": "other"}]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps({"networks": rows}))
    assert list(criteria.earlier(file, job)) == ["a"]
    assert criteria.earlier(tmp_path / "none.json", job) == {}


def test_a_row_that_lacks_a_set_is_measured_again():
    row = {"status": "ok", "before": {"Set5": 30.0}}
    assert criteria.complete(row, ["Set5"])
    assert not criteria.complete(row, ["Set5", "BSD100"])
    assert not criteria.complete(None, ["Set5"])


def test_it_says_where_ours_is_below_the_peer():
    shared = {"network": "n", "percent": 10, "seed": 0, "steps": 0, "status": "ok"}
    ours = {**shared, "criterion": "group_norm", "before": {"Set5": 30.0}}
    theirs = {**shared, "criterion": criteria.PEERS[0], "before": {"Set5": 31.0}}
    (sentence,) = criteria.below([ours, theirs])
    assert sentence == (
        "n at 10 % of the MACs, before fine-tuning, Set5: group_norm 30.00 dB, "
        "torch-pruning magnitude 31.00"
    )
    assert not list(criteria.below([{**ours, "before": {"Set5": 32.0}}, theirs]))


def test_it_draws_and_shows_its_rows(tmp_path, capsys):
    shared = {"network": "n", "seed": 0, "steps": 0, "status": "ok", "dense": {"Set5": 33.0}}
    rows = [
        {**shared, "criterion": "l2", "percent": percent, "before": {"Set5": 32.0 - percent}}
        for percent in (10, 20)
    ]
    criteria.draw(rows, "Set5", tmp_path / "plot.svg")
    assert (tmp_path / "plot.svg").stat().st_size > 0
    criteria.show(rows, "Set5")
    assert "22.00" in capsys.readouterr().out
