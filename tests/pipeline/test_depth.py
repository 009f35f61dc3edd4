"""Recipes that remove blocks: alone, with filters, masks and training; to disk and back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import prunekit
from prunekit.cli import main
from prunekit.errors import DataError, PlanError, RecipeError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.recipe import load_recipe
from prunekit.report import headline, to_html, to_markdown
from prunekit.sparse import check_zeros
from prunekit.surgery import Passthrough
from tests.depth.nets import BlockNet, Rcan, ResBlock, built, image
from tests.pipeline.samples import split
from tests.surgery.test_store import bits
from tests.untouched import assert_untouched, picture

HALF = {"method": "depth", "target": {"block_ratio": "50%"}}
FILTERS = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 4, "min_width": 4}
WEIGHTS = {"method": "unstructured", "target": {"sparsity": "50%"}}
TRAIN = {"steps": 2, "batch_size": 1, "patch_size": 8, "learning_rate": 1e-3}


def stages(images: Path, *sections: dict[str, object]) -> dict[str, object]:
    """One stage a section: those with `steps` train."""
    return {
        "stages": [{"train" if "steps" in s else "prune": s} for s in sections],
        "data": split(images),
        "report": {"crops": 0},
    }


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=8, blocks=4)


def test_half_of_the_blocks_leave_and_the_report_tells_which(dense):
    before = picture(dense)
    result = prunekit.prune(dense, {"prune": {**HALF, "protect": ["body.0"]}}, image())
    assert_untouched(dense, before)
    assert type(result.model) is EDSR
    assert len(result.plan.blocks) == 2  # of three that may leave
    assert "body.0" not in result.plan.blocks
    gone = [n for n, m in result.model.named_modules() if isinstance(m, Passthrough)]
    assert gone == list(result.plan.blocks)

    report = result.report
    assert [row.name for row in report.blocks] == gone
    assert sum(row.params for row in report.blocks) == result.plan.params[0] - result.plan.params[1]
    assert "minus 2 blocks." in headline(report)
    assert "block_ratio 0.5 asked for, 0.6667 reached" in report.convention[0]
    assert report.proof.passed
    markdown, page = to_markdown(report), to_html(report)
    assert all(f"`{name}`" in markdown and name in page for name in gone)


def test_macs_count_at_the_size_that_is_asked_for(dense):
    target = {"macs_ratio": 0.2, "output_size": [64, 48]}
    result = prunekit.prune(dense, {"prune": {**HALF, "target": target}}, image())
    whole, left = (trace(m, torch.rand(1, 3, 24, 32)).macs() for m in (dense, result.model))
    share = f"{1 - left / whole:.4f} reached"
    assert f"{share}, at 64x48 output pixels" in result.report.convention[0]


def test_blocks_filters_and_weights_compose_in_any_order(dense):
    for order in ((HALF, FILTERS, WEIGHTS), (WEIGHTS, FILTERS, HALF), (FILTERS, HALF, WEIGHTS)):
        recipe = {"stages": [{"prune": section} for section in order]}
        result = prunekit.prune(dense, recipe, image())
        left = trace(result.model, image())
        assert (left.params(), left.macs()) == (result.plan.params[1], result.plan.macs[1])
        assert len(result.plan.blocks) == 2
        check_zeros(result.model, result.masks)
        widths = {row.name: row.width_after for row in result.report.groups}
        assert widths["trunk"] == 4
        assert [widths[f"{name} hidden"] for name in result.plan.blocks] == [0, 0]


def test_training_before_and_after_with_features_of_a_teacher(dense, images):
    torch.manual_seed(2)
    teacher = {"distill": {"weight": 1.0, "features": 0.1}}
    recipe = stages(images, TRAIN, HALF, {**TRAIN, **teacher})
    result = prunekit.prune(dense, recipe)
    assert len(result.report.training) == 2
    assert len(result.plan.blocks) == 2
    assert len(list(result.model.parameters())) < len(list(dense.parameters()))


def test_features_are_not_looked_for_in_a_block_that_is_gone(images):
    class Upscaling(Rcan):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(nn.functional.interpolate(x, scale_factor=2.0))

    recipe = stages(
        images,
        {**HALF, "blocks": ["body.?"]},
        {**TRAIN, "distill": {"weight": 1.0, "features": 0.1}},
    )
    result = prunekit.prune(built(Upscaling), recipe)
    assert result.plan.blocks in (("body.0",), ("body.1",))


def test_a_criterion_looks_at_patches_of_the_recipe(dense, images):
    few = {"batches": 2, "batch_size": 1, "patch_size": 8}
    for criterion in ("taylor", "output", "activation"):
        section = {**HALF, "criterion": criterion, "calibration": few}
        result = prunekit.prune(
            dense, {**stages(images, section), "stages": None, "prune": section}
        )
        assert len(result.plan.blocks) == 2
    with pytest.raises(DataError, match="there is no calibration data"):
        prunekit.prune(dense, {"prune": {**HALF, "criterion": "taylor"}}, image())


def test_a_criterion_of_ones_own_is_asked(dense):
    def by_number(slices, _):
        score = 1.0 if slices[0].tensor.startswith(("body.1.", "body.2.")) else 9.0
        return [torch.full((len(slices[0].weights),), score)]

    result = prunekit.prune(dense, {"prune": HALF}, image(), criterion=by_number)
    assert result.plan.blocks == ("body.1", "body.2")
    assert result.recipe.prune.criterion == "custom"


class WrittenInto(BlockNet):
    """One block's output is written into while its input is still wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = ResBlock(), ResBlock(), ResBlock()

    def forward(self, x: Tensor) -> Tensor:
        x = self.three(self.two(self.head(x)))
        y = self.one(x)
        return self.tail(x + y.clamp_(min=0))


def test_a_block_that_does_not_hold_in_the_proof_stays():
    net = built(WrittenInto)
    with torch.no_grad():
        for parameter in net.one.parameters():
            parameter.mul_(0.01)  # the least important
    result = prunekit.prune(net, {"prune": {**HALF, "target": {"block_ratio": 0.3}}}, image())
    assert "one" not in result.plan.blocks
    assert len(result.plan.blocks) == 1


def test_a_network_without_blocks_is_refused():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    with pytest.raises(PlanError, match="no block can be removed: no module of the network adds"):
        prunekit.prune(net, {"prune": HALF}, image())


def test_what_is_out_of_reach_is_refused_before_any_training(dense, images):
    recipe = stages(images, TRAIN, {**HALF, "target": {"params_ratio": 0.99}})
    with pytest.raises(PlanError, match=r"params_ratio 0.99 is out of reach: 0.\d+ can be removed"):
        prunekit.prune(dense, recipe)


REFUSED = {
    "a latency": ({"target": {"latency_ratio": 0.3}}, "'latency_ratio', at which 'method: depth'"),
    "memory": ({"target": {"memory_ratio": 0.3}}, "'memory_ratio', at which 'method: depth'"),
    "nothing": ({"target": {}}, "needs at least one of 'block_ratio', 'params_ratio'"),
    "two of a kind": ({"target": {"macs": 5, "macs_ratio": 0.5}}, "which exclude each other"),
    "a size": ({"target": {"params": 9, "output_size": [9, 9]}}, "has 'output_size', on which"),
    "shares": ({"criterion": "lamp"}, "'prune.criterion' is 'lamp'; allowed: 'l1'"),
    "images": ({"calibration": {}}, "the criterion 'l2' looks at no images"),
    "widths": ({"round_to": 8}, "unknown key 'round_to'"),
}


@pytest.mark.parametrize(("change", "sentence"), REFUSED.values(), ids=REFUSED)
def test_recipes_that_mean_nothing_are_refused(change, sentence):
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        load_recipe({"prune": {**HALF, **change}})


# on disk and on the command line

RECIPE = """\
name: tiny
model: {network: edsr, arguments: {channels: 8, blocks: 4}, input_shape: [1, 3, 12, 12]}
prune: {method: depth, target: {block_ratio: 50%}}
"""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "r.yaml").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def test_a_dry_run_shows_which_blocks_leave(here, capsys):
    assert main(["run", "r.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    listed = re.findall(r"^ +body\.(\d) +1,168 +\d+\.\d%", out, re.MULTILINE)
    assert len(listed) == 2
    whole, left = re.search(r"parameters +([\d,]+) +([\d,]+) +\d+\.\d%", out).groups()
    assert int(whole.replace(",", "")) - int(left.replace(",", "")) == 2 * 1168
    assert [path.name for path in here.iterdir()] == ["r.yaml"]


def test_a_run_folder_is_loaded_again(here, capsys):
    assert main(["run", "r.yaml", "--output", "out"]) == 0
    capsys.readouterr()
    folder = here / "out" / "tiny"
    slim = prunekit.load(folder)
    plan = json.loads((folder / "plan.json").read_text())
    report = json.loads((folder / "report.json").read_text())
    assert [row["name"] for row in report["blocks"]] == plan["blocks"]
    assert all(isinstance(slim.get_submodule(name), Passthrough) for name in plan["blocks"])
    assert bits(prunekit.load(folder, model=EDSR(channels=8, blocks=4))) == bits(slim)


def test_inspect_lists_blocks_if_it_is_asked(capsys):
    asked = ["inspect", "edsr", "--arguments", "channels=8", "--arguments", "blocks=3"]
    asked += ["--input-shape", "1,3,8,8"]
    assert main([*asked, "--blocks"]) == 0
    out = capsys.readouterr().out
    assert "blocks that can be removed (3)" in out
    assert "body.0..2: 3 blocks, each" in out
    assert main([*asked, "--blocks", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [block["name"] for block in document["blocks"]] == ["body.0", "body.1", "body.2"]
    assert document["refused_blocks"] == {}
    assert main([*asked, "--json"]) == 0
    assert "blocks" not in json.loads(capsys.readouterr().out)
