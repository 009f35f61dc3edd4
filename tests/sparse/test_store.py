"""Sparse files: bit-exact there and back, smaller, opened by `prunekit.load`, never believed."""

from __future__ import annotations

import json
import random
import struct
import tracemalloc
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import prunekit
from prunekit.errors import FileFormatError, SurgeryError
from prunekit.nets import EDSR
from prunekit.pipeline.build import build_network
from prunekit.recipe import ModelSection
from prunekit.sparse import (
    MaskRule,
    Masks,
    Pattern,
    file_sizes,
    is_sparse,
    load_sparse,
    read_sparse,
    save_sparse,
    sizes,
    store,
)
from prunekit.surgery import SLIM_FILE, save_slim
from tests.sparse.samples import half_of_all, masked, mixed, no_plan
from tests.surgery.test_store import bits
from tests.untouched import assert_untouched, picture

RULES = {
    "half": half_of_all(),
    "most": MaskRule("sparsity", 0.97),
    "all but one": MaskRule("sparsity", 0.999),
    "2:4": MaskRule("pattern", pattern=(2, 4)),
    "1:4": MaskRule("pattern", pattern=(1, 4)),
    "1:3": MaskRule("pattern", pattern=(1, 3)),
}
DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def written(path: Path, rule: MaskRule, net: nn.Module | None = None) -> tuple[nn.Module, Masks]:
    net = net or mixed()
    sparse, masks = masked(net, rule)
    save_sparse(path, sparse, no_plan(net), masks, {"factory": "a:b"})
    return sparse, masks


@pytest.fixture(scope="module")
def content(tmp_path_factory) -> bytes:
    """A small sparse file that has all three codes in it."""
    path = tmp_path_factory.mktemp("sparse") / SLIM_FILE
    net = mixed()
    masks = masked(net, MaskRule("pattern", pattern=(2, 4)))[1]
    other = masked(net, MaskRule("sparsity", 0.97, layers=("head",)))[1]
    masks = Masks({**masks.kept, **other.kept}, masks.patterns)
    masks.kept["depthwise.weight"] = torch.rand(8, 1, 3, 3) < 0.5
    sparse = prunekit.sparse.apply_masks(net, masks)
    save_sparse(path, sparse, no_plan(net), masks)
    entries = json.loads(described(path)["sparse"])
    assert {entry["code"] for entry in entries.values()} == {"bits", "gaps", "blocks"}
    return path.read_bytes()


def described(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as opened:
        return json.loads(opened.metadata()["prunekit"])


def forged(path: Path, content: bytes, change) -> Path:
    """Change what a file says, and sign it anew."""
    path.write_bytes(content)
    told, tensors = described(path), load_file(path)
    entries = json.loads(told["sparse"])
    change(tensors, entries, told)
    told["sparse"] = told.pop("raw", None) or json.dumps(entries)
    told["digest"] = store._digest(tensors, told)
    save_file(tensors, path, {"prunekit": json.dumps(told)})
    return path


# there and back


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_round_trip_is_bit_exact(tmp_path, rule, dtype):
    net = mixed().to(dtype)
    with torch.no_grad():  # as after fine-tuning, with every odd number
        odd = torch.tensor([float("inf"), -1e-7, 1, 2, 1e-40], dtype=dtype)
        net.norm.weight[:5] = odd
        net.table.view(-1)[:3] = torch.tensor([float("nan"), -0.0, 1], dtype=dtype)
    sparse, masks = masked(net, rule)
    with torch.no_grad():  # a weight that stays may be any number
        line = (
            sparse.point.weight[masks.kept["point.weight"]]
            if "point.weight" in masks.kept
            else None
        )
        if line is not None and len(line) > 2:
            line[:3] = torch.tensor([0.0, -0.0, float("nan")], dtype=dtype)
            sparse.point.weight[masks.kept["point.weight"]] = line
    save_sparse(tmp_path / SLIM_FILE, sparse, no_plan(net), masks)
    fresh = mixed(1).to(dtype)
    before = picture(fresh)
    loaded = load_sparse(tmp_path, fresh)
    assert_untouched(fresh, before)
    assert bits(loaded) == bits(sparse)
    again = read_sparse(tmp_path).masks
    assert all(torch.equal(again.kept[name], mask) for name, mask in masks.kept.items())
    assert again.kept.keys() == masks.kept.keys()
    assert again.patterns == masks.patterns


def test_a_network_that_was_converted_before_it_was_saved_comes_back_so(tmp_path):
    net = mixed()
    sparse, masks = masked(net, half_of_all())
    save_sparse(tmp_path / SLIM_FILE, sparse.half(), no_plan(net), masks)
    assert bits(load_sparse(tmp_path, mixed())) == bits(sparse)


@pytest.mark.parametrize(("rule", "share"), [("half", 0.55), ("2:4", 0.55), ("1:4", 0.3)])
def test_files_are_really_smaller(tmp_path, rule, share):
    net = EDSR(channels=32, blocks=4)
    sparse, masks = masked(net, RULES[rule])
    plan = no_plan(net)
    save_slim(tmp_path / "dense.safetensors", sparse, plan)
    save_sparse(tmp_path / "sparse.safetensors", sparse, plan, masks)
    dense, small = ((tmp_path / f"{n}.safetensors").stat().st_size for n in ("dense", "sparse"))
    assert small <= share * dense
    found = {size.what: size.bytes for size in file_sizes(sparse, plan, masks)}
    assert abs(found["dense, float32"] - dense) < 100
    assert abs(found["sparse, float32"] - small) < 100
    assert 0.45 * dense < found["dense, float16"] < 0.55 * dense


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "most"), [("imdn_x2", 0.54), ("rfdn_aim_x4", 0.55), ("bsrn_x2", 0.58)]
)
def test_half_of_published_weights_take_about_half_of_the_bytes(shared_data, tmp_path, name, most):
    section = ModelSection(network=name, weights=shared_data / "weights" / f"{name}.safetensors")
    for target in ({"sparsity": 0.5}, {"pattern": "2:4"}):
        net = build_network(section)
        recipe = {"prune": {"method": "unstructured", "target": target}}
        result = prunekit.prune(net, recipe)
        folder = result.save(tmp_path / str(*target))
        save_slim(tmp_path / "dense.safetensors", net, result.plan)
        share = (folder / SLIM_FILE).stat().st_size / (
            tmp_path / "dense.safetensors"
        ).stat().st_size
        loaded = prunekit.load(folder, model=build_network(section))
        assert bits(loaded) == bits(result.model)
        assert share <= most or "pattern" in target
        for module in loaded.modules() if "pattern" in target else ():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.shape[1] % 4 == 0:
                blocks = module.weight.movedim(1, -1).reshape(-1, 4)
                assert ((blocks != 0).sum(1) <= 2).all()


def test_zstd_is_used_where_it_is(monkeypatch):
    net = mixed()
    sparse, masks = masked(net, half_of_all())
    plan = no_plan(net)

    class Library:
        class ZstdCompressor:
            def __init__(self, level):
                self.level = level

            def compress(self, content):
                return content[: self.level]

    def library(name):
        if name == "zstandard":
            return Library
        raise ImportError

    monkeypatch.setattr(sizes, "import_module", library)
    last = file_sizes(sparse, plan, masks)[-1]
    assert (last.bytes, last.note) == (sizes._LEVEL, f"level {sizes._LEVEL}, by zstandard")

    def none(_name):
        raise ImportError

    monkeypatch.setattr(sizes, "import_module", none)
    last = file_sizes(sparse, plan, masks)[-1]
    assert last.bytes is None
    assert "zstandard" in last.note


def test_dense_files_are_not_taken_for_sparse_ones(tmp_path):
    net = mixed()
    save_slim(tmp_path / SLIM_FILE, net, no_plan(net))
    assert not is_sparse(tmp_path)
    assert not is_sparse(tmp_path / "nothing")
    with pytest.raises(FileFormatError, match="has format 'prunekit-slim/1'"):
        read_sparse(tmp_path)
    written(tmp_path / "x.safetensors", half_of_all())
    assert is_sparse(tmp_path / "x.safetensors")
    with pytest.raises(FileFormatError, match="has format 'prunekit-sparse/1'"):
        prunekit.surgery.read_slim(tmp_path / "x.safetensors")


def test_weights_that_are_not_zero_where_their_mask_says_are_not_written(tmp_path):
    net = mixed()
    sparse, masks = masked(net, half_of_all())
    for value in (1e-30, -0.0):
        with torch.no_grad():
            sparse.point.weight[~masks.kept["point.weight"]] = value
        with pytest.raises(SurgeryError, match=r"'point\.weight' is not zero where its mask"):
            save_sparse(tmp_path / "x", sparse, no_plan(net), masks)
    with pytest.raises(SurgeryError, match="'nobody' is of no tensor"):
        save_sparse(tmp_path / "x", net, no_plan(net), Masks({"nobody": torch.ones(1).bool()}))
    assert not (tmp_path / "x").exists()


def test_names_that_sparse_files_need_are_refused(tmp_path):
    net = mixed()
    net.register_parameter("a:places", nn.Parameter(torch.ones(1)))
    with pytest.raises(SurgeryError, match="keep for themselves"):
        save_sparse(tmp_path / "x", net, no_plan(net), Masks({}))


def test_another_network_is_refused(tmp_path):
    written(tmp_path / SLIM_FILE, half_of_all())
    with pytest.raises(SurgeryError, match="made for another network"):
        load_sparse(tmp_path, EDSR(channels=8, blocks=1))


# hostile files


def set_(name, key, value):
    def change(_tensors, entries, _told):
        entries[name][key] = value

    return change


def with_tensor(name, value):
    def change(tensors, _entries, _told):
        tensors[name] = value(tensors[name]) if callable(value) else value

    return change


def without(name):
    def change(tensors, _entries, _told):
        del tensors[name]

    return change


def told(key, value):
    def change(_tensors, _entries, described):
        described[key] = value

    return change


POINT, HEAD, DEEP = "point.weight", "head.weight", "depthwise.weight"
FORGERIES = {
    "too few values": with_tensor(POINT, lambda t: t[:-1].clone()),
    "too many values": with_tensor(POINT, lambda t: torch.cat([t, t[:1]])),
    "values of two axes": with_tensor(POINT, lambda t: t.reshape(2, -1)),
    "values that are no line": with_tensor(POINT, lambda t: t[0].clone()),
    "truncated code": with_tensor(f"{POINT}:places", lambda t: t[:-1].clone()),
    "code with more": with_tensor(f"{POINT}:places", lambda t: torch.cat([t, t])),
    "overlapping places": with_tensor(f"{POINT}:places", lambda t: t * 0),
    "code of other numbers": with_tensor(f"{POINT}:places", lambda t: t.short()),
    "bits of more values": with_tensor(f"{DEEP}:places", lambda t: t | 255),
    "gaps that end early": with_tensor(f"{HEAD}:places", lambda t: t * 0),
    "gaps that end late": with_tensor(f"{HEAD}:places", lambda t: t.clamp(200, 254)),
    "gaps without an end": with_tensor(f"{HEAD}:places", lambda t: t * 0 + 255),
    "code is missing": without(f"{POINT}:places"),
    "values are missing": without(POINT),
    "another tensor is missing": without("norm.bias"),
    "a code too much": with_tensor("norm.bias:places", torch.ones(1, dtype=torch.uint8)),
    "a tensor too much": with_tensor("nobody", torch.ones(1)),
    "another code": set_(POINT, "code", "bits"),
    "unknown code": set_(POINT, "code", "runs"),
    "code that is a list": set_(POINT, "code", [1]),
    "longer shape": set_(POINT, "shape", [12, 9]),
    "shape of the same size": set_(POINT, "shape", [8, 12]),
    "shape of one more axis": set_(DEEP, "shape", [8, 1, 3, 3, 1]),
    "shape without end": set_(HEAD, "shape", [2**40, 2**40]),
    "huge shape": set_(HEAD, "shape", [2**36]),
    "negative shape": set_(HEAD, "shape", [-8, -3, 3, 3]),
    "shape of nine axes": set_(HEAD, "shape", [216, *[1] * 8]),
    "no axis": set_(HEAD, "shape", []),
    "shape of text": set_(HEAD, "shape", "8333"),
    "shape of floats": set_(HEAD, "shape", [8.0, 3.0, 3.0, 3.0]),
    "shape of truths": set_(HEAD, "shape", [True, 216]),
    "pattern of another axis": set_("grouped.weight", "pattern", [2, 4, 2]),
    "pattern of no axis": set_(POINT, "pattern", [2, 4, 2]),
    "pattern of a negative axis": set_(POINT, "pattern", [2, 4, -1]),
    "another pattern": set_(POINT, "pattern", [1, 4, 1]),
    "pattern of all": set_(POINT, "pattern", [4, 4, 1]),
    "pattern of nothing": set_(POINT, "pattern", [0, 4, 1]),
    "pattern of no block": set_(POINT, "pattern", [2, 0, 1]),
    "pattern too large": set_(POINT, "pattern", [2, 2**30, 1]),
    "pattern too short": set_(POINT, "pattern", [2, 4]),
    "pattern that does not hold": set_(DEEP, "pattern", [1, 3, 3]),
    "entry that is a number": lambda _t, entries, _d: entries.update({POINT: 7}),
    "entry of nothing": lambda _t, entries, _d: entries.update({"nobody": entries[POINT]}),
    "entry missing": lambda _t, entries, _d: entries.pop(POINT),
    "entries that are a list": told("raw", "[]"),
    "entries that are no JSON": told("raw", "{"),
    "entries nested too deep": told("raw", "[" * 100_000),
    "plan that is none": told("plan", "{}"),
    "network that is none": told("network", "7"),
    "format of tomorrow": told("format", "prunekit-sparse/2"),
    "format of numbers": told("format", 1),
}


@pytest.mark.parametrize("change", FORGERIES.values(), ids=FORGERIES)
def test_files_that_are_forged_with_a_right_digest_are_refused(content, tmp_path, change):
    path = forged(tmp_path / SLIM_FILE, content, change)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match=r"slim\.safetensors"):
        load_sparse(path, mixed())
    assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    tracemalloc.stop()


def test_what_is_left_whole_by_a_forgery_is_not_refused(content, tmp_path):
    path = forged(tmp_path / SLIM_FILE, content, lambda *_: None)
    assert bits(load_sparse(path, mixed(1))) == bits(load_sparse(path, mixed(2)))


def test_three_hundred_corruptions_end_in_a_sentence(content, tmp_path):
    draw = random.Random(11)  # noqa: S311
    path = tmp_path / SLIM_FILE
    refused = 0
    for number in range(300):
        data = bytearray(content)
        match number % 4:
            case 0:  # some bits
                for _ in range(draw.randrange(1, 4)):
                    data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
            case 1:  # cut off
                del data[draw.randrange(len(data)) :]
            case 2:  # a piece doubled, or taken out
                start = draw.randrange(len(data))
                piece = data[start : start + draw.randrange(1, 200)]
                data[start : start + (len(piece) if draw.random() < 0.5 else 0)] = piece * 2
            case 3:  # numbers in the header
                size = struct.unpack("<Q", data[:8])[0]
                header = data[8 : 8 + size].decode()
                digits = [i for i, c in enumerate(header) if c.isdigit()]
                place = 8 + draw.choice(digits)
                data[place : place + 1] = str(draw.randrange(10)).encode()
        if bytes(data) == content:
            continue
        path.write_bytes(data)
        with pytest.raises(FileFormatError, match=r"slim\.safetensors"):
            load_sparse(path, mixed())
        refused += 1
    assert refused >= 200


def test_two_hundred_signed_corruptions_end_in_a_sentence_or_the_right_network(content, tmp_path):
    """Bits of codes and values change, and the digest with them: no crash, no wrong shape."""
    draw = random.Random(12)  # noqa: S311
    told = 0
    for _ in range(200):

        def change(tensors, _entries, _described):
            name = draw.choice([n for n in tensors if n.endswith(":places")])
            line = tensors[name].clone()
            line[draw.randrange(len(line))] ^= 1 << draw.randrange(8)
            tensors[name] = line

        path = forged(tmp_path / SLIM_FILE, content, change)
        try:
            loaded = load_sparse(path, mixed())
        except FileFormatError:
            told += 1
            continue
        found = read_sparse(path)
        for name, mask in found.masks.kept.items():
            assert not loaded.get_parameter(name)[~mask].any()
    assert told > 100


def test_no_more_memory_is_taken_than_the_file_can_explain(tmp_path, content):
    """Four thousand million zeros in a file of some kilobytes."""
    length = 2**32

    def change(tensors, entries, _described):
        entries[HEAD] = {"shape": [length], "code": "gaps"}
        tensors[HEAD] = tensors[HEAD][:0].clone()
        tensors[f"{HEAD}:places"] = torch.tensor([7], dtype=torch.uint8)

    path = forged(tmp_path / SLIM_FILE, content, change)
    tracemalloc.start()
    with pytest.raises(FileFormatError, match="far more than what the file holds"):
        read_sparse(path)
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_pattern_reads_as_people_write_it():
    assert str(Pattern(2, 4, 1)) == "2:4"
