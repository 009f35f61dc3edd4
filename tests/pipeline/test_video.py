"""Runs on networks of video: trained, validated and evaluated on clips."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import prunekit
from prunekit.data.resize import downscale, upscale
from prunekit.errors import DataError, RecipeError
from prunekit.measure.quality import psnr_rgb
from prunekit.nets import EDSR
from prunekit.pipeline import run
from prunekit.progress import Silent
from prunekit.recipe import load_recipe

LATENCY = {"output_size": [32, 24], "repeats": 2, "warmup": 0}


class Video(nn.Module):
    """Enlarges every frame with what the first of them says, or the frame in the middle alone."""

    def __init__(self, *, centre: bool = False) -> None:
        super().__init__()
        self.net = EDSR(2, 8, 1)
        self.centre = centre

    def forward(self, clip: Tensor) -> Tensor:
        clip = clip + 0.1 * clip[:, :1]
        if self.centre:
            return self.net(clip[:, clip.shape[1] // 2])
        large = self.net(clip.flatten(0, 1))
        return large.view(*clip.shape[:2], *large.shape[1:])


@pytest.fixture
def clips(tmp_path):
    """Two clips of three frames to train on, and two of four and two to hold out."""
    rng = np.random.default_rng(0)
    for name, frames in (("a", 3), ("b", 3), ("walk", 4), ("city", 2)):
        for frame in range(frames):
            small = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
            (tmp_path / "GT" / name).mkdir(parents=True, exist_ok=True)
            large = small.resize((42, 39), Image.Resampling.BICUBIC)
            large.save(tmp_path / "GT" / name / f"{frame:08}.png")
    return tmp_path


def recipe(clips, *, centre=False, held_out=None, **changes):
    gt, target = str(clips / "GT"), "centre" if centre else "all"
    feed = {"frames": 3, "target": "centre", "padding": "replicate"} if centre else None
    train = {"clips": gt, "names": ["a", "b"], "frames": 3, "target": target}
    held_out = {"clips": gt, "names": ["walk", "city"], **(held_out or feed or {"frames": "whole"})}
    return load_recipe(
        {
            "name": "video",
            "output": str(clips / "runs"),
            "device": "cpu",
            "model": {
                "factory": "tests.pipeline.test_video:Video",
                "arguments": {"centre": centre},
                "input_shape": [1, 3, 3, 12, 12],
            },
            "data": {"train": train, "evaluate": held_out, "cache": {"folder": str(clips / "c")}},
            "prune": {
                "method": "filter",
                "target": {"channel_ratio": 0.5},
                "round_to": 1,
                "min_width": 1,
            },
            "train": {"steps": 2, "batch_size": 2, "patch_size": 8, "validate_every": 2},
            "evaluate": {"protocol": "reds4", "latency": LATENCY},
            "report": {"crops": 2, "crop_size": 16},
            **changes,
        }
    )


def luma_network():
    return nn.Sequential(nn.Conv2d(1, 8, 3, 1, 1), nn.Conv2d(8, 4, 3, 1, 1), nn.PixelShuffle(2))


def frame_macs(channels):
    """EDSR x2 of one block by hand, for a frame of 16x12 pixels; it shifts the mean colour."""
    head, last = 3 * channels * 9, 4 * 3 * channels * 9
    convolutions = (3 + 4) * channels * channels * 9
    return (head + convolutions + last + 9 + 4 * 9) * 16 * 12


def report_of(result):
    return json.loads((result.folder / "report.json").read_text())


@pytest.mark.parametrize("centre", [False, True])
def test_a_network_of_video_is_evaluated_clip_by_clip(clips, centre):
    result = run(recipe(clips, centre=centre), progress=Silent())
    report = report_of(result)
    scores = {entry["name"]: entry["quality"] for entry in report["entries"]}
    assert set(scores) == {"dense", "slim before fine-tuning", "slim", "bicubic"}
    for quality in scores.values():
        assert [(clip["name"], clip["frames"]) for clip in quality["clips"]] == [
            ("city", 2),
            ("walk", 4),
        ]
        city, walk = (clip["psnr"] for clip in quality["clips"])
        assert quality["psnr"] == pytest.approx((city + walk) / 2)
        frames = [image["psnr"] for image in quality["images"]]
        assert walk == pytest.approx(sum(frames[2:]) / 4)
    hr = np.array(Image.open(clips / "GT" / "walk" / "00000003.png"))[:38]  # a multiple of 2
    last = scores["bicubic"]["images"][-1]
    assert last["name"] == "walk/00000003"
    assert last["psnr"] == psnr_rgb(upscale(downscale(hr, 2), 2), hr, 0)
    (curve,) = report["training"]
    assert curve["validation"] == [{"step": 2, "psnr": scores["slim"]["psnr"]}]
    assert {crop["image"] for crop in report["crops"]} == {"walk/00000002", "city/00000001"}
    by_name = {entry["name"]: entry for entry in report["entries"]}
    dense, slim = by_name["dense"], by_name["slim"]
    assert dense["macs"] == frame_macs(8)
    assert slim["macs"] == frame_macs(4)
    said = " ".join(report["convention"])
    assert "for one frame of 32x24 output pixels, with 3 frames given at once; flops" in said
    assert "2 forward passes of one clip of 3 LR frames of 16x12 in float32" in said
    assert slim["latency"]["median_ms"] > 0
    fed = "windows of 3 frames, padding replicate" if centre else "whole clips at once"
    assert any(
        "mean over the 6 frames of 2 clips, clip by clip (" + fed in sentence
        for sentence in report["convention"]
    )
    text = (result.folder / "report.md").read_text()
    assert "## Clip by clip" in text
    assert "PSNR-RGB in dB of every clip, with SSIM (RGB, border 0, modcrop 2)" in text
    samples = result.folder / "training" / "stage-1" / "samples" / "step-00000002"
    assert len(list(samples.rglob("*.png"))) == 6


def test_parts_of_clips_give_other_figures_and_are_told(clips):
    figures = []
    for frames in ("whole", 2):
        made = recipe(clips, held_out={"frames": frames}, train=None)
        report = report_of(run(made, progress=Silent(), overwrite=True))
        figures.append({entry["name"]: entry["quality"]["psnr"] for entry in report["entries"]})
    assert figures[0]["dense"] != figures[1]["dense"]
    assert figures[0]["bicubic"] == figures[1]["bicubic"]
    assert any("(parts of at most 2 frames, each by itself)" in s for s in report["convention"])


def test_no_crops_are_no_pictures(clips):
    result = run(recipe(clips, train=None, report={"crops": 0}), progress=Silent())
    assert report_of(result)["crops"] == []


def test_what_the_network_cannot_be_evaluated_on_is_told_before_any_training(clips):
    image = {"network": "edsr", "arguments": {"channels": 8, "blocks": 1}}
    luma = {"factory": "tests.pipeline.test_video:luma_network", "input_shape": [1, 1, 12, 12]}
    for made, why in (
        (
            recipe(clips, held_out={"frames": None}),
            r"takes \(1, 3, 3, 12, 12\), which is no image, .* name 'clips' there, with 'frames'",
        ),
        (
            recipe(clips, model=image, train=None),
            r"takes \(1, 3, 48, 48\), which is an image, and data.evaluate.frames gives it clips",
        ),
        (
            recipe(clips, model=luma, evaluate={"latency": {}}),
            r"latency is that of one RGB image or clip, and the network takes \(1, 1, 12, 12\)",
        ),
    ):
        with pytest.raises(RecipeError, match=why):
            run(made, progress=Silent())
    made = recipe(clips)
    both = made.data.model_copy(
        update={"evaluate": made.data.evaluate.model_copy(update={"names": ("a",)})}
    )
    with pytest.raises(DataError, match=r"image 'a' is also trained on \(as 'a'\)"):
        run(made.model_copy(update={"data": both}), progress=Silent())


def test_from_python_with_a_clip_as_example(clips):
    stated = recipe(clips, model=None, train=None)
    torch.manual_seed(0)
    result = prunekit.prune(Video(), stated, torch.rand(1, 2, 3, 10, 12))
    assert len(result.report.entry("slim").quality.clips) == 2
