"""`prunekit.prune` and `prunekit.load`: a network in memory, and the way to disk and back."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import prunekit
from prunekit.errors import (
    FileFormatError,
    MeasureError,
    PlanError,
    PrunekitError,
    RecipeError,
    SurgeryError,
    TraceError,
    VerificationError,
)
from prunekit.nets import EDSR
from prunekit.pipeline import stages
from prunekit.pipeline.stages import filters
from prunekit.progress import Silent
from prunekit.recipe import load_recipe
from prunekit.report.content import DENSE, SLIM, SLIM_BEFORE
from tests.nets import conv
from tests.pipeline.samples import split
from tests.untouched import assert_untouched, picture

SMALLEST = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=16, blocks=2)


@pytest.fixture
def image() -> Tensor:
    return torch.rand(1, 3, 12, 12)


def staged(images: Path) -> dict[str, object]:
    prune = {"prune": {"method": "filter", "target": {"channel_ratio": 0.25}, "round_to": 1}}
    train = {"train": {"steps": 2, "batch_size": 2, "patch_size": 8, "distill": {}}}
    return {
        "stages": [prune, train, prune, train],
        "data": split(images),
        "evaluate": {"latency": {"repeats": 2, "warmup": 0, "output_size": [24, 16]}},
        "report": {"formats": ["md"], "crops": 1, "crop_size": 16},
    }


def test_the_smallest_recipe_needs_nothing_but_the_network(dense):
    before = picture(dense)
    result = prunekit.prune(dense, SMALLEST)
    assert_untouched(dense, before)
    assert type(result.model) is EDSR
    assert not result.model.training
    assert result.model.head[0].out_channels == 8
    assert {g.name: len(g.kept) for g in result.plan.groups} == dict.fromkeys(
        ("trunk", "body.0 hidden", "body.1 hidden", "tail.0.0 / 4"), 8
    )
    assert result.report.proof.passed
    assert result.report.proof.input_shapes == ((1, 3, 48, 48), (1, 3, 72, 96))
    assert result.model(torch.rand(1, 3, 7, 9)).shape == (1, 3, 14, 18)


def test_the_report_counts_both_networks_at_1280x720(dense):
    result = prunekit.prune(dense, SMALLEST)
    rows = {entry.name: entry for entry in result.report.entries}
    assert set(rows) == {DENSE, SLIM}
    assert rows[DENSE].params == sum(p.numel() for p in dense.parameters())
    assert rows[SLIM].params == sum(p.numel() for p in result.model.parameters())
    wide = torch.empty(1, 3, 360, 640)
    assert rows[DENSE].macs == prunekit.trace(dense, wide).macs()
    assert rows[SLIM].macs == prunekit.trace(result.model, wide).macs()


def test_recipes_come_as_mapping_path_text_or_recipe(dense, image, tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("prune: {method: filter, target: {channel_ratio: 0.5}}\n", encoding="utf-8")
    results = [
        prunekit.prune(dense, recipe, image)
        for recipe in (SMALLEST, file, str(file), load_recipe(SMALLEST))
    ]
    assert all(result.plan == results[0].plan for result in results)
    assert all(result.recipe == results[0].recipe for result in results)


def test_example_inputs_are_used_and_left_alone(dense, image):
    before = image.clone()
    result = prunekit.prune(dense, SMALLEST, (image,))
    assert result.report.proof.input_shapes[0] == (1, 3, 12, 12)
    assert torch.equal(image, before)
    result = prunekit.prune(dense, SMALLEST, {"lr": image})
    assert result.report.proof.input_shapes[0] == (1, 3, 12, 12)


def test_a_half_precision_network_is_pruned_as_it_is(dense):
    result = prunekit.prune(dense.half(), SMALLEST)
    assert {p.dtype for p in result.model.parameters()} == {torch.float16}
    assert result.report.proof.passed


def test_a_network_in_training_mode_stays_in_it(dense):
    dense.train()
    dense.body[0].eval()
    before = picture(dense)
    result = prunekit.prune(dense, SMALLEST)
    assert_untouched(dense, before)
    assert not any(module.training for module in result.model.modules())


def test_a_network_of_several_inputs_is_pruned_and_counted_on_those():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 16), conv(16, 3)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return self.tail(self.head(x) + self.head(y))

    call = (torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8))
    result = prunekit.prune(Two(), SMALLEST, call)
    assert result.model.head.out_channels == 8
    macs = {entry.name: entry.macs for entry in result.report.entries}
    assert macs == {name: 3 * 3 * width * 9 * 64 for name, width in (("dense", 16), ("slim", 8))}
    (said,) = (s for s in result.report.convention if s.startswith("MACs"))
    assert "for inputs of 1x3x8x8 and 1x3x8x8; flops" in said


def test_a_network_that_cannot_be_counted_is_pruned_all_the_same(dense, image, monkeypatch):
    message = "macs at input (1, 3, 4, 4) cannot be counted"

    def fails(*_: object, **__: object) -> None:
        raise MeasureError(message)

    monkeypatch.setattr(stages, "count", fails)
    told = Listener()
    result = prunekit.prune(dense, SMALLEST, image, progress=told)
    assert result.report.entries == ()
    assert told.warnings[-1] == f"{message}; no macs are stated"


class OneSize(nn.Module):
    """Learned positions: images of 12x12 only."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 16), conv(16, 3)
        self.position = nn.Parameter(torch.rand(1, 1, 12, 12))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x) + self.position)


class Listener(Silent):
    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.stages: list[str] = []

    def start(self, stage: str, total: int | None = None) -> None:
        self.stages.append(f"{stage} {total}" if total else stage)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def test_a_network_that_takes_one_size_only_is_counted_at_that_with_a_warning(image):
    listener = Listener()
    net = OneSize()
    result = prunekit.prune(net, SMALLEST, image, progress=listener)
    rows = {entry.name: entry.macs for entry in result.report.entries}
    assert rows == {DENSE: 2 * 144 * 27 * 16, SLIM: 144 * 27 * 16}
    assert "12x12 output pixels" in " ".join(result.report.convention)
    (warning,) = listener.warnings
    assert warning.endswith("; macs are stated for 12x12 output pixels instead")


class PixelByPixel(nn.Module):
    """A recurrence over the columns of the image, as in a selective scan written in torch."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.again, self.tail = conv(3, 16), nn.Conv2d(16, 16, 1), conv(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        state, columns = 0.0, []
        for column in self.head(x).split(1, dim=3):
            state = torch.tanh(self.again(column) + state)
            columns.append(state)
        return self.tail(torch.cat(columns, dim=3))


def test_a_network_that_loops_over_pixels_is_not_counted_at_a_large_size(image, monkeypatch):
    monkeypatch.setattr(sys.modules["prunekit.pipeline.judge"], "_PATIENCE", (50, 1))
    listener = Listener()
    result = prunekit.prune(PixelByPixel(), SMALLEST, image, progress=listener)
    assert {entry.name for entry in result.report.entries} == {DENSE, SLIM}
    (warning,) = listener.warnings
    assert "runs more than" in warning
    assert warning.endswith("; macs are stated for 12x12 output pixels instead")


@pytest.mark.parametrize("thing", [None, "edsr", EDSR, 5])
def test_what_is_no_module_is_refused(thing):
    with pytest.raises(TraceError, match=r"a torch\.nn\.Module is traced"):
        prunekit.prune(thing, SMALLEST)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(TraceError, match="has no parameters"):
        prunekit.prune(nn.PixelShuffle(2), SMALLEST)


def test_errors_leave_the_network_as_it_was(dense, image, monkeypatch):
    dense.train()
    before = picture(dense)
    with pytest.raises(TraceError):
        prunekit.prune(dense, SMALLEST, image[:, :2])
    unreachable = {"prune": {"method": "filter", "target": {"macs_ratio": 0.999}}}
    with pytest.raises(PlanError, match="out of reach"):
        prunekit.prune(dense, unreachable, image)
    with pytest.raises(RecipeError):
        prunekit.prune(dense, {"prune": {"method": "filter"}}, image)
    parts = {"trace": filters, "apply": filters, "prove": filters, "count": stages}
    for name, part in parts.items():
        with monkeypatch.context() as patch:
            patch.setattr(part, name, interrupt)
            with pytest.raises(KeyboardInterrupt):
                prunekit.prune(dense, SMALLEST, image)
    assert_untouched(dense, before)


def interrupt(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_wrong_rebuild_is_not_handed_out(dense, image, monkeypatch):
    original = filters.apply

    def wrong(plan, model):
        slim = original(plan, model)
        with torch.no_grad():
            slim.tail[1].bias += 1
        return slim

    monkeypatch.setattr(filters, "apply", wrong)
    with pytest.raises(VerificationError, match="differs from the dense one"):
        prunekit.prune(dense, SMALLEST, image)


@pytest.mark.parametrize("criterion", ["l2", "random"])
def test_weights_that_are_not_finite_are_told(dense, image, criterion):
    nn.init.constant_(dense.body[0].body[0].weight, float("nan"))
    recipe = {"prune": {**SMALLEST["prune"], "criterion": criterion}}
    with pytest.raises(PlanError, match=r"'body\.0\.body\.0\.weight' holds numbers that are not"):
        prunekit.prune(dense, recipe, image)


@pytest.fixture(scope="module")
def trained(images):
    torch.manual_seed(1)
    dense = EDSR(channels=16, blocks=2).train()
    listener, image = Listener(), torch.rand(1, 3, 12, 12)
    before = picture(dense)
    result = prunekit.prune(dense, staged(images), image, progress=listener)
    assert_untouched(dense, before)
    return dense, result, listener


def test_stages_run_in_their_order(trained):
    _, result, listener = trained
    work = [s for s in listener.stages if s.startswith(("plan", "verify", "fine-tune"))]
    assert work == ["plan", "verify", "fine-tune 2"] * 2
    assert [curve.stage for curve in result.report.training] == [1, 3]


def test_stages_add_up_to_one_plan(trained):
    dense, result, _ = trained
    assert {len(group.kept) for group in result.plan.groups} == {9}
    assert {group.width for group in result.plan.groups} == {16}
    assert result.model.head[0].out_channels == 9
    again = prunekit.surgery.apply(result.plan, dense)
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in result.model.state_dict().items()
    }


def test_training_changes_the_weights_and_leaves_no_gradients(trained):
    dense, result, _ = trained
    untrained = prunekit.surgery.apply(result.plan, dense)
    assert not torch.equal(untrained.head[0].weight, result.model.head[0].weight)
    assert all(p.grad is None and p.requires_grad for p in result.model.parameters())
    assert not result.model.training


def test_quality_latency_and_cost_are_reported_of_every_network(trained):
    _, result, _ = trained
    rows = {entry.name: entry for entry in result.report.entries}
    assert {DENSE, SLIM_BEFORE, SLIM, "bicubic"} <= set(rows)
    for name in (DENSE, SLIM):
        assert rows[name].params > 0
        assert rows[name].macs > 0
        assert rows[name].latency.repeats == 2
    for row in rows.values():
        assert len(row.quality.images) == 2
    assert rows["bicubic"].quality.psnr > 15
    assert len({row.quality.psnr for row in rows.values()}) == 4


def test_the_seed_decides_the_training_to_the_bit(dense, image, images):
    prune, train, *_ = staged(images)["stages"]
    recipe = {**staged(images), "stages": [prune, train], "evaluate": None}
    first, again, other = (
        prunekit.prune(dense, {**recipe, "seed": seed}, image) for seed in (0, 0, 1)
    )
    weights = [
        torch.cat([p.flatten() for p in r.model.parameters()]) for r in (first, again, other)
    ]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert first.plan == other.plan


def test_training_before_pruning_does_not_touch_the_network_given(dense, image, images):
    prune, train, *_ = staged(images)["stages"]
    recipe = {**staged(images), "stages": [train, prune], "evaluate": None}
    before = picture(dense)
    result = prunekit.prune(dense, recipe, image)
    assert_untouched(dense, before)
    assert {entry.name for entry in result.report.entries} == {DENSE, SLIM}
    untrained = prunekit.surgery.apply(result.plan, dense)
    assert not torch.equal(untrained.head[0].weight, result.model.head[0].weight)


def test_the_scale_that_a_recipe_states_is_checked(dense, image):
    recipe = {**SMALLEST, "model": {"network": "edsr", "scale": 3}}
    with pytest.raises(RecipeError, match=r"model\.scale is 3, but the network turns"):
        prunekit.prune(dense, recipe, image)


def test_images_for_a_network_without_a_scale_are_refused(images, image):
    net = nn.Sequential(conv(3, 16), conv(16, 3), nn.AvgPool2d(2))
    recipe = {**SMALLEST, "data": {"evaluate": {"folder": str(images)}}, "evaluate": {}}
    with pytest.raises(RecipeError, match="no whole multiple of its input"):
        prunekit.prune(net, recipe, image)


# There and back ------------------------------------------------------------------------------


@pytest.fixture
def result(dense, image):
    return prunekit.prune(dense, SMALLEST, image)


def test_a_result_is_saved_whole_and_loaded_bit_exact(image, result, tmp_path):
    folder = result.save(tmp_path / "deep" / "out")
    assert sorted(path.name for path in folder.iterdir()) == [
        "plan.json",
        "recipe.yaml",
        "report.html",
        "report.json",
        "report.md",
        "slim.safetensors",
    ]
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    assert prunekit.Plan.from_json((folder / "plan.json").read_text("utf-8")) == result.plan
    assert json.loads((folder / "report.json").read_text("utf-8"))
    assert load_recipe(folder / "recipe.yaml").steps == result.recipe.steps
    fresh = EDSR(channels=16, blocks=2)
    before = picture(fresh)
    for path in (folder, str(folder), folder / "slim.safetensors"):
        loaded = prunekit.load(path, model=fresh)
        assert torch.equal(loaded(image), result.model(image))
        assert not loaded.training
    assert_untouched(fresh, before)


def test_formats_are_those_of_the_recipe(dense, image, tmp_path):
    result = prunekit.prune(dense, {**SMALLEST, "report": {"formats": []}}, image)
    names = {path.name for path in result.save(tmp_path / "out").iterdir()}
    assert {n for n in names if n.startswith("report")} == {"report.json"}


def test_a_result_overwrites_nothing_unless_told_to(result, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(PrunekitError, match="exists already; pass --overwrite"):
        result.save(folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    with pytest.raises(PrunekitError, match="holds other things than a run"):
        result.save(folder, overwrite=True)
    assert [path.name for path in folder.iterdir()] == ["thesis.txt"]
    folder = result.save(tmp_path / "run")
    (folder / "note.txt").write_text("of the run", encoding="utf-8")
    result.save(folder, overwrite=True)
    assert "note.txt" not in {path.name for path in folder.iterdir()}
    with pytest.raises(PrunekitError, match="is a file"):
        result.save(folder / "plan.json", overwrite=True)


def test_loading_asks_for_the_network_that_was_pruned(result, tmp_path):
    folder = result.save(tmp_path / "out")
    with pytest.raises(FileFormatError, match=r"a network of your own; build it and pass it"):
        prunekit.load(folder)
    with pytest.raises(SurgeryError, match="made for another network"):
        prunekit.load(folder, model=EDSR(channels=16, blocks=3))
    with pytest.raises(FileFormatError, match="no such file"):
        prunekit.load(tmp_path / "nowhere")


def test_a_network_without_values_is_refused(dense):
    with pytest.raises(PlanError, match="on the meta device"):
        prunekit.prune(dense.to("meta"), SMALLEST)


def test_a_network_that_writes_and_draws_leaves_inputs_and_generators_alone(images):
    class Wild(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.tail = conv(3, 16), conv(16, 12)

        def forward(self, x: Tensor) -> Tensor:
            torch.manual_seed(7)
            x -= 0.5
            noise = torch.rand(1, 1, 1, 1) + random.random() + np.random.rand()  # noqa: NPY002, S311
            return nn.functional.pixel_shuffle(self.tail(self.head(x) * noise), 2)

    net, image = Wild(), torch.rand(1, 3, 12, 12)
    given, states = image.clone(), (torch.get_rng_state(), random.getstate())
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002
    recipe = {**SMALLEST, "data": {"evaluate": split(images)["evaluate"]}, "evaluate": {}}
    prunekit.prune(net, recipe, image)
    assert torch.equal(image, given)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert np.array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002


class Asking(nn.Module):
    """Its forward asks for a value, so that nothing can be traced without values."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 16), conv(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.head(x) * float(x.mean().item()))


SMALL = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}, "min_width": 4}}


def test_a_network_that_asks_for_values_is_pruned_and_counted(image):
    result = prunekit.prune(Asking(), SMALL, image)
    assert result.report.proof.passed
    assert [group.width - len(group.kept) for group in result.plan.groups] == [8]
    assert result.plan.macs[1] * 2 == result.plan.macs[0]


def test_how_to_trace_is_handed_on(image):
    with pytest.raises(PlanError, match="declared opaque"):
        prunekit.prune(Asking(), SMALL, image, opaque=["head"])
    with pytest.raises(TraceError, match="attention='none' is no choice"):
        prunekit.prune(Asking(), SMALL, image, attention="none")


class Damped(nn.Module):
    """One of its three pairs of layers is damped if it is wide."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 16, 3, 1, 1), nn.Conv2d(16, 3, 3, 1, 1)
        self.wide = nn.ModuleList(nn.Conv2d(16, 24, 1) for _ in range(3))
        self.back = nn.ModuleList(nn.Conv2d(24, 16, 1) for _ in range(3))

    def forward(self, x):
        x = self.head(x)
        for number, (wide, back) in enumerate(zip(self.wide, self.back, strict=True)):
            inner = wide(x).relu()
            x = x + back(inner / 5 if number == 1 and inner.shape[1] > 20 else inner)
        return self.tail(x)


def test_a_group_that_the_code_decides_by_is_found_and_stays_whole(image):
    result = prunekit.prune(
        Damped(), {"prune": {**SMALLEST["prune"], "round_to": 1, "min_width": 1}}, image
    )
    widths = {group.name: (group.width, len(group.kept)) for group in result.plan.groups}
    reasons = {group.name: group.reason for group in result.plan.groups}

    assert result.model.wide[1].out_channels == 24
    assert result.model.wide[0].out_channels == result.model.wide[2].out_channels == 12
    assert sorted(widths.values()) == [(16, 8), (24, 12), (24, 12), (24, 24)]
    assert [bool(text) for text in reasons.values()].count(True) == 1
    assert "narrower, the slim network with its weights differs" in next(
        text for text in reasons.values() if text
    )
