"""Recipes that set weights to zero: alone, with filters, with distillation; to disk and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune as torch_prune

import prunekit
from prunekit.cli import main
from prunekit.errors import PlanError, TrainError
from prunekit.nets import EDSR
from prunekit.recipe import load_recipe
from prunekit.report import headline, to_html, to_json, to_markdown
from prunekit.report.content import DENSE, SLIM, SLIM_BEFORE
from prunekit.sparse import check_zeros, has_torch_masks, is_sparse, prove_masks, read_sparse
from tests.pipeline.samples import split
from tests.surgery.test_store import bits
from tests.untouched import assert_untouched, picture

HALF = {"method": "unstructured", "target": {"sparsity": "50%"}}
FILTERS = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 1, "min_width": 1}
TRAIN = {"steps": 4, "batch_size": 2, "patch_size": 8, "learning_rate": 1e-2, "ema": 0.9}


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=16, blocks=2)


def stages(images: Path, *sections: dict[str, object]) -> dict[str, object]:
    """One stage a section: those with `steps` train."""
    return {
        "stages": [{"train" if "steps" in s else "prune": s} for s in sections],
        "data": split(images),
        "report": {"crops": 0},
    }


def share_of_zeros(model: nn.Module) -> float:
    weights = [p for p in model.parameters() if p.ndim > 1]
    return sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)


# one shot


def test_half_of_the_weights_go_and_nothing_else_changes(dense):
    before = picture(dense)
    result = prunekit.prune(dense, {"prune": HALF})
    assert_untouched(dense, before)
    assert type(result.model) is EDSR
    assert not result.model.training
    proof = prove_masks(dense.eval(), result.model, result.masks)
    assert result.report.sparsity.proof == proof
    assert share_of_zeros(result.model) == pytest.approx(0.5, abs=1e-3)
    assert result.plan.tensors == ()
    assert result.report.proof is None


def test_the_report_tells_it_layer_by_layer_and_promises_no_speed(dense):
    result = prunekit.prune(dense, {"prune": {**HALF, "protect": ["head.0"]}})
    report = result.report
    rows = {row.name: row for row in report.sparsity.rows}
    assert rows["head.0.weight"].zeros == 0
    assert rows["head.0.weight"].reason == "protected"
    assert rows["body.0.body.0.weight"].zeros == 16 * 16 * 9 // 2
    assert report.sparsity.zeros == result.masks.zeros
    entries = {entry.name: entry for entry in report.entries}
    assert entries[DENSE].macs == entries[SLIM].macs
    assert any("no speed is gained without sparse kernels" in note for note in report.notes)
    zeros = f"{100 * report.sparsity.zeros / report.sparsity.weights:.1f} %"
    assert f"as many MACs as before, {zeros} of the weights" in headline(report).lower().replace(
        "macs", "MACs"
    )
    assert f"with {result.masks.zeros:,} weights set to zero" in headline(report)
    for text in (to_markdown(report), to_html(report)):
        assert "What is zero" in text
        assert "body.0.body.0.weight" in text
        assert "On disk" in text
    written = json.loads(to_json(report))["sparsity"]
    assert {file["what"] for file in written["files"]} >= {"dense, float32", "sparse, float32"}
    assert written["proof"]["zeros"] == result.masks.zeros


def test_filters_alone_say_nothing_of_zeros(dense):
    target = {"channel_ratio": 0.5}
    result = prunekit.prune(dense, {"prune": {"method": "filter", "target": target}})
    assert result.masks is None
    assert result.report.sparsity is None
    assert "What is zero" not in to_markdown(result.report)


@pytest.mark.parametrize("store", ["sparse", "dense"])
def test_a_result_is_saved_and_loaded(dense, tmp_path, store):
    result = prunekit.prune(dense, {"prune": {**HALF, "store": store}})
    folder = result.save(tmp_path / "slim")
    assert is_sparse(folder) == (store == "sparse")
    loaded = prunekit.load(folder, model=EDSR(channels=16, blocks=2))
    assert bits(loaded) == bits(result.model)
    assert not loaded.training
    if store == "sparse":
        again = read_sparse(folder).masks
        assert all(torch.equal(again.kept[n], mask) for n, mask in result.masks.kept.items())


def test_a_pattern_is_met_by_every_layer_that_can(dense):
    result = prunekit.prune(dense, {"prune": {**HALF, "target": {"pattern": "2:4"}}})
    rows = {row.name: row for row in result.report.sparsity.rows}
    assert rows.pop("head.0.weight").reason == "its input dimension 3 is no multiple of 4"
    for name, row in rows.items():
        assert row.pattern == "2:4"
        blocks = result.model.get_parameter(name).movedim(1, -1).reshape(-1, 4)
        assert ((blocks != 0).sum(1) == 2).all()
    if not torch.cuda.is_available():
        assert any("2:4 kernels of torch need an NVIDIA GPU" in n for n in result.report.notes)


def test_masks_of_torch_are_taken_over(dense):
    torch_prune.random_unstructured(dense.body[0].body[0], "weight", amount=0.3)
    mask = dense.body[0].body[0].weight_mask.bool()
    result = prunekit.prune(dense, {"prune": HALF})
    assert has_torch_masks(dense)
    assert not has_torch_masks(result.model)
    name = "body.0.body.0.weight"
    assert not (result.masks.kept[name] & ~mask).any()
    assert int((~result.masks.kept[name]).sum()) == 16 * 16 * 9 // 2


@pytest.mark.parametrize("criterion", ["l2", "group_norm"])
def test_what_masks_of_torch_hide_is_worth_nothing_to_filters(dense, criterion):
    """Large weights under a mask are not there: their channels leave first."""
    layer, dead = dense.body[0].body[0], list(range(1, 16, 2))
    with torch.no_grad():
        layer.weight[dead] *= 100
    mask, alive = torch.ones_like(layer.weight), torch.ones(16)
    mask[dead], alive[dead] = 0, 0
    torch_prune.custom_from_mask(layer, "weight", mask)
    torch_prune.custom_from_mask(layer, "bias", alive)
    section = {**FILTERS, "criterion": criterion, "protect": ["trunk"]}
    result = prunekit.prune(dense, {"prune": section})
    (kept,) = [g.kept for g in result.plan.groups if g.name == "body.0 hidden"]
    assert kept == tuple(range(0, 16, 2))
    assert not has_torch_masks(result.model)
    assert has_torch_masks(dense)


def test_masks_of_torch_stay_zero_in_training(dense, images, tmp_path):
    torch_prune.l1_unstructured(dense.body[0].body[0], "weight", amount=0.5)
    recipe = stages(images, {**FILTERS, "protect": ["body.0 hidden", "trunk"]}, TRAIN)
    result = prunekit.prune(dense, recipe)
    weight = result.model.body[0].body[0].weight
    assert int((weight == 0).sum()) == weight.numel() // 2
    result.save(tmp_path / "slim")
    loaded = prunekit.load(tmp_path / "slim", EDSR(channels=16, blocks=2))
    assert sorted(bits(loaded)) == sorted(bits(result.model))  # torch moves what it masks


def test_masks_are_looked_at_before_anything_is_trained(dense, images, tmp_path):
    def refused(*sections, match):
        with pytest.raises(PlanError, match=match):
            prunekit.prune(dense, stages(images, *sections), work_folder=tmp_path / "work")
        assert not list(tmp_path.rglob("*.safetensors"))

    late = {"gradual": {"until": 3, "every": 1}}
    refused({**HALF, **late, "layers": ["zz"]}, TRAIN, match="'zz' matches no convolution")
    refused(TRAIN, {**HALF, "target": {"pattern": "3:7"}}, match="3:7 fits no layer")
    refused(FILTERS, TRAIN, {**HALF, "protect": ["zz"]}, match="'zz' matches no convolution")
    little = {**HALF, **late, "target": {"weight_ratio": 0.9}, "layers": ["body.*"]}
    refused(little, TRAIN, match="out of reach")


def test_a_target_that_sets_nothing_to_zero_is_refused(dense):
    with pytest.raises(PlanError, match="the target sets no weight to zero"):
        prunekit.prune(dense, {"prune": {**HALF, "target": {"sparsity": 1e-7}}})


def test_a_target_out_of_reach_and_a_glob_of_nothing_are_refused(dense):
    section = {**HALF, "target": {"weight_ratio": 0.9}, "layers": ["body.*"]}
    with pytest.raises(PlanError, match=r"out of reach: the layers in scope hold"):
        prunekit.prune(dense, {"prune": section})
    with pytest.raises(PlanError, match=r"prune\.layers: 'bodi' matches no convolution"):
        prunekit.prune(dense, {"prune": {**HALF, "layers": ["bodi"]}})


def test_a_network_that_cannot_be_saved_is_pruned_all_the_same(dense):
    class Stateful(nn.Module):
        def get_extra_state(self):
            return {"seen": 1}

        def set_extra_state(self, state):
            pass

    dense.counter = Stateful()
    result = prunekit.prune(dense, {"prune": HALF})
    check_zeros(result.model, result.masks)
    assert result.report.sparsity.files == ()
    assert any("No file was measured: 'counter._extra_state'" in n for n in result.report.notes)


# training


@pytest.mark.parametrize(
    "course",
    [{}, {"gradual": {"until": 3, "every": 1}}, {"shrink": {"until": 3, "factor": 0.5}}],
    ids=["one shot", "gradual", "shrink"],
)
@pytest.mark.parametrize("target", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_zeros_are_exact_after_training(dense, images, tmp_path, course, target):
    recipe = stages(images, {**HALF, **course, "target": target}, {**TRAIN, "distill": {}})
    result = prunekit.prune(dense, recipe)
    check_zeros(result.model, result.masks)
    assert result.masks.sparsity == pytest.approx(0.5, abs=1e-3)
    assert result.report.training[0].steps[-1] == 4
    proven = result.report.sparsity.proof
    assert (proven is None) == bool(course)
    assert any("came about in training" in note for note in result.report.notes) == bool(course)
    loaded = prunekit.load(result.save(tmp_path / "slim"), model=EDSR(channels=16, blocks=2))
    assert bits(loaded) == bits(result.model)


def test_what_the_network_was_before_training_is_measured_where_it_was_masked(dense, images):
    measured = {"evaluate": {}}
    result = prunekit.prune(dense, {**stages(images, HALF, TRAIN), **measured})
    assert {SLIM_BEFORE, SLIM, DENSE} <= {entry.name for entry in result.report.entries}
    gradual = {**HALF, "gradual": {"until": 2, "every": 1}}
    result = prunekit.prune(dense, {**stages(images, gradual, TRAIN), **measured})
    assert SLIM_BEFORE not in {entry.name for entry in result.report.entries}


# with filters


def test_masks_are_of_the_slim_network_when_filters_go_first(dense, images, tmp_path):
    filters = {"method": "filter", "target": {"channel_ratio": 0.5}}
    result = prunekit.prune(dense, stages(images, filters, HALF, {**TRAIN, "distill": {}}))
    assert result.model.head[0].out_channels == 8
    assert result.report.proof.passed
    assert result.masks.weights == sum(p.numel() for p in result.model.parameters() if p.ndim > 1)
    assert share_of_zeros(result.model) == pytest.approx(0.5, abs=5e-3)
    check_zeros(result.model, result.masks)
    loaded = prunekit.load(result.save(tmp_path / "slim"), model=EDSR(channels=16, blocks=2))
    assert bits(loaded) == bits(result.model)


def test_masks_follow_the_surgery_when_filters_go_last(dense, images, tmp_path):
    filters = {"method": "filter", "target": {"channel_ratio": 0.5}}
    result = prunekit.prune(dense, stages(images, HALF, filters, TRAIN))
    assert result.model.head[0].out_channels == 8
    assert result.masks.weights == sum(p.numel() for p in result.model.parameters() if p.ndim > 1)
    check_zeros(result.model, result.masks)
    zeros = sum(int((result.model.get_parameter(n) == 0).sum()) for n in result.masks.kept)
    assert zeros == result.masks.zeros > 0
    loaded = prunekit.load(result.save(tmp_path / "slim"), model=EDSR(channels=16, blocks=2))
    assert bits(loaded) == bits(result.model)


def test_a_second_stage_goes_on_where_the_first_ended(dense, images):
    more = {**HALF, "target": {"sparsity": 0.8}, "gradual": {"until": 3, "every": 1}}
    first = prunekit.prune(dense, {"prune": HALF})
    result = prunekit.prune(dense, stages(images, HALF, TRAIN, more, TRAIN))
    assert result.masks.sparsity == pytest.approx(0.8, abs=2e-3)
    for name, mask in first.masks.kept.items():
        assert not (result.masks.kept[name] & ~mask).any()


# on the command line


@pytest.fixture
def recipe(images, tmp_path) -> Path:
    section = {**HALF, "gradual": {"until": 3, "every": 1}}
    content = {
        **stages(images, section, TRAIN),
        "name": "zeros",
        "output": str(tmp_path / "runs"),
        "model": {"network": "edsr", "arguments": {"channels": 8, "blocks": 1}},
        "evaluate": {},
    }
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(content), encoding="utf-8")
    return file


def test_a_run_writes_a_folder_that_all_else_opens(recipe, tmp_path, images, capsys):
    assert main(["run", str(recipe), "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "% of the weights of convolutions and linear layers zero" in said
    folder = tmp_path / "runs" / "zeros"
    assert is_sparse(folder)
    network = prunekit.load(folder)
    check_zeros(network, read_sparse(folder).masks)
    assert load_recipe(folder / "recipe.yaml").steps[0].prune.target.sparsity == 0.5
    assert main(["evaluate", str(folder), "--data", str(images)]) == 0
    assert main(["upscale", str(folder), str(images / "0.png"), str(tmp_path / "large.png")]) == 0


def test_a_dry_run_shows_what_would_be_zero(recipe, tmp_path, capsys):
    assert main(["run", str(recipe), "--dry-run", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "What would be zero" in said
    assert "50.0%" in said
    assert not (tmp_path / "runs").exists()


def test_a_run_that_was_killed_goes_on_to_the_same_masks(dense, images, tmp_path):
    section = {**HALF, "gradual": {"until": 3, "every": 1}}
    recipe = stages(images, section, {**TRAIN, "checkpoint_every": 2})
    straight = prunekit.prune(dense, recipe, work_folder=tmp_path / "straight")

    class Stops(prunekit.progress.Silent):
        left = 2

        def advance(self, **figures):
            self.left -= bool(figures)
            if figures and not self.left:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prunekit.prune(dense, recipe, work_folder=tmp_path / "killed", progress=Stops())
    again = prunekit.prune(dense, recipe, work_folder=tmp_path / "killed")
    assert bits(again.model) == bits(straight.model)
    assert all(torch.equal(again.masks.kept[n], m) for n, m in straight.masks.kept.items())
    other = stages(images, {**section, "target": {"sparsity": 0.4}}, recipe["stages"][1]["train"])
    with pytest.raises(TrainError, match="other masks"):
        prunekit.prune(dense, other, work_folder=tmp_path / "killed")
