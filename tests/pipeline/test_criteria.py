"""Criteria in whole runs: on images of a recipe, on a loader, and those that users bring."""

from __future__ import annotations

import pytest
import torch
import torch_pruning as tp
from torch import nn

import prunekit
from prunekit.cli import main
from prunekit.errors import DataError, PlanError, RecipeError
from prunekit.nets import EDSR
from prunekit.recipe import load_recipe
from prunekit.score import CRITERIA
from tests.nets import conv, point
from tests.pipeline.samples import split

FINE = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 1, "min_width": 1}


@pytest.fixture(scope="module")
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=8, blocks=1).eval()


@pytest.fixture(scope="module")
def pairs():
    generator = torch.Generator().manual_seed(2)
    return [
        (
            torch.rand(2, 3, 8, 8, generator=generator),
            torch.rand(2, 3, 16, 16, generator=generator),
        )
        for _ in range(3)
    ]


def calibrated(images, criterion: str, **options):
    section = {"calibration": {"batches": 2, "batch_size": 2, "patch_size": 8}, **options}
    return {"prune": FINE | section | {"criterion": criterion}, "data": split(images), "seed": 3}


def kept(result) -> dict[str, tuple[int, ...]]:
    return {group.name: group.kept for group in result.plan.groups}


@pytest.mark.parametrize("criterion", [name for name, each in CRITERIA.items() if each.needs])
def test_a_recipe_prunes_by_what_its_training_images_show(dense, images, criterion):
    recipe = calibrated(images, criterion)
    one, two = (prunekit.prune(dense, recipe) for _ in range(2))
    assert one.report.proof.passed
    assert kept(one) == kept(two)
    assert one.recipe.prune.criterion == criterion


def test_other_patches_may_keep_other_units(dense, images):
    recipes = [calibrated(images, "taylor") | {"seed": seed} for seed in range(4)]
    assert len({str(kept(prunekit.prune(dense, recipe))) for recipe in recipes}) > 1


def test_a_dry_run_looks_at_the_images_too(images, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "model: {network: edsr, arguments: {channels: 16, blocks: 1}}\n"
        f"data: {{train: {{folder: {images}}}}}\n"
        "prune: {method: filter, criterion: fisher, target: {channel_ratio: 0.5}, "
        "calibration: {batches: 1, batch_size: 1, patch_size: 8}}\n"
    )
    assert main(["run", "--dry-run", str(recipe)]) == 0
    assert "trunk" in capsys.readouterr().out


def test_several_stages_look_at_what_is_left(dense, images):
    stage = {"prune": calibrated(images, "fisher")["prune"] | {"target": {"channel_ratio": 0.25}}}
    result = prunekit.prune(dense, {"stages": [stage, stage], "data": split(images)})
    assert result.plan.groups[0].width == 8
    assert len(result.plan.groups[0].kept) < 6


def test_a_loader_takes_the_place_of_the_recipes_images(dense, pairs):
    recipe = {"prune": FINE | {"criterion": "taylor"}}
    with_hr = prunekit.prune(dense, recipe, calibration=pairs)
    without = prunekit.prune(dense, recipe, calibration=[lr for lr, _ in pairs])
    assert with_hr.report.proof.passed
    assert without.report.proof.passed


@pytest.mark.parametrize("rounds", [None, 2], ids=["two stages", "rounds"])
def test_a_generator_is_taken_once_for_all_stages(dense, images, pairs, rounds):
    fine = FINE | {"criterion": "taylor", "calibration": {"batches": 2}}
    train = {"steps": 2, "batch_size": 1, "patch_size": 8}
    if rounds:
        fine |= {"iterative": {"rounds": rounds, "steps": 2}}
        recipe = {"prune": fine, "train": train}
    else:
        recipe = {"stages": [{"prune": fine}, {"train": train}, {"prune": fine}]}
    recipe |= {"data": split(images)}
    listed = prunekit.prune(dense, recipe, calibration=pairs[:2])
    generated = prunekit.prune(dense, recipe, calibration=(pair for pair in pairs))
    assert generated.plan == listed.plan


@pytest.mark.parametrize(
    "criterion",
    [
        tp.importance.GroupMagnitudeImportance(p=2),
        tp.importance.GroupTaylorImportance(),
        tp.importance.RandomImportance,
        lambda slices, _: [s.weights.abs().sum(dim=1) for s in slices],
    ],
    ids=["magnitude", "taylor", "random", "function"],
)
def test_a_criterion_of_the_users_own_prunes_and_the_recipe_says_so(dense, pairs, criterion):
    result = prunekit.prune(dense, {"prune": FINE}, criterion=criterion, calibration=pairs)
    assert result.report.proof.passed
    assert result.recipe.prune.criterion == "custom"
    with pytest.raises(RecipeError, match="the recipe's criterion is 'custom', so it is given"):
        prunekit.prune(dense, result.recipe)


def test_a_function_that_is_l1_keeps_what_l1_keeps(dense):
    def sums(slices, _):
        return [slice_.weights.abs().sum(dim=1) for slice_ in slices]

    own = prunekit.prune(dense, {"prune": FINE}, criterion=sums)
    assert kept(own) == kept(prunekit.prune(dense, {"prune": FINE | {"criterion": "l1"}}))


def test_a_name_takes_the_place_of_the_recipes(dense):
    result = prunekit.prune(dense, {"prune": FINE}, criterion="l1")
    assert result.recipe == load_recipe({"prune": FINE | {"criterion": "l1"}})


def test_a_group_without_a_batch_norm_stays_whole_and_the_plan_says_why():
    net = nn.Sequential(conv(3, 8), nn.BatchNorm2d(8), nn.ReLU(), conv(8, 8), point(8, 12)).eval()
    net.append(nn.PixelShuffle(2))
    result = prunekit.prune(net, {"prune": FINE | {"criterion": "bn_scale"}})
    reasons = {len(group.kept): group.reason for group in result.plan.groups}
    assert reasons == {4: "", 8: "has no batch norm with a scale to score"}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"criterion": "taylor"}, DataError, "looks at images, and there is no calibration data"),
        ({"criterion": "taylor", "calibration": []}, DataError, "calibration data has no batch"),
        ({"calibration": [torch.rand(1, 3, 8, 8)]}, RecipeError, "'l2' looks at no images"),
        ({"criterion": "custom"}, PlanError, "there is no criterion 'custom'"),
        ({"criterion": "bn_scale"}, PlanError, "nothing can be pruned: .* no batch norm"),
        ({"criterion": 5}, PlanError, "criterion 5 is a int"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(dense, options, error, message):
    with pytest.raises(error, match=message):
        prunekit.prune(dense, {"prune": FINE}, **options)
