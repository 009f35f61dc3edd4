"""What removing units of one group alone costs: measured right, once, and kept."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from prunekit.data.pairs import ImagePair
from prunekit.data.resize import downscale
from prunekit.errors import CacheError, MeasureError
from prunekit.graph import ChannelGraph, trace
from prunekit.measure import sensitivity
from prunekit.measure.evaluate import super_resolve_pair
from prunekit.measure.quality import psnr_y
from prunekit.measure.sensitivity import Measurements, Probe, measure_sensitivity, sample
from prunekit.nets import EDSR
from prunekit.plan import Policy, Sensitivity
from prunekit.progress import Silent
from prunekit.score import score_groups
from tests.nets import conv
from tests.untouched import assert_untouched, picture

POLICY = Policy(round_to=4, min_width=4)


def image(seed: int, height: int = 24, width: int = 32) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 4, width // 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=0).repeat(4, axis=1)


def pair(seed: int) -> ImagePair:
    hr = image(seed)
    return ImagePair(str(seed), downscale(hr, 2), hr)


PAIRS = [pair(1), pair(2)]


class Counter(Silent):
    """Remembers what it was told, and may fail after some steps."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.notes: list[str] = []
        self.steps = 0
        self._stop_after = stop_after

    def advance(self, **_: float) -> None:
        self.steps += 1
        if self.steps == self._stop_after:
            raise KeyboardInterrupt

    def finish(self, note: str = "") -> None:
        self.notes.append(note)


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=16, blocks=2)


def graph_of(model: nn.Module) -> ChannelGraph:
    return trace(model, torch.zeros(1, 3, 12, 12))


def measured(
    model: nn.Module,
    folder=None,
    *,
    pairs=PAIRS,
    criterion="l2",
    points=8,
    policy=POLICY,
    progress=None,
    store=None,
) -> tuple[Sensitivity, str]:
    """Measure, and say how many were."""
    told = progress or Counter()
    graph = graph_of(model)
    scores = score_groups(model, graph.groups, criterion)
    probe = Probe(pairs, 2, points, store or Measurements(folder), told)
    found = measure_sensitivity(model, graph, scores, probe, policy=policy, held={})
    return found, told.notes[-1]


def without(model: EDSR, graph: ChannelGraph, name: str, gone: list[int]) -> nn.Module:
    """A copy in which the slices of some units are zero."""
    copied = EDSR(channels=16, blocks=2)
    copied.load_state_dict(model.state_dict())
    state = dict(copied.named_parameters())
    with torch.no_grad():
        for member in graph[name].members:
            places = torch.from_numpy(member.indices[gone].ravel())
            state[member.tensor].index_fill_(member.axis, places, 0.0)
    return copied.eval()


def test_a_curve_is_what_the_network_gives_with_the_least_units_switched_off(dense):
    before = picture(dense)
    graph = graph_of(dense)
    scores = score_groups(dense, graph.groups, "l2")
    found, _ = measured(dense)
    assert_untouched(dense, before)
    assert [curve.groups for curve in found.curves] == [(name,) for name in graph.widths]
    for curve in found.curves:
        (name,) = curve.groups
        assert curve.removed == (4, 8, 12)
        for removed, psnr in zip(curve.removed, curve.psnr_y, strict=True):
            gone = np.argsort(scores[name], kind="stable")[:removed].tolist()
            zeroed = without(dense, graph, name, gone)
            direct = fmean(psnr_y(super_resolve_pair(zeroed, p), p.hr, 2) for p in PAIRS)
            assert psnr == pytest.approx(direct, abs=0.02)  # a pixel may round otherwise
    direct = fmean(psnr_y(super_resolve_pair(dense, p), p.hr, 2) for p in PAIRS)
    assert found.dense == pytest.approx(direct, abs=1e-4)
    assert (found.images, found.border, found.unfit) == (2, 2, {})


def test_a_second_run_measures_nothing(dense, tmp_path, monkeypatch):
    first, note = measured(dense, tmp_path)
    assert note == "12 measured, 0 known before"
    monkeypatch.setattr(sensitivity, "apply", None)
    again, note = measured(dense, tmp_path)
    assert again == first
    assert note == "0 measured, 12 known before"


def test_without_a_folder_a_second_run_with_the_same_store_measures_nothing(dense):
    store = Measurements()
    first, _ = measured(dense, store=store)
    again, note = measured(dense, store=store)
    assert (again, note) == (first, "0 measured, 12 known before")


def test_what_was_measured_before_an_interruption_is_kept(dense, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        measured(dense, tmp_path, progress=Counter(stop_after=5))
    _, note = measured(dense, tmp_path)
    assert note == "7 measured, 5 known before"


@pytest.mark.parametrize("what", ["weights", "images", "code"])
def test_what_has_changed_is_measured_anew(dense, tmp_path, what):
    measured(dense, tmp_path)
    pairs = PAIRS
    with torch.no_grad():
        if what == "weights":
            dense.tail[1].bias[0] += 0.1
        elif what == "images":
            pairs = [PAIRS[0], pair(3)]
        else:
            dense.rgb_range *= 1.5  # no weight, but another network
    _, note = measured(dense, tmp_path, pairs=pairs)
    assert note == "12 measured, 0 known before"


def test_only_widths_that_are_new_are_measured_and_those_of_other_units(dense, tmp_path):
    measured(dense, tmp_path, points=1)
    _, note = measured(dense, tmp_path, points=2)
    assert note == "4 measured, 4 known before"
    _, note = measured(dense, tmp_path, criterion="random", points=1)
    assert note == "4 measured, 0 known before"


def test_points_are_spread_and_the_narrowest_is_one(dense):
    found, _ = measured(dense, points=2, policy=Policy(round_to=1, min_width=2))
    assert all(curve.removed == (1, 14) for curve in found.curves)
    found, _ = measured(dense, points=1)
    assert all(curve.removed == (12,) for curve in found.curves)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"format": "other", "psnr_y": {}}', "\0"])
def test_a_file_that_is_damaged_is_measured_anew(dense, tmp_path, content):
    measured(dense, tmp_path, points=1)
    (file,) = tmp_path.rglob("*.json")
    whole = file.read_text()
    file.write_text(content)
    _, note = measured(dense, tmp_path, points=1)
    assert note == "4 measured, 0 known before"
    assert json.loads(file.read_text()) == json.loads(whole)


def test_a_folder_that_takes_nothing_is_told(dense, tmp_path):
    (tmp_path / "sensitivity").write_text("a file")
    with pytest.raises(CacheError, match=r"measurements cannot be kept in .*PRUNEKIT_CACHE"):
        measured(dense, tmp_path)


def test_two_that_measure_at_once_keep_what_both_found(tmp_path):
    one, two = Measurements(tmp_path), Measurements(tmp_path)
    assert one.find("c" * 64, "a") is two.find("c" * 64, "a") is None
    one.keep("c" * 64, "a", 1.0)
    two.keep("c" * 64, "b", 2.0)
    fresh = Measurements(tmp_path)
    assert (fresh.find("c" * 64, "a"), fresh.find("c" * 64, "b")) == (1.0, 2.0)


class Picky(nn.Module):
    """Its code does not let the second layer shrink."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 8), conv(8, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        x = self.mid(torch.relu(self.head(x)))
        if (self.mid.weight.shape[0] ** 0.5) ** 2 < 7.5:
            message = "too narrow"
            raise RuntimeError(message)
        return nn.functional.pixel_shuffle(self.tail(torch.relu(x)), 2)


def test_a_group_without_which_the_network_does_not_run_is_told():
    torch.manual_seed(0)
    found, _ = measured(Picky())
    assert list(found.unfit) == ["mid"]
    assert found.unfit["mid"].startswith("narrower, image '1': the network fails on an image")
    assert [curve.groups for curve in found.curves] == [("head",)]


def test_a_network_that_gives_no_image_is_refused(dense):
    with torch.no_grad():
        dense.tail[1].bias.fill_(float("nan"))
    graph = graph_of(dense)
    scores = {group.name: np.ones(group.width) for group in graph.groups}
    probe = Probe(PAIRS, 2, 8, Measurements(), Silent())
    with pytest.raises(MeasureError, match="not finite"):
        measure_sensitivity(dense, graph, scores, probe, policy=POLICY, held={})


def test_images_are_sampled_from_all_and_cut_in_the_middle():
    pairs = [pair(seed) for seed in range(7)]
    chosen = sample(pairs, 3, 8)
    assert [p.name for p in chosen] == ["0", "3", "6"]
    assert all(p.lr.shape == (8, 8, 3) and p.hr.shape == (16, 16, 3) for p in chosen)
    assert (chosen[0].lr == pairs[0].lr[2:10, 4:12]).all()
    assert (chosen[0].hr == pairs[0].hr[4:20, 8:24]).all()
    assert [p.lr.shape for p in sample(pairs[:2], 5, 100)] == [(12, 16, 3)] * 2


def test_images_of_16_bits_are_compared_with_8():
    deep = ImagePair("deep", *(a.astype(np.uint16) * 257 for a in (PAIRS[0].lr, PAIRS[0].hr)))
    (cut,) = sample([deep], 1, 100)
    assert (cut.lr == PAIRS[0].lr).all()
    assert cut.hr.dtype == np.uint8
