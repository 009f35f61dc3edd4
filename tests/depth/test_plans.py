"""Plans that remove blocks: as data, composed with others, and in the files of slim networks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

import prunekit
from prunekit.depth import plan_blocks
from prunekit.errors import FileFormatError, PrunekitError, SurgeryError
from prunekit.graph import trace
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.sparse import Masks, follow_plan
from prunekit.surgery import apply, export, save_slim, verify
from tests.depth.nets import Edsr, Rcan, Windowed, built, image
from tests.surgery.test_store import bits


def by_blocks(net, *names: str) -> Plan:
    return plan_blocks(trace(net, image()), names)


def by_filters(net) -> Plan:
    graph = trace(net, image())
    scores = score_groups(net, graph.groups, "l2")
    return make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))


# as data


def test_json_loses_nothing_and_a_plan_without_blocks_is_written_as_before():
    net = built(Rcan)
    plan = by_blocks(net, "body.0.body.1", "body.1")
    assert Plan.from_json(plan.to_json()) == plan
    assert json.loads(plan.to_json())["blocks"] == ["body.0.body.1", "body.1"]
    plain = by_filters(net)
    assert "blocks" not in json.loads(plain.to_json())
    assert Plan.from_json(plain.to_json()) == plain


DAMAGES = {
    "no list": "body.0",
    "a number": [0],
    "nothing": [""],
    "null": None,
    "twice": ["body.0", "body.0"],
    "one in another": ["body.0", "body.0.body.1"],
    "the other way round": ["body.0.body.1", "body.0"],
}


@pytest.mark.parametrize("blocks", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_list_of_blocks_is_refused(blocks):
    data = json.loads(by_blocks(built(Rcan), "body.0").to_json())
    with pytest.raises(FileFormatError, match="not a plan of prunekit"):
        Plan.from_json(json.dumps({**data, "blocks": blocks}))


def test_a_plan_tells_its_blocks_and_what_another_does_otherwise():
    net = built(Edsr)
    one, other = by_blocks(net, "body.0", "body.1"), by_blocks(net, "body.1")
    assert "  body.0: removed\n  body.1: removed\n" in repr(one)
    assert "  body.0 hidden: 8 -> 0" in repr(one)
    difference = one.diff(other)
    assert difference.blocks == (("body.0", True),)
    assert "  body.0: removed here only" in repr(difference)
    assert not one.diff(one)


# composed


@pytest.mark.parametrize("kind", [Edsr, Rcan, Windowed])
@pytest.mark.parametrize("first", ["blocks", "filters"])
def test_a_composed_plan_does_what_both_do_in_turn(kind, first):
    net = built(kind)
    makers = {"blocks": lambda net: by_blocks(net, kind.found[-1]), "filters": by_filters}
    second = "filters" if first == "blocks" else "blocks"
    one = makers[first](net)
    between = apply(one, net)
    two = makers[second](between)
    whole = one.then(two)
    assert bits(apply(whole, net)) == bits(apply(two, between))
    assert Plan.from_json(whole.to_json()) == whole
    assert whole.blocks == (kind.found[-1],)
    assert not [t.name for t in whole.tensors if t.name.startswith(f"{kind.found[-1]}.")]
    verify(net, apply(whole, net), whole, image())
    left = trace(apply(whole, net), image())
    assert (left.params(), left.macs()) == (whole.params[1], whole.macs[1])


def test_a_block_around_one_that_is_gone_takes_its_place():
    net = built(Rcan)
    inner = by_blocks(net, "body.0.body.1")
    outer = by_blocks(apply(inner, net), "body.0")
    whole = inner.then(outer)
    assert whole.blocks == ("body.0",)
    assert bits(apply(whole, net)) == bits(apply(by_blocks(net, "body.0"), net))


def test_masks_leave_with_their_block():
    net = built(Edsr)
    kept = {n: p > 0 for n, p in net.named_parameters() if p.ndim > 1}
    masks = Masks(kept, dense={"body.0.act": "made up", "tail": "made up"})
    left = follow_plan(masks, by_blocks(net, "body.0"))
    assert left.kept.keys() == {n for n in kept if not n.startswith("body.0.")}
    assert left.dense == {"tail": "made up"}


# in files


@pytest.mark.parametrize("kind", [Edsr, Windowed])
def test_a_file_gives_the_same_bits_back(kind, tmp_path):
    net, file = built(kind), tmp_path / "slim.safetensors"
    plan = by_blocks(net, kind.found[0])
    slim = apply(plan, net)
    save_slim(file, slim, plan)
    assert bits(prunekit.load(file, model=kind())) == bits(slim)


OTHERS = {
    "body.7": "removes the block 'body.7', which this Edsr does not have",
    "body.1": "is not as the plan leaves it; the file is damaged",
    "body.0.one": "is not as the plan leaves it; the file is damaged",
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_file_with_another_block_in_its_plan_is_refused(name, tmp_path):
    net, file = built(Edsr), tmp_path / "slim.safetensors"
    plan = by_blocks(net, "body.0")
    save_slim(file, apply(plan, net), replace(plan, blocks=(name,)))
    with pytest.raises(PrunekitError, match=OTHERS[name]) as raised:
        prunekit.load(file, model=Edsr())
    assert isinstance(raised.value, FileFormatError | SurgeryError)


@pytest.mark.parametrize("kind", [Edsr, Windowed])
def test_slim_networks_are_exported(kind, tmp_path):
    net = built(kind)
    slim = apply(by_blocks(net, kind.found[-1]), net)
    found = export(slim, tmp_path / "slim.pt2", image())
    opened = torch.export.load(found.path).module()
    with torch.no_grad():
        torch.testing.assert_close(opened(image()), slim(image()))


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_slim_networks_are_written_as_onnx(tmp_path):
    pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    net = built(Windowed)
    slim, file = apply(by_blocks(net, "blocks.1"), net), tmp_path / "slim.onnx"
    torch.onnx.export(slim, (image(),), str(file), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image().numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), slim(image()), rtol=1e-4, atol=1e-5)
