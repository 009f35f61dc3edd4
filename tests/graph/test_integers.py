"""Integers that remember where they come from, and what reaches an operator."""

from __future__ import annotations

import copy
import json
import math
import pickle
from dataclasses import dataclass, field
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.graph.integers import (
    Attribute,
    AxisSize,
    Literal,
    Number,
    Operation,
    Size,
    leaves,
    values_noted,
)
from prunekit.graph.record import record
from tests.nets import conv

AXIS = AxisSize(3, 1)
HEADS = Attribute("body.0", "num_heads")


@pytest.fixture
def eight() -> Size:
    return Size(8, AXIS)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(2, 3, 12, 12)


@pytest.mark.parametrize(
    ("compute", "told"),
    [
        (lambda n: n + 1, "(value3.shape[1] + 1)"),
        (lambda n: 1 + n, "(1 + value3.shape[1])"),
        (lambda n: n - 1, "(value3.shape[1] - 1)"),
        (lambda n: 20 - n, "(20 - value3.shape[1])"),
        (lambda n: n * 2, "(value3.shape[1] * 2)"),
        (lambda n: 2 * n, "(2 * value3.shape[1])"),
        (lambda n: n // 3, "(value3.shape[1] // 3)"),
        (lambda n: 20 // n, "(20 // value3.shape[1])"),
        (lambda n: n % 3, "(value3.shape[1] % 3)"),
        (lambda n: 20 % n, "(20 % value3.shape[1])"),
        (lambda n: -n, "(0 - value3.shape[1])"),
        (lambda n: +n, "value3.shape[1]"),
        (lambda n: 0 + n * 1 // 1 - 0 + 0, "value3.shape[1]"),
        (lambda n: 1 * n * n, "(value3.shape[1] * value3.shape[1])"),
        (lambda n: divmod(n, 3)[1], "(value3.shape[1] % 3)"),
        (lambda n: divmod(20, n)[0], "(20 // value3.shape[1])"),
        (lambda n: n // Size(4, HEADS), "(value3.shape[1] // body.0.num_heads)"),
        (lambda n: sum([n, n]), "(value3.shape[1] + value3.shape[1])"),
        (lambda n: n**2, "(value3.shape[1] * value3.shape[1])"),
        (lambda n: math.floor(n / 3), "(value3.shape[1] // 3)"),
        (lambda n: math.ceil(n / 3), "(0 - ((0 - value3.shape[1]) // 3))"),
        (lambda n: math.floor(20 / n), "(20 // value3.shape[1])"),
        (lambda n: abs(-n), "(0 - (0 - value3.shape[1]))"),
        (max, None),
    ],
)
def test_expressions_follow_the_arithmetic(compute, told, eight):
    if compute is max:
        assert max(eight, 3) is eight
        return
    result = compute(eight)
    plain = compute(8)
    assert type(result) is Size
    assert result == plain
    assert repr(result.expression) == told
    left = compute(Size(6, AXIS, length=8))
    assert (int(left), left.length) == (int(compute(6)), plain)


def test_an_expression_tells_what_it_is_made_of(eight):
    expression = ((eight * 2 - 4) // Size(4, HEADS)).expression
    assert list(leaves(expression)) == [AXIS, HEADS]
    assert expression.right == HEADS
    assert Operation("*", AXIS, Number(2)) == expression.left.left


@pytest.mark.parametrize(
    "compute",
    [
        lambda n: n * 0.5,
        lambda n: n / 2.0,
        lambda n: n / 2 + 1,
        lambda n: int(n / 2),
        lambda n: round(n / 3),
        lambda n: math.sqrt(n / 2),
        lambda n: n**-2,
        lambda n: n**0,
        lambda n: 2**n,
        lambda n: pow(n, 2, 5),
        lambda n: 1.0 / n,
        np.sqrt,
        lambda n: n << 1,
        lambda n: math.ceil(n * 0.3),
        lambda n: np.int64(3) * n,
        lambda n: n * np.int64(3),
        bool,
        float,
        int,
    ],
)
def test_other_arithmetic_gives_what_integers_give(compute, eight):
    assert type(compute(eight)) is type(compute(8))
    assert compute(eight) == compute(8)


def test_a_size_is_used_like_an_integer(eight):
    assert (eight, hash(eight)) == (8, hash(8))
    assert {8: "a"}[eight] == {eight: "a"}[8] == "a"
    assert list(range(eight)) == list(range(8))
    assert [0] * eight == eight * [0] == [0] * 8
    assert "abcdefghi"[eight] == "i"
    assert "abcdefghi"[:eight] == "abcdefgh"
    assert (f"{eight} {eight:03d} {eight!r}", str(eight), "%d" % eight) == ("8 008 8", "8", "8")  # noqa: UP031
    assert json.dumps({"n": eight}) == '{"n": 8}'
    assert math.gcd(eight, 12) == 4
    assert np.zeros((eight, 2)).shape == (8, 2)
    assert torch.zeros(eight, 2).shape == (8, 2)
    assert (torch.ones(2) * eight).tolist() == (eight * torch.ones(2)).tolist() == [8, 8]
    assert torch.tensor([eight]).item() == 8


def test_copies_keep_the_expression_and_pickles_do_not(eight):
    assert copy.deepcopy([eight])[0] is copy.copy(eight) is eight
    for number, plain in ((eight, int), (Literal(8), int), (eight / 1, float)):
        loaded = pickle.loads(pickle.dumps(number))  # noqa: S301 (our own)
        assert loaded == 8
        assert type(loaded) is plain


def test_an_expression_that_only_grows_is_given_up(eight):
    total = eight
    for _ in range(5000):
        total = total + eight
    assert total == 5001 * 8
    assert isinstance(total, int)
    deepest = eight
    while type(deepest + 1) is Size:
        deepest = deepest + 1
    assert len(list(leaves(deepest.expression))) == 1


@pytest.mark.parametrize(
    ("compute", "found"),
    [
        (lambda n: 1.0 / n, 1 / 6),
        (lambda n: n**-0.5, 6**-0.5),
        (lambda n: 2.0**n, 64.0),
        (math.log, math.log(6)),
        (math.isqrt, 2),
        (np.sqrt, 6**0.5),
        (float, 6.0),
        (int, 6),
        (lambda n: round(n / 4), 2),
        (lambda n: torch.tensor(1.0).new_zeros(n).shape[0], 6),
    ],
)
def test_the_code_computes_with_what_is_left(compute, found):
    assert compute(Size(6, AXIS, length=8)) == found


@pytest.mark.parametrize(
    "decide",
    [
        lambda n: n == 8,
        lambda n: n != 6,
        lambda n: 8 == n,  # noqa: SIM300 (the other way round)
        lambda n: n > 7,
        lambda n: n >= 8,
        lambda n: 7 < n,  # noqa: SIM300
        lambda n: not n < 8,
        lambda n: not n <= 7,
        lambda n: min(n, 7) == 7,
        lambda n: max(n, 7) is n,
        lambda n: {8: True}[n],
        lambda n: n in (7, 8),
        lambda n: n - 6,
        lambda n: n.__eq__("8") is False,
        lambda n: n / 2 == 4,
        lambda n: n / 2 > 3.5,
        lambda n: 8 / n <= 1,
    ],
)
def test_the_code_decides_by_the_length(decide):
    assert decide(Size(6, AXIS, length=8))


@pytest.mark.parametrize(
    ("compute", "count"),
    [
        (lambda n: n * 0.5, 1),
        (lambda n: n / n, 2),
        (lambda n: 3 / n, 1),
        (np.sqrt, 1),
        (lambda n: np.power(n, n), 2),
        (lambda n: n * 2 + 1, 0),
        (lambda n: n > 2, 0),
        (lambda n: n**2, 0),
    ],
)
def test_what_is_seen_to_compute_in_floats_is_noted(compute, count, eight):
    noted: list[Size] = []
    with values_noted(noted.append):
        compute(eight)
    assert [int(size) for size in noted] == [8] * count


def test_torch_sizes_keep_them(eight):
    shape = torch.Size([eight, 3])
    assert shape[0] is eight
    assert shape[:1][0] is eight
    assert (*shape, 2)[0] is eight
    assert shape.numel() == 24


class Does(nn.Module):
    """A head, and then whatever the test asks for."""

    def __init__(self, body, **attributes: object) -> None:
        super().__init__()
        self.head = conv(3, 8)
        self.body = body
        for name, value in attributes.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self, self.head(x))


def told(body, image: Tensor, name: str, **attributes: object) -> list[object]:
    """The integers of the last call of an operator: an expression, `n!` or, made by torch, `n`."""
    tape = record(Does(body, **attributes), image)
    operator = [op for op in tape.operators if op.name == f"aten.{name}"][-1]
    flat = torch.utils._pytree.tree_leaves(operator.arguments)
    return [_told(x, tape) for x in flat if isinstance(x, int) and not isinstance(x, bool)]


def _told(number: int, tape) -> object:
    if isinstance(number, Size):
        value = tape.operators[0].outputs[0].index
        return repr(number.expression).replace(f"value{value}.shape", "x")
    return f"{number}!" if isinstance(number, Literal) else number


@pytest.mark.parametrize(
    ("body", "name", "expected"),
    [
        (lambda _, x: x.view(x.shape[0], 4, -1, *x.shape[2:]), "view",
         ["x[0]", "4!", -1, "x[2]", "x[3]"]),
        (lambda _, x: x.view((x.size(0), x.size(-3), x.size()[2] * x.size(3))), "view",
         ["x[0]", "x[1]", "(x[2] * x[3])"]),
        (lambda _, x: x.reshape(-1, x.shape[1] // 2, 12, 12), "view",
         [-1, "(x[1] // 2)", "12!", "12!"]),
        (lambda _, x: x.flatten(2), "view", [2, 8, 144]),
        (lambda _, x: x.unflatten(1, (2, 4)), "view", [2, "2!", "4!", 12, 12]),
        (lambda _, x: x.chunk(2, 1)[0], "split", [4, 1]),
        (lambda _, x: x.chunk(4, dim=1)[0], "split", [2, 1]),
        (lambda _, x: x.tensor_split(2, 1)[0], "slice", [1, 4, 8, 1]),
        (lambda _, x: x.split(4, 1)[0], "split", ["4!", "1!"]),
        (lambda m, x: x.split([m.n, x.shape[1] - m.n], 1)[0], "split_with_sizes",
         ["n", "(x[1] - n)", "1!"]),
        (lambda _, x: torch.split(x, [2, 6], dim=1)[0], "split_with_sizes", ["2!", "6!", "1!"]),
        (lambda m, x: x[:, : m.n], "slice", [1, 0, "n", 1]),
        (lambda m, x: x[:, -m.n :], "slice", [1, "(0 - n)", 2**63 - 1, 1]),
        (lambda _, x: x[:, x.shape[1] // 2 :], "slice",
         [1, "(x[1] // 2)", 2**63 - 1, 1]),
        (lambda _, x: x[:, 3], "select", [1, "3!"]),
        (lambda m, x: x.narrow(1, m.n, 3), "slice", ["1!", "n", "(n + 3)", "1!"]),
        (lambda m, x: x.new_zeros(2, m.n, 4), "new_zeros", ["2!", "n", "4!"]),
        (lambda m, _x: torch.zeros(m.n, 4), "zeros", ["n", "4!"]),
        (lambda _, x: torch.arange(x.shape[1]), "arange", ["x[1]"]),
        (lambda _, x: x.expand(2, -1, -1, -1), "expand", ["2!", -1, -1, -1]),
        (lambda m, x: F.pad(x, (0, m.n, 0, 1)), "constant_pad_nd", ["0!", "n", "0!", "1!"]),
        (lambda _, x: F.interpolate(x, scale_factor=2), "upsample_nearest2d", [24, 24]),
        (lambda m, x: F.interpolate(x, size=(m.n, 24)), "upsample_nearest2d", ["n", "24!"]),
        (lambda _, x: F.pixel_shuffle(x, 2), "pixel_shuffle", ["2!"]),
        (lambda m, x: F.unfold(x, m.n), "im2col", ["n", "n", "1!", "1!", "0!", "0!", "1!", "1!"]),
        (lambda m, x: x.repeat(1, m.n, 1, 1), "repeat", ["1!", "n", "1!", "1!"]),
        (lambda _, x: x.view_as(x), "view", [2, 8, 12, 12]),
        (lambda _, x: x.view(np.int64(2), -1), "view", ["2!", -1]),
        (lambda _, x: x.view(int(x.shape[0]), -1), "view", ["2!", -1]),
        (lambda _, x: x.view(2, x.numel() // 2), "view",
         ["2!", "((((x[0] * x[1]) * x[2]) * x[3]) // 2)"]),
    ],
)  # fmt: skip
def test_operators_tell_where_their_integers_come_from(body, name, expected, image):
    answer = told(body, image, name, n=4)
    assert answer == expected


@dataclass
class Options:
    dim: int = 6
    more: dict[str, int] = field(default_factory=lambda: {"depth": 2})


@dataclass(frozen=True)
class Frozen:
    dims: tuple[int, ...] = (2, 6)


@pytest.mark.parametrize(
    ("attributes", "read", "path"),
    [
        ({"n": 6}, lambda m: m.n, "n"),
        ({"sizes": [2, 6]}, lambda m: m.sizes[1], "sizes[1]"),
        ({"sizes": (2, (6, 1))}, lambda m: m.sizes[1][0], "sizes[1][0]"),
        ({"options": {"dim": [1, 6]}}, lambda m: m.options["dim"][1], "options['dim'][1]"),
        ({"config": Options()}, lambda m: m.config.dim, "config.dim"),
        ({"config": Options()}, lambda m: m.config.more["depth"], "config.more['depth']"),
        ({"config": Frozen()}, lambda m: m.config.dims[1], "config.dims[1]"),
        ({"config": SimpleNamespace(dim=6)}, lambda m: m.config.dim, "config.dim"),
        ({"shape": torch.Size((6, 2))}, lambda m: m.shape[0], "shape[0]"),
    ],
)
def test_integers_that_modules_hold_are_known_by_their_path(attributes, read, path, image):
    net = Does(lambda m, x: x[:, : read(m)], **attributes)
    before = copy.deepcopy(attributes)
    end = record(net, image).operators[-1].arguments[3]
    assert end.expression == Attribute("", path)
    assert attributes == before
    for value in torch.utils._pytree.tree_leaves([vars(net), vars(attributes.get("config", net))]):
        assert not isinstance(value, Size)


def test_booleans_stay_booleans(image):
    class Flags(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.flag, self.flags = conv(3, 3), True, [False]

        def forward(self, x: Tensor) -> Tensor:
            assert self.flag is True
            assert self.flags[0] is False
            assert self.training is False
            return self.layer(x)

    record(Flags(), image)


def test_layers_of_torch_keep_their_integers(image):
    def body(module: Does, x: Tensor) -> Tensor:
        assert type(module.head.out_channels) is int
        assert type(module.n) is Size
        return x

    record(Does(body, n=4), image)
