"""What a graph says to questions that make no sense, and how traces are told what to do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from prunekit.errors import TraceError
from prunekit.graph import trace
from prunekit.graph.rules import pointwise
from tests.nets import conv


class Gated(nn.Module):
    """Two halves go separate ways, and stay equally wide."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.one, self.two = conv(3, 16), conv(8, 5), conv(8, 5)
        self.tail = conv(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.head(x).chunk(2, dim=1)
        return self.tail(self.one(first) + self.two(second))


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 12, 12)


def test_a_graph_tells_which_widths_the_code_allows(image):
    graph = trace(Gated(), image)
    (names,) = graph.balances
    assert graph.allows(dict.fromkeys(names, 4))
    assert not graph.allows({names[0]: 4})
    assert {tuple(sorted(set(w.values()))) for w in graph.narrower(names)} >= {(4,), (6,)}


@pytest.mark.parametrize("widths", [{"hed": 4}, {"one stream": 0}, {"one stream": 99}])
def test_widths_that_no_group_can_have_are_refused(widths, image):
    graph = trace(Gated(), image)
    widths = {
        graph.groups[0].name if name == "one stream" else name: w for name, w in widths.items()
    }
    with pytest.raises(TraceError, match=r"no group 'hed'|has from 1 to"):
        graph.allows(widths)


def test_a_graph_is_proven_on_its_own_network_and_inputs_only(image):
    graph = trace(Gated(), image)
    with pytest.raises(TraceError, match="of another network"):
        graph.verify(conv(3, 3), image)
    with pytest.raises(TraceError, match="made at inputs of"):
        graph.verify(Gated(), torch.rand(1, 3, 6, 6))
    with pytest.raises(TraceError, match="is traced, not NoneType"):
        graph.verify(None, image)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attention": None}, "attention=None is no choice"),
        ({"attention": "head"}, "did you mean 'heads'"),
        ({"rules": [pointwise]}, "give a mapping"),
        ({"rules": {1: pointwise}}, "a rule is a function"),
        ({"rules": {"aten.relu": "pointwise"}}, "a rule is a function"),
        ({"rules": {"aten.relou": pointwise}}, "no operator 'aten.relou'; import what"),
        ({"rules": {"mylib.op": pointwise}}, "no operator 'mylib.op'; import what registers"),
        ({"opaque": "head"}, "give a list of globs"),
        ({"opaque": ["haed"]}, "matches no module; did you mean 'head'"),
    ],
)
def test_options_that_make_no_sense_are_refused_in_one_sentence(options, told, image):
    with pytest.raises(TraceError, match=told):
        trace(Gated(), image, **options)


def test_a_rule_that_fails_freezes_and_is_named(image):
    def broken(call: object) -> list[object]:
        raise RuntimeError(call.__class__.__name__)

    graph = trace(Gated(), image, rules={"aten.split": broken})
    texts = {frozen.reason.text for frozen in graph.frozen if frozen.tensor == "head.weight"}
    assert any("its rule, broken, does not know (Call)" in text for text in texts)
