"""Runs on folders of pairs, clips and caches, and what they say of what they left out."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

import prunekit
from prunekit.data.resize import downscale, upscale
from prunekit.errors import DataError, RecipeError
from prunekit.measure.quality import psnr_rgb
from prunekit.nets import EDSR
from prunekit.pipeline import run
from prunekit.progress import Silent
from prunekit.recipe import ReportSection, load_recipe

PRUNE = {"method": "filter", "target": {"channel_ratio": 0.5}, "round_to": 1, "min_width": 1}
TRAIN = {"steps": 2, "batch_size": 2, "patch_size": 8}


def write(path, seed, size=(40, 44)):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    pixels = np.array(Image.fromarray(small).resize(size[::-1], Image.Resampling.BICUBIC))
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def roots(tmp_path):
    """Four pairs x2, LR darker than MATLAB makes it, so that it shows which LR was taken."""
    for number in range(4):
        pixels = write(tmp_path / "gt" / f"{number}.png", number)
        (tmp_path / "lq").mkdir(exist_ok=True)
        Image.fromarray(downscale(pixels, 2) // 2).save(tmp_path / "lq" / f"{number}x2.png")
    return tmp_path


def recipe(roots, **changes):
    pairs = {"folder": str(roots / "gt"), "lr_folder": str(roots / "lq")}
    data = {
        "train": {**pairs, "names": ["0", "1"]},
        "evaluate": {**pairs, "names": ["2", "3"]},
        "cache": {"folder": str(roots / "cache")},
    }
    for key, value in changes.items():
        data[key] = {**data[key], **value}
    return load_recipe(
        {
            "name": "tiny",
            "output": str(roots / "runs"),
            "device": "cpu",
            "model": {
                "network": "edsr",
                "arguments": {"channels": 8, "blocks": 1},
                "input_shape": [1, 3, 12, 12],
            },
            "data": data,
            "prune": PRUNE,
            "train": TRAIN,
            "evaluate": {},
            "report": {"formats": ["json"], "crops": 0},
        }
    )


def report_of(result):
    return json.loads((result.folder / "report.json").read_text())


def test_a_run_takes_the_lr_that_is_given_and_says_so(roots):
    report = report_of(run(recipe(roots), progress=Silent()))
    assert any(
        "LR as given, HR cut to a multiple of 2 pixels." in sentence
        for sentence in report["convention"]
    )
    bicubic = next(entry for entry in report["entries"] if entry["name"] == "bicubic")
    assert bicubic["quality"]["psnr"] < 20  # of LR half as bright
    assert len(list((roots / "cache").rglob("*.pair"))) == 4


def test_memory_and_cache_give_the_same_weights(roots):
    weights = []
    for cache in (False, True, True):
        torch.manual_seed(0)
        result = run(recipe(roots, train={"cache": cache}), progress=Silent(), overwrite=True)
        weights.append(load_file(result.folder / "slim.safetensors"))
    for name, tensor in weights[0].items():
        assert torch.equal(tensor, weights[1][name])
        assert torch.equal(tensor, weights[2][name])


def test_a_crop_is_told(roots):
    made = recipe(roots, evaluate={"lr_folder": None, "modcrop": 12})
    assert any(
        "LR made by bicubic downscaling as in MATLAB, HR cut to a multiple of 12 pixels." in each
        for each in report_of(run(made, progress=Silent()))["convention"]
    )


def test_the_protocol_reaches_every_figure(roots):
    base = recipe(roots, evaluate={"lr_folder": None})
    evaluate = {"protocol": "ntire", "border": 3, "modcrop": 16}
    stated = {
        **base.model_dump(mode="json", exclude_none=True),
        "train": {**TRAIN, "validate_every": 1},
        "evaluate": evaluate,
        "report": {"crops": 1, "crop_size": 16},
    }
    result = run(load_recipe(stated), progress=Silent())
    report, text = report_of(result), (result.folder / "report.md").read_text()
    told = {"channels": "rgb", "border": 3, "modcrop": 16}
    entries = {entry["name"]: entry["quality"] for entry in report["entries"]}
    assert [quality["protocol"] for quality in entries.values()] == [told] * 4
    assert any(
        sentence.startswith("PSNR-RGB and SSIM: red, green and blue of 8-bit images, 3 pixels cut")
        and sentence.endswith("HR cut to a multiple of 16 pixels.")
        for sentence in report["convention"]
    )
    assert "PSNR-RGB" in report["headline"]
    assert "PSNR-Y" not in text
    for number, scored in zip((2, 3), entries["bicubic"]["images"], strict=True):
        hr = np.array(Image.open(roots / "gt" / f"{number}.png"))[:32, :32]
        assert scored["psnr"] == psnr_rgb(upscale(downscale(hr, 2), 2), hr, 3)
    (curve,) = report["training"]
    assert curve["protocol"] == {**told, "modcrop": 16}
    assert curve["validation"][-1] == {"step": 2, "psnr": entries["slim"]["psnr"]}
    (log,) = (result.folder / "training").glob("*/steps.jsonl")
    looks = [json.loads(line) for line in log.read_text().splitlines() if "psnr_rgb" in line]
    assert looks[-1] == {"step": 2, "psnr_rgb": entries["slim"]["psnr"]}


def test_what_is_skipped_is_in_report_and_log(roots):
    (roots / "gt" / "1.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"1\.png cannot be read"):
        run(recipe(roots), progress=Silent())
    result = run(recipe(roots, train={"skip_unreadable": True}), progress=Silent())
    (note,) = [note for note in report_of(result)["notes"] if note.startswith("Left out of")]
    assert note.startswith("Left out of the training images: '1' (image ")
    assert "warning: 1 of 2 in folder" in (result.folder / "log.txt").read_text()


def test_a_name_that_is_no_text_does_not_cost_the_report(roots):
    broken = roots / "gt" / "\udcff.png"
    try:
        broken.write_bytes(b"")
    except (OSError, UnicodeError):
        pytest.skip("the system takes no such name")
    names = {"names": ["0", "\udcff"], "lr_folder": None, "skip_unreadable": True}
    made = recipe(roots, train=names)
    made = made.model_copy(update={"report": ReportSection(formats=("html", "json", "md"))})
    folder = run(made, progress=Silent()).folder
    marks = {"log.txt": "\\udcff", "report.html": "\ufffd", "report.md": "\ufffd"}
    for name, mark in marks.items():
        assert f"gt/{mark}.png cannot" in (folder / name).read_text(encoding="utf-8"), name


def test_what_is_too_small_for_a_patch_is_counted_and_skipped_if_asked(roots):
    for name in ("4", "5"):
        write(roots / "gt" / f"{name}.png", 9, (14, 40))
    names = {"names": ["0", "1", "4", "5"], "lr_folder": None}
    with pytest.raises(DataError, match=r"from 2 of 4 images \(image '4' is 20x7 .* lower patch_s"):
        run(recipe(roots, train=names), progress=Silent())
    torch.manual_seed(0)
    skips = recipe(roots, train={**names, "skip_unreadable": True})
    result = run(skips, progress=Silent())
    notes = [note for note in report_of(result)["notes"] if note.startswith("Left out of")]
    for note, name in zip(notes, "45", strict=True):
        assert f"the training images: '{name}' (image '{name}' is 20x7 pixels" in note
    log = (result.folder / "log.txt").read_text()
    assert "warning: 2 of 4 images are left out, since no patch can be cut from them" in log
    torch.manual_seed(0)
    two = recipe(roots, train={**names, "names": ["0", "1"]})
    other = run(two, progress=Silent(), overwrite=True)
    assert torch.equal(other.result.model.head[0].weight, result.result.model.head[0].weight)


def test_a_frame_that_is_trained_on_is_not_evaluated_on(roots):
    for number in range(3):
        write(roots / "clips" / "walk" / f"{number}.png", 10 + number)
    write(roots / "gt" / "2.png", 11)
    train = {"folder": None, "lr_folder": None, "names": None, "clips": str(roots / "clips")}
    evaluate = {"lr_folder": None}
    with pytest.raises(DataError, match=r"image '2' is also trained on \(as 'walk/1'\)"):
        run(recipe(roots, train=train, evaluate=evaluate), progress=Silent())


class FrameByFrame(nn.Module):
    """Enlarges every frame of `(N, T, 3, H, W)` by itself, or the centre alone."""

    def __init__(self, *, centre: bool = False) -> None:
        super().__init__()
        self.net = EDSR(2, 8, 1)
        self.centre = centre

    def forward(self, clip: Tensor) -> Tensor:
        if self.centre:
            return self.net(clip[:, clip.shape[1] // 2])
        large = self.net(clip.flatten(0, 1))
        return large.view(*clip.shape[:2], *large.shape[1:])


@pytest.mark.parametrize("target", ["all", "centre"])
def test_a_network_of_clips_is_trained_on_clips(tmp_path, target):
    for frame in range(4):
        write(tmp_path / "walk" / f"{frame}.png", frame)
    torch.manual_seed(0)
    net = FrameByFrame(centre=target == "centre")
    clips = {"clips": str(tmp_path), "frames": 3, "target": target}
    result = prunekit.prune(
        net, {"prune": PRUNE, "train": TRAIN, "data": {"train": clips}}, torch.rand(1, 3, 3, 12, 12)
    )
    (curve,) = result.report.training
    assert len(curve.loss) >= 1
    assert result.plan.params[1] < result.plan.params[0]


def test_a_teacher_runs_once_for_all_stages_and_runs(roots):
    notes = []

    class Told(Silent):
        def finish(self, note=""):
            if "of them new" in note:
                notes.append(note)

    plain = recipe(roots).model_dump(mode="json", exclude_none=True)
    train = {"train": {**TRAIN, "distill": {"weight": 100.0, "cache_teacher": True}}}
    plain = {key: value for key, value in plain.items() if key not in ("prune", "train")}
    staged = {**plain, "stages": [{"prune": PRUNE}, train, {"prune": PRUNE}, train]}
    one = run(load_recipe(staged), progress=Told())
    files = sorted((roots / "cache" / "outputs").rglob("*.output"))
    assert len(files) == 2
    assert notes == ["2 images, 2 of them new", "2 images, 0 of them new"]
    other = run(load_recipe({**staged, "name": "again"}), progress=Told())
    assert notes[2:] == ["2 images, 0 of them new"] * 2
    slim = [load_file(done.folder / "slim.safetensors") for done in (one, other)]
    assert all(torch.equal(tensor, slim[1][name]) for name, tensor in slim[0].items())
    text = (one.folder / "recipe.yaml").read_text()
    assert text.count("cache_teacher: true") == 2
    assert load_recipe(one.folder / "recipe.yaml") == load_recipe(staged)


def test_what_is_trained_first_is_the_dense_network(roots):
    """It teaches, and it is what the report compares with."""
    torch.manual_seed(0)
    net = EDSR(channels=8, blocks=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    plain = recipe(roots).model_dump(mode="json", exclude_none=True)
    plain = {key: value for key, value in plain.items() if key in ("data", "evaluate")}
    first = {"train": {**TRAIN, "steps": 20, "learning_rate": 1e-2}}
    taught = {"train": {**TRAIN, "learning_rate": 1e-9, "distill": {"weight": 1.0}}}
    alone = prunekit.prune(
        net, {**plain, "stages": [first, {"prune": PRUNE}]}, torch.rand(1, 3, 12, 12)
    )
    staged = {**plain, "stages": [first, {"prune": PRUNE}, taught]}
    result = prunekit.prune(net, staged, torch.rand(1, 3, 12, 12))
    dense = [entry.quality.psnr for entry in (alone.report.entries[0], result.report.entries[0])]
    assert dense[0] == dense[1]
    untrained = prunekit.evaluate(net, roots / "gt", lr=roots / "lq", names=["2", "3"]).psnr
    assert dense[0] != pytest.approx(untrained, abs=1e-6)
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_held_out_images_too_small_to_compare_are_told_before_any_training(roots):
    write(roots / "gt" / "9.png", 9, size=(12, 12))
    Image.fromarray(np.zeros((6, 6, 3), np.uint8)).save(roots / "lq" / "9.png")
    net, image = EDSR(channels=8, blocks=1), torch.rand(1, 3, 12, 12)
    section = {"folder": str(roots / "gt"), "lr_folder": str(roots / "lq"), "cache": False}
    asked = {"prune": PRUNE, "data": {"evaluate": section}, "evaluate": {}}
    with pytest.raises(DataError, match=r"1 of 5 held-out images .* SSIM needs 15 .*'9' is 12x12"):
        prunekit.prune(net, asked, image)
    section["skip_unreadable"] = True
    result = prunekit.prune(net, asked, image)
    assert any("held-out images: '9'" in note for note in result.report.notes)


@pytest.mark.parametrize("section", ["train", "evaluate"])
def test_networks_that_keep_the_size_need_lr(roots, section):
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    data = {section: {"folder": str(roots / "gt"), "cache": False}}
    does = {"train": TRAIN} if section == "train" else {"evaluate": {}}
    with pytest.raises(RecipeError, match=f"keeps the size .* data.{section} names none"):
        prunekit.prune(net, {"prune": PRUNE, "data": data, **does}, torch.rand(1, 3, 12, 12))


def test_a_network_of_other_inputs_is_refused_before_anything_is_trained(roots):
    class Grey(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = (nn.Conv2d(*c, 3, padding=1) for c in ((1, 8), (8, 4)))

        def forward(self, x):
            return nn.functional.pixel_shuffle(self.last(self.first(x)), 2)

    data = {"train": {"folder": str(roots / "gt"), "cache": False}}
    with pytest.raises(RecipeError, match=r"given to a network as \(N, 3, H, W\).*\(1, 1, 12, 12"):
        prunekit.prune(
            Grey(), {"prune": PRUNE, "data": data, "train": TRAIN}, torch.rand(1, 1, 12, 12)
        )
