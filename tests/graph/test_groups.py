"""The groups of EDSR, worked by hand: names, widths, exact slices, costs; and what is frozen."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit.graph import ChannelGraph, Member, trace
from prunekit.graph.groups import params_share
from prunekit.nets import EDSR
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import conv


@pytest.fixture(scope="module")
def tiny() -> ChannelGraph:
    return trace(EDSR(scale=3, channels=8, blocks=2), torch.rand(1, 3, 6, 6))


def slices(graph: ChannelGraph, name: str) -> dict[tuple[str, int], list[list[int]]]:
    return {(m.tensor, m.axis): m.indices.tolist() for m in graph[name].members}


def test_groups_are_named_after_what_they_are(tiny):
    assert [group.name for group in tiny.groups] == [
        "trunk",
        "body.0 hidden",
        "body.1 hidden",
        "tail.0.0 / 9",
    ]
    assert {group.kind for group in tiny.groups} == {"channel"}
    with pytest.raises(KeyError):
        tiny["stem"]


def test_the_trunk_spans_every_layer_that_adds_to_it_or_reads_it(tiny):
    each = [[unit] for unit in range(8)]
    assert slices(tiny, "trunk") == {
        ("head.0.weight", 0): each,
        ("head.0.bias", 0): each,
        ("body.0.body.0.weight", 1): each,
        ("body.0.body.2.weight", 0): each,
        ("body.0.body.2.bias", 0): each,
        ("body.1.body.0.weight", 1): each,
        ("body.1.body.2.weight", 0): each,
        ("body.1.body.2.bias", 0): each,
        ("body.2.weight", 0): each,
        ("body.2.weight", 1): each,
        ("body.2.bias", 0): each,
        ("tail.0.0.weight", 1): each,
    }


def test_a_hidden_group_is_one_layers_outputs_and_the_nexts_inputs(tiny):
    each = [[unit] for unit in range(8)]
    assert slices(tiny, "body.1 hidden") == {
        ("body.1.body.0.weight", 0): each,
        ("body.1.body.0.bias", 0): each,
        ("body.1.body.2.weight", 1): each,
    }


def test_a_unit_of_the_upsampler_is_nine_consecutive_filters(tiny):
    nine = np.arange(72).reshape(8, 9).tolist()
    assert slices(tiny, "tail.0.0 / 9") == {
        ("tail.0.0.weight", 0): nine,
        ("tail.0.0.bias", 0): nine,
        ("tail.1.weight", 1): [[unit] for unit in range(8)],
    }


def test_an_upsampler_of_two_steps_is_two_groups():
    graph = trace(EDSR(scale=4, channels=8, blocks=1), torch.rand(1, 3, 6, 6))
    assert graph.widths == {
        "trunk": 8,
        "body.0 hidden": 8,
        "tail.0.0 / 4": 8,
        "tail.0.2 / 4": 8,
    }


def test_edsr_baseline_has_eighteen_groups_of_64():
    graph = trace(EDSR(), torch.rand(1, 3, 8, 8))
    hidden = {f"body.{block} hidden": 64 for block in range(16)}
    assert graph.widths == {"trunk": 64, **hidden, "tail.0.0 / 4": 64}


def test_edsr_baseline_costs_what_papers_say():
    graph = trace(EDSR(), torch.rand(1, 3, 360, 640))
    assert graph.output_shapes == ((1, 3, 720, 1280),)
    assert graph.macs() == 316_259_251_200
    assert graph.params() == 1_369_859


def test_cost_at_other_widths_is_that_of_a_network_built_so():
    net, image = EDSR(channels=8, blocks=2), torch.rand(1, 3, 6, 6)
    graph = trace(net, image)
    other = trace(EDSR(channels=6, blocks=2), image)
    six = dict.fromkeys(graph.widths, 6)
    assert graph.macs(six) == other.macs() < graph.macs()
    assert graph.params(six) == other.params() < graph.params()
    assert graph.macs({"trunk": 8}) == graph.macs({}) == graph.macs()


def test_shares_of_the_parameters_are_those_of_the_slices(tiny):
    net = EDSR(scale=3, channels=8, blocks=2)
    total = sum(p.numel() for p in net.parameters())
    first, second = net.body[1].body[0], net.body[1].body[2]
    inside = first.weight.numel() + first.bias.numel() + second.weight.numel()
    assert tiny["body.1 hidden"].params_share == pytest.approx(inside / total)


def test_the_share_counts_what_lies_in_slices_of_two_axes_once():
    half = np.array([[0], [1]])
    members = [Member("w", 0, half), Member("w", 1, half), Member("buffer", 0, half)]
    share = params_share(members, {"w": (4, 4), "buffer": (4,)}, {"w": 16, "other": 8})
    assert share == pytest.approx((16 - 2 * 2) / 24)


def test_graph_and_groups_are_readable(tiny):
    lines = repr(tiny).splitlines()
    assert lines[0] == f"ChannelGraph: 18 operators, 4 groups, {len(tiny.frozen)} frozen axes"
    assert lines[1].startswith("  trunk: channel, width 8, 12 axes, 96.4%")
    assert len(lines) == 5
    assert len(repr(tiny["trunk"])) < 150
    assert len(repr(tiny["trunk"].members[0])) < 100


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_scale_is_output_over_input(scale):
    net = EDSR(scale=scale, channels=8, blocks=1)
    assert trace(net, torch.rand(1, 3, 6, 7)).scale == scale


def test_scale_is_none_where_the_shapes_tell_none():
    pool = nn.Sequential(conv(3, 8), conv(8, 3), nn.AvgPool2d(2))
    assert trace(pool, torch.rand(1, 3, 8, 8)).scale is None
    uneven = nn.Sequential(conv(3, 8), conv(8, 3), nn.Upsample(scale_factor=(2, 3)))
    assert trace(uneven, torch.rand(1, 3, 8, 8)).scale is None
    assert trace(nn.Sequential(conv(3, 8), conv(8, 3)), torch.rand(1, 3, 8, 8)).scale == 1


def reasons(graph: ChannelGraph, tensor: str, axis: int) -> set[tuple[str, str, str]]:
    found = [f.reason for f in graph.frozen if (f.tensor, f.axis) == (tensor, axis)]
    return {(reason.text, reason.operator, reason.module) for reason in found}


def test_what_is_frozen_in_edsr_says_why(tiny):
    image = "no wider than the image (3 channels)"
    assert reasons(tiny, "head.0.weight", 1) == {(image, "", "")}
    assert reasons(tiny, "add_mean.bias", 0) == {("output of the model", "", "")}
    kernel = ("extent of a convolution kernel", "aten.convolution", "body.2")
    assert reasons(tiny, "body.2.weight", 3) == {kernel}


@torch.library.custom_op("prunekit_tests::mystery", mutates_args=())
def mystery(x: Tensor) -> Tensor:
    return x.roll(1, dims=1)


@mystery.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


class Mysterious(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.first, self.second = conv(3, 8), conv(8, 7), conv(7, 9)
        self.odd = nn.Sequential(Mystery(), nn.ReLU())
        self.tail = conv(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.second(self.odd(self.first(self.head(x)))))


class Mystery(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return mystery(x)


def test_an_unknown_operator_freezes_what_it_touches_and_says_so():
    graph = trace(Mysterious(), torch.rand(1, 3, 12, 12))
    told = ("operator without a rule", "prunekit_tests.mystery", "odd.0")
    assert reasons(graph, "first.weight", 0) == {told}
    assert reasons(graph, "first.bias", 0) == {told}
    assert reasons(graph, "second.weight", 1) == {told}


def test_everything_around_an_unknown_operator_is_still_pruned():
    net, image = Mysterious(), torch.rand(1, 3, 12, 12)
    graph = trace(net, image)
    assert graph.widths == {"head": 8, "second": 9}
    scores = score_groups(net, graph.groups, "l2")
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    slim = apply(plan, net)
    assert (slim.head.out_channels, slim.second.out_channels) == (4, 5)
    assert verify(net, slim, plan, image).passed


def test_what_is_not_read_in_evaluation_mode_is_frozen_but_for_channels_of_others():
    class Auxiliary(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail, self.more = conv(3, 8), conv(8, 3), conv(8, 5)
            self.register_buffer("table", torch.rand(6))

        def forward(self, x: Tensor) -> Tensor:
            x = self.head(x)
            return self.tail(x) + self.more(x).mean() if self.training else self.tail(x)

    graph = trace(Auxiliary(), torch.rand(1, 3, 12, 12))
    assert graph.widths == {"head": 8}
    assert "more.weight" in {member.tensor for member in graph["head"].members}
    for tensor, axis in (("more.weight", 0), ("more.bias", 0), ("table", 0)):
        assert reasons(graph, tensor, axis) == {("not read in evaluation mode", "", "")}


def test_channels_that_a_pad_moves_are_frozen():
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.mid, self.tail = conv(3, 8), conv(8, 7), conv(7, 3)

        def forward(self, x: Tensor) -> Tensor:
            moved = nn.functional.pad(self.head(x), (0, 0, 0, 0, 1, -1))
            return self.tail(nn.functional.pad(self.mid(moved), (1, 1, 1, 1)))

    net, image = Moved(), torch.rand(1, 3, 12, 12)
    graph = trace(net, image)
    assert graph.widths == {"mid": 7}
    told = ("axis is resampled", "aten.constant_pad_nd", "")
    assert reasons(graph, "head.bias", 0) == {told}
    assert graph.verify(net, image).holds


def test_a_graph_is_refuted_by_a_network_it_does_not_describe():
    class Rolled(EDSR):
        """Moves a channel of the trunk behind the graph's back."""

        def forward(self, lr: Tensor) -> Tensor:
            return self.add_mean(self.tail(self.body(self.head(lr).roll(1, 1))))

    image = torch.rand(1, 3, 6, 6)
    graph = trace(EDSR(channels=8, blocks=1), image)
    result = graph.verify(Rolled(channels=8, blocks=1), image)
    assert not result.holds
    assert result.violators == ("trunk",)
    assert result.difference.max_error > result.difference.limit


def test_networks_that_return_whole_numbers_are_proven_too():
    class Quantised(EDSR):
        def forward(self, lr: Tensor) -> Tensor:
            return (super().forward(lr) * 255).round().to(torch.int32)

    image = torch.rand(1, 3, 6, 6)
    net = Quantised(channels=8, blocks=1).double()
    result = trace(net, image.double()).verify(net, image.double())
    assert result.holds
    assert (result.difference.max_error, result.difference.dtype) == (0.0, "int32")


def test_a_network_that_runs_in_its_own_type_only_is_judged_in_it():
    class Single(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 8), conv(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(x.float()))

    class Rolled(Single):
        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.head(x.float()).roll(1, 1))

    image = torch.rand(1, 3, 6, 6)
    graph = trace(Single(), image)
    assert graph.verify(Single(), image).holds
    assert graph.verify(Rolled(), image).violators == ("head",)
