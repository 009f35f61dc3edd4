"""What tracing covers, counted by hand on a network with one of each."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.shares import (
    Why,
    output_axes,
    prunable_share,
    transposed,
    weights_at_work,
    without_numbers,
)
from prunekit.graph import trace
from prunekit.graph.record import record


class Mixed(nn.Module):
    """A chain 3 -> 8 -> 6 -> 3 whose middle is transposed, a table of positions, a dead head."""

    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.up = nn.ConvTranspose2d(8, 6, 2, 2)
        self.tail = nn.Conv2d(6, 3, 3, padding=1)
        self.dead = nn.Conv2d(3, 5, 1)
        self.table = nn.Parameter(torch.randn(9, 2))

    def forward(self, x):
        shift = self.table[torch.tensor([0, 2])].sum()
        return self.tail(torch.relu(self.up(torch.relu(self.head(x))))) + shift


@pytest.fixture(scope="module")
def traced():
    model = Mixed()
    inputs = torch.zeros(1, 3, 8, 8)
    return model, trace(model, inputs), record(model, inputs)


def test_the_transposed_weight_is_known_by_name(traced):
    assert transposed(traced[0]) == {"up.weight"}


def test_every_output_axis_is_counted_once(traced):
    model, graph, _ = traced
    axes = output_axes(graph, transposed(model))
    assert axes.grouped == 8 + 6
    assert axes.total == 8 + 6 + 3 + 5 + 9  # head, up, tail, dead, table
    assert axes.frozen == axes.total - axes.grouped
    assert axes.share == 14 / 31


def test_dead_parameters_and_tables_are_not_at_work(traced):
    model, graph, recording = traced
    at_work = weights_at_work(recording)
    assert at_work == {f"{n}.{p}" for n in ("head", "up", "tail") for p in ("weight", "bias")}
    axes = output_axes(graph, transposed(model), at_work)
    assert (axes.grouped, axes.total) == (14, 17)


def test_the_most_frequent_reason_comes_first(traced):
    _, graph, _ = traced
    whys = output_axes(graph, {"up.weight"}).whys
    assert [why.indices for why in whys] == sorted((w.indices for w in whys), reverse=True)
    assert Why("not read in evaluation mode", "", 5) in whys


def test_the_prunable_share_is_that_of_the_elements_in_slices(traced):
    _, graph, _ = traced
    # all of head (8*3*9 + 8), of up (8*6*4 + 6), of the tail's weight (3*6*9); not its bias
    prunable = 8 * 27 + 8 + 8 * 24 + 6 + 3 * 54
    whole = prunable + 3 + 5 * 3 + 5 + 9 * 2
    assert prunable_share(graph) == pytest.approx(prunable / whole)


def test_reasons_count_together_whatever_their_sizes():
    assert without_numbers("reshape from (1, 60, 8) to (480,) mixes 3 axes") == (
        "reshape from (...) to (...) mixes n axes"
    )
