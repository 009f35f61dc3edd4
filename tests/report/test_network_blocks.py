"""Operators in the boxes of their modules, and blocks that repeat folded."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit.graph import trace
from prunekit.nets import create
from prunekit.report.network.blocks import Box, Row, nest, quiet_steps
from prunekit.report.network.colours import colours
from tests import nets
from tests.nets import NETS

each_net = pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.__name__)


def conv(a, b):
    return nn.Conv2d(a, b, 1)


def steps_of(net, channels=3):
    return trace(net, torch.rand(1, channels, 4, 4)).steps


def rows(children):
    return [r for c in children for r in ([c] if isinstance(c, Row) else rows(c.children))]


def outline(children):
    """Names and repeats, nested."""
    return [
        c.name if isinstance(c, Row) else (c.name, c.repeats, outline(c.children)) for c in children
    ]


@each_net
def test_every_operator_is_drawn_once_and_in_order(kind):
    steps = nets.traced(kind)[2].steps
    quiet = quiet_steps(steps)
    every = list(range(len(steps)))
    assert [row.step for row in rows(nest(steps))] == every
    shown = [row.step for row in rows(nest(steps, hidden=quiet))]
    assert shown == [step for step in every if step not in quiet]


@each_net
def test_what_costs_or_makes_channels_is_never_quiet(kind):
    steps = nets.traced(kind)[2].steps
    assert not any(steps[number].macs for number in quiet_steps(steps))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = conv(8, 12), conv(12, 8)

    def forward(self, x):
        return x + self.second(self.first(x).relu())


class Blocks(nn.Module):
    def __init__(self, *blocks):
        super().__init__()
        self.head, self.body, self.tail = conv(3, 8), nn.ModuleList(blocks), conv(8, 3)

    def forward(self, x):
        x = self.head(x)
        for block in self.body:
            x = block(x)
        return self.tail(x)


BLOCK = ["first", "", "second", ""]


def test_equal_blocks_are_shown_once():
    drawn = outline(nest(steps_of(Blocks(Block(), Block(), Block()))))
    rest = ("1 to 2", 2, [("1", 0, BLOCK), ("2", 0, BLOCK)])
    assert drawn == ["head", ("body", 0, [("0", 0, BLOCK), rest]), "tail"]


def test_a_block_of_another_width_is_not_folded_away():
    odd = Block()
    odd.first, odd.second = conv(8, 10), conv(10, 8)
    drawn = outline(nest(steps_of(Blocks(Block(), odd, Block()))))
    assert drawn[1] == ("body", 0, [("0", 0, BLOCK), ("1", 0, BLOCK), ("2", 0, BLOCK)])


def test_blocks_of_other_coupling_are_not_folded_away():
    """Without the sum a block ends a stream and starts another."""

    class Straight(Block):
        def forward(self, x):
            return self.second(self.first(x).relu())

    body = outline(nest(steps_of(Blocks(Straight(), Block(), Block()))))[1][2]
    assert [item[:2] for item in body] == [("0", 0), ("1", 0), ("2", 1)]


def test_blocks_that_read_different_streams_are_not_folded_away():
    class TwoStreams(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = conv(3, 8), conv(3, 8)
            self.left, self.right = nn.Sequential(*pair()), nn.Sequential(*pair())
            self.tail = conv(16, 3)

        def forward(self, x):
            one, two = self.one(x), self.two(x)
            left, right = self.left(one), self.right(two)
            return self.tail(torch.cat([one + left, two + right], dim=1))

    def pair():
        return conv(8, 12), nn.ReLU(), conv(12, 8)

    names = [child.name for child in nest(steps_of(TwoStreams())) if isinstance(child, Box)]
    assert names == ["left", "right"]


def test_blocks_wired_otherwise_inside_are_not_folded_away():
    class Wired(nn.Module):
        def __init__(self, *, late):
            super().__init__()
            self.late, self.first, self.second = late, conv(8, 8), conv(8, 8)

        def forward(self, x):
            before = self.first(x)
            after = before.sigmoid()
            return x + self.second(after) + (after if self.late else before)

    blocks = Wired(late=True), Wired(late=False), Wired(late=False)
    body = outline(nest(steps_of(Blocks(*blocks))))[1][2]
    assert [item[:2] for item in body] == [("0", 0), ("1", 0), ("2", 1)]


def test_blocks_in_a_plain_row_are_shown_once():
    class Plain(Block):
        def forward(self, x):
            return self.second(self.first(x).relu())

    body = outline(nest(steps_of(Blocks(Plain(), Plain(), Plain()))))[1][2]
    assert [item[:2] for item in body] == [("0", 0), ("1 to 2", 2)]


def test_blocks_that_alternate_are_folded_in_pairs():
    class Other(Block):
        def forward(self, x):
            return x + self.second(self.first(x).sigmoid())

    body = outline(nest(steps_of(Blocks(Block(), Other(), Block(), Other()))))[1][2]
    assert [item[:2] for item in body] == [("0", 0), ("1", 0), ("2 to 3", 1)]


def test_a_module_that_holds_one_thing_is_that_thing():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.outer = nn.Sequential(nn.Sequential(conv(3, 8), nn.ReLU()))
            self.tail = nn.Sequential(conv(8, 3))

        def forward(self, x):
            return self.tail(self.outer(x))

    drawn = nest(steps_of(Wrapped()))
    assert drawn == (Box("outer.0", (Row(0, "0"), Row(1, "1"))), Row(2, "tail.0"))


def test_a_module_that_is_called_twice_has_two_boxes():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.body, self.tail = conv(3, 8), Block(), conv(8, 3)

        def forward(self, x):
            return self.tail(self.body(self.body(self.head(x)) * 2))

    assert outline(nest(steps_of(Twice()))) == [
        "head",
        ("body", 0, BLOCK),
        "",
        ("body", 0, BLOCK),
        "tail",
    ]


def test_reshapes_that_keep_the_channels_are_quiet():
    class Reshaped(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.tail = conv(3, 8), conv(4, 3)

        def forward(self, x):
            x = self.head(x).flatten(2).reshape(x.shape[0], 8, *x.shape[2:])
            first, second = x.chunk(2, dim=1)
            return self.tail(first * second + torch.ones(1, 1, 4, 4))

    steps = steps_of(Reshaped())
    quiet = {steps[number].operator.removeprefix("aten.") for number in quiet_steps(steps)}
    assert {"view", "ones"} <= quiet
    assert not quiet & {"split", "mul", "add", "convolution"}


def test_a_long_run_without_channels_is_out_of_sight():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.head, self.tail = conv(3, 8), conv(8, 3)

        def forward(self, x):
            mask = x.mean(dim=1, keepdim=True).sin().cos().tanh().exp()
            return self.tail(self.head(x) * mask)

    assert outline(nest(steps_of(Masked()))) == [
        ("", 0, ["", "", "", "", ""]),
        "head",
        "",
        "tail",
    ]


def test_sixty_four_blocks_are_three_lines():
    graph = trace(create("edsr", channels=8, blocks=64), torch.rand(1, 3, 8, 8))
    body = next(c for c in nest(graph.steps) if c.name == "body")
    assert [child.name for child in body.children] == ["0", "1 to 63", "64"]


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour, paper):
    light, dark = sorted((luminance(colour), luminance(paper)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_colours_stand_out_from_the_paper_and_from_each_other():
    families = [3] * 24
    shades = colours(families)
    assert shades == colours(families)
    for shade in (shade for family in shades for shade in family):
        assert contrast(shade.light, "#ffffff") > 3
        assert contrast(shade.dark, "#14171a") > 3
    for family in shades:
        assert len(set(family)) == len(family)
    first = [family[0].light for family in shades]
    assert len(set(first)) == len(first)
