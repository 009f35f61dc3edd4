"""Steps: every operator in order, with what it reads and what lies on its output."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit.graph import trace
from prunekit.graph.flow import Band
from tests import nets
from tests.nets import NETS, Chain, Dense, Residual, Shuffled

each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def traced(kind):
    return nets.traced(kind)[2]


@each_net
def test_steps_are_the_operators_and_their_macs_those_of_the_network(kind):
    graph = traced(kind)
    assert len(graph.steps) == graph.operators
    assert sum(step.macs for step in graph.steps) == graph.macs()


@each_net
def test_bands_and_what_stays_make_up_an_axis(kind):
    for step in traced(kind).steps:
        for axis in step.axes:
            channels = sum(band.channels for band in axis.bands)
            assert channels + axis.frozen == step.shape[axis.axis]
            assert bool(axis.reasons) <= bool(axis.frozen)
            widths = [band.channels for band in axis.bands]
            assert widths == sorted(widths, reverse=True)


@each_net
def test_a_step_reads_what_was_made_before(kind):
    graph = traced(kind)
    assert all(source < number for number, s in enumerate(graph.steps) for source in s.sources)
    assert {name for step in graph.steps for name in step.state} <= set(graph.shapes)
    assert any(step.inputs == (0,) for step in graph.steps)


@each_net
def test_every_group_lies_on_the_output_of_some_step(kind):
    graph = traced(kind)
    seen = {band.group for step in graph.steps for axis in step.axes for band in axis.bands}
    assert seen >= {group.name for group in graph.groups}


def test_a_chain():
    """Convolution 3 to 8, ReLU, convolution 8 to 3, all at 12 x 12."""
    graph = traced(Chain)
    (group,) = graph.groups
    first, relu, last = graph.steps

    assert [step.operator for step in graph.steps] == [
        "aten.convolution",
        "aten.relu",
        "aten.convolution",
    ]
    assert [step.module for step in graph.steps] == ["layers.0", "layers.1", "layers.2"]
    assert (first.sources, relu.sources, last.sources) == ((), (0,), (1,))
    assert first.state == ("layers.0.weight", "layers.0.bias")
    assert first.macs == last.macs == 12 * 12 * 9 * 3 * 8
    assert relu.macs == 0
    assert first.axes[0].bands == relu.axes[0].bands == (Band(group.name, 8),)
    assert (last.axes[0].axis, last.axes[0].bands, last.axes[0].frozen) == (1, (), 3)
    assert last.axes[0].reasons


def test_a_sum_reads_both_its_operands():
    graph = traced(Residual)
    add = next(step for step in graph.steps if step.operator == "aten.add")
    assert len(add.sources) == 2


def test_a_concatenation_carries_every_group_that_goes_in():
    graph = traced(Dense)
    cat = next(step for step in graph.steps if step.operator == "aten.cat")
    (axis,) = cat.axes
    assert len(axis.bands) > 1
    assert sum(band.channels for band in axis.bands) == cat.shape[1]


def test_channels_of_one_unit_before_a_shuffle_count_each():
    graph = traced(Shuffled)
    shuffle = next(s for s in graph.steps if s.operator == "aten.pixel_shuffle")
    before = graph.steps[shuffle.sources[0]].axes[0].bands[0]
    after = shuffle.axes[0].bands[0]
    assert before == Band(after.group, 4 * after.channels)


class WritesThroughAView(nn.Module):
    def __init__(self):
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1)

    def forward(self, x):
        x = self.head(x)
        x.view(1, 8, -1).mul_(2)
        return self.tail(x)


def test_what_is_written_through_a_view_is_read_from_there():
    graph = trace(WritesThroughAView(), torch.rand(1, 3, 4, 4))
    names = [step.operator.removeprefix("aten.") for step in graph.steps]
    assert names == ["convolution", "view", "mul_", "convolution"]
    assert [step.sources for step in graph.steps] == [(), (0,), (1,), (2,)]
    assert [step.moves_only for step in graph.steps] == [False, True, False, False]


def test_steps_are_made_once():
    graph = traced(Chain)
    assert graph.steps is graph.steps
