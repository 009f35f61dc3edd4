"""`prunekit evaluate` prints a table, writes JSON, and tells a mistake in one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors.torch import save_file

import prunekit
from prunekit import PrunekitError
from prunekit.cli import main
from prunekit.measure.protocol import Protocol
from prunekit.nets import create

FACTORY = """
import torch

class Repeat(torch.nn.Module):
    def __init__(self, scale=2):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        print("from the network")
        return x.repeat_interleave(self.scale, 2).repeat_interleave(self.scale, 3)


class Own(torch.nn.Module):
    # Does not tell its scale.
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv2d(3, 16, 3, padding=1)
        self.last = torch.nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x):
        return torch.nn.functional.pixel_shuffle(self.last(self.first(x)), 2)


class Video(Repeat):
    # Adds as many grey levels as there are frames.
    def forward(self, x):
        _, frames, _, _, _ = x.shape
        large = super().forward(x.flatten(0, 1)).unflatten(0, (1, frames))
        return large + frames / 255


class Centre(Repeat):
    def forward(self, x):
        return super().forward(x[:, x.shape[1] // 2])
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    (tmp_path / "enlargers.py").write_text(FACTORY)
    random = np.random.default_rng(0)
    for folder in ("hr", "lr", "three"):
        (tmp_path / folder).mkdir()
    for name in ("baby", "bird"):
        small = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        hr = np.pad(small.repeat(2, axis=0).repeat(2, axis=1), ((0, 1), (0, 1), (0, 0)))
        PIL.Image.fromarray(hr).save(tmp_path / "hr" / f"{name}.png")
        PIL.Image.fromarray(small).save(tmp_path / "lr" / f"{name}x2.png")
        PIL.Image.fromarray(small[:8, :10]).save(tmp_path / "three" / f"{name}.png")
    return tmp_path


@pytest.fixture
def clips(here):
    """Two clips of four and two frames, HR and LR x2."""
    random = np.random.default_rng(1)
    for name, frames in (("walk", 4), ("city", 2)):
        for folder in ("GT", "BI"):
            (here / folder / name).mkdir(parents=True)
        for frame in range(frames):
            small = random.integers(0, 200, (12, 16, 3), dtype=np.uint8)
            PIL.Image.fromarray(small).save(here / "BI" / name / f"{frame:03}.png")
            large = small.repeat(2, axis=0).repeat(2, axis=1)
            PIL.Image.fromarray(large).save(here / "GT" / name / f"{frame:03}.png")


def errors(capsys):
    out, err = capsys.readouterr()
    lines = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in out + err
    assert len(lines) == 1, err
    return lines[0]


@pytest.mark.usefixtures("here")
def test_a_factory_with_a_folder_of_lr(capsys):
    command = ["evaluate", "enlargers:Repeat", "--data", "hr", "--lr", "lr", "--json", "out.json"]
    assert main(command) == 0
    out, err = capsys.readouterr()
    assert "from the network" not in out
    assert "x2, Y of BT.601, border 2" in out
    lines = [line.split() for line in out.splitlines() if line.split()]
    assert [line[0] for line in lines if len(line) == 4 and line[0] != "image"] == [
        "baby",
        "bird",
        "mean",
    ]
    assert "inf" in out
    assert "evaluate, 2 steps" in err
    with open("out.json") as file:  # noqa: PTH123
        content = json.load(file)
    assert content["format"] == "prunekit-scores/1"
    assert content["psnr"] is None
    assert content["ssim"] == pytest.approx(1)
    assert (content["model"], content["data"], content["lr"]) == ("enlargers:Repeat", "hr", "lr")
    assert content["convention"]["border"] == content["convention"]["modcrop"] == 2
    assert [image["name"] for image in content["images"]] == ["baby", "bird"]


def test_names_that_are_no_text_are_printed(here, capsys):
    try:
        (here / "hr" / "bird.png").rename(here / "hr" / "a\nb\udcff.png")
    except (OSError, UnicodeError):
        pytest.skip("the system takes no such name")
    assert main(["evaluate", "enlargers:Repeat", "--data", "hr", "--json", "out.json", "-q"]) == 0
    assert "a b\\udcff" in capsys.readouterr().out
    content = json.loads((here / "out.json").read_text())
    assert [image["name"] for image in content["images"]] == ["a\nb\udcff", "baby"]


@pytest.mark.usefixtures("here")
def test_the_convention_is_chosen(capsys):
    command = ["evaluate", "enlargers:Repeat", "--data", "hr", "--scale", "2", "-q"]
    assert main([*command, "--rgb", "--border", "4", "--json", "rgb.json"]) == 0
    out, err = capsys.readouterr()
    assert "RGB, border 4" in out
    assert "evaluate" not in err
    assert main([*command, "--json", "y.json"]) == 0
    figures = []
    for name in ("rgb.json", "y.json"):
        with open(name) as file:  # noqa: PTH123
            content = json.load(file)
        assert "imresize" in content["lr"]
        figures.append(content["psnr"])
    assert figures[0] < figures[1], "luma leaves errors of colour out"


def test_built_in_networks_with_weights_and_without(here, capsys):
    small = {"channels": 16, "blocks": 1}
    save_file(create("imdn_x2", **small).state_dict(), here / "w.safetensors")
    arguments = [word for key in small for word in ("--arguments", f"{key}={small[key]}")]
    command = ["evaluate", "imdn_x2", "--weights", "w.safetensors", "--data", "hr", *arguments]
    assert main(command) == 0
    assert main(["evaluate", "edsr_x2_compact", "--data", "hr", "-q"]) == 0
    assert capsys.readouterr().out.count("mean") == 2


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["imdn_x5", "--data", "hr"], "no built-in network 'imdn_x5'; did you mean 'imdn_x"),
        (["imdn_x2", "--data", "hr"], "'imdn_x2' comes without weights"),
        (["imdn_x2", "--data", "hr", "--weights", "no.pth"], "'no.pth' is not there"),
        (["missing.pth", "--data", "hr"], "'missing.pth' is not there"),
        (["hr", "--data", "hr"], "the folder 'hr' holds no slim.safetensors"),
        (["enlargers:Repat", "--data", "hr"], "names nothing in 'enlargers'; did you mean 'Repea"),
        (["enlargers:Repeat", "--data", "no"], "images cannot be read from no"),
        (
            ["enlargers:Repeat", "--data", "hr", "--lr", "three"],
            "10x8 pixels is not the 16x12 that scale 2 makes of",
        ),
        (["enlargers:Repeat", "--data", "hr", "--scale", "3"], "where scale 3 asks for"),
        (["enlargers:Repeat", "--data", "hr", "--border", "16"], "cannot be scored"),
        (["enlargers:Repeat", "--data", "hr", "--json", "no/x"], "there is no folder 'no'"),
        (["enlargers:Repeat", "--data", "hr", "--device", "tpux"], "no kind of device"),
        (["enlargers:Repeat", "--data", "hr", "--device", "cuda:99"], "there is none"),
        (["torch.nn:Identity", "--data", "hr"], "keeps the size of an image, so LR cannot be made"),
        (
            ["torch.nn:PixelShuffle", "--arguments", "upscale_factor=2", "--data", "hr"],
            "does not tell its scale (the network fails on an image of 64x64 pixels",
        ),
        (["edsr_x2_compact", "--data", "hr", "--scale", "0"], "--scale"),
        (["edsr_x2_compact", "--data", "hr", "--protocol", "red4"], "did you mean 'reds4'"),
        (
            ["edsr_x2_compact", "--data", "hr", "--protocol", "y", "--rgb"],
            "protocol 'y' contradicts channels 'rgb'; leave one of both out",
        ),
        (
            ["enlargers:Repeat", "--data", "hr", "--scale", "5", "--protocol", "gtmod12"],
            "modcrop is 12, which is no multiple of the scale 5",
        ),
        (["edsr_x2_compact", "--data", "hr", "--names", "birt"], "did you mean 'bird'"),
    ],
)
def test_mistakes_are_one_sentence(arguments, why, capsys):
    assert main(["evaluate", *arguments]) == 2
    assert why in errors(capsys)


def test_a_missing_partner_and_a_corrupt_image_are_told(here, capsys):
    (here / "lr" / "birdx2.png").unlink()
    assert main(["evaluate", "enlargers:Repeat", "--data", "hr", "--lr", "lr"]) == 2
    assert "bird.png has no LR: there is neither 'bird' nor 'birdx2'" in errors(capsys)
    (here / "hr" / "bird.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert main(["evaluate", "enlargers:Repeat", "--data", "hr"]) == 2
    assert "bird.png cannot be read" in errors(capsys)


def run_and_read(*command):
    assert main(["evaluate", *command, "-q", "--json", "out.json"]) == 0
    with open("out.json") as file:  # noqa: PTH123
        return json.load(file)


@pytest.mark.usefixtures("here")
def test_a_protocol_is_named_and_its_parts_are_stated_otherwise(capsys):
    command = ["enlargers:Repeat", "--data", "hr", "--protocol"]
    told = run_and_read(*command, "reds4")
    assert (told["convention"]["channels"], told["convention"]["border"]) == ("RGB", 0)
    assert "x2, RGB, border 0, modcrop 2" in capsys.readouterr().out
    told = run_and_read(*command, "gtmod12")  # 24x33 becomes 24x24
    assert (told["convention"]["border"], told["convention"]["modcrop"]) == (2, 12)
    out = capsys.readouterr().out
    assert "Y of BT.601, border 2, modcrop 12" in out
    assert "PSNR-Y (dB)" in out
    told = run_and_read(*command, "ntire", "--y", "--border", "1", "--modcrop", "8")
    found = [told["convention"][key] for key in ("channels", "border", "modcrop")]
    assert found == ["Y of BT.601 (16 to 235), not rounded", 1, 8]


CLIPS = ["--data", "GT", "--lr", "BI", "--clips"]


@pytest.mark.usefixtures("clips")
def test_a_network_of_video_is_given_whole_clips(capsys):
    told = run_and_read("enlargers:Video", *CLIPS, "--frames", "whole", "--protocol", "reds4")
    walk, city = (20 * math.log10(255 / frames) for frames in (4, 2))
    assert told["psnr"] == pytest.approx((walk + city) / 2)
    assert [(each["name"], each["frames"]) for each in told["clips"]] == [("city", 2), ("walk", 4)]
    assert [each["psnr"] for each in told["clips"]] == pytest.approx([city, walk])
    assert [image["name"] for image in told["images"]][1:3] == ["city/00000001", "walk/00000000"]
    mean = "the 6 frames of 2 clips, clip by clip (whole clips at once)"
    assert told["convention"]["mean"] == f"over {mean}"
    assert told["convention"]["border"] == 0
    out = capsys.readouterr().out
    assert "x2, RGB, border 0, modcrop 2" in out
    assert f"mean over {mean}; seconds are those of a frame" in out.replace("\n", " ")
    assert [line.split()[0] for line in out.splitlines() if len(line.split()) == 4] == [
        "city",
        "walk",
        "mean",
    ]


@pytest.mark.usefixtures("clips")
def test_clips_in_parts_in_windows_and_frame_by_frame():
    told = run_and_read("enlargers:Video", *CLIPS, "--frames", "1", "--rgb")
    assert told["psnr"] == pytest.approx(20 * math.log10(255))
    assert "parts of at most 1 frames" in told["convention"]["mean"]
    window = ["--frames", "3", "--target", "centre", "--padding", "replicate", "--names", "walk"]
    told = run_and_read("enlargers:Centre", *CLIPS, *window)
    assert (told["psnr"], told["clips"][0]["frames"]) == (None, 4)
    assert "windows of 3 frames, padding replicate" in told["convention"]["mean"]
    told = run_and_read("enlargers:Repeat", *CLIPS)
    assert told["images"][0]["name"] == "city/000"
    assert "2 clips, clip by clip (each frame by itself)" in told["convention"]["mean"]


@pytest.mark.usefixtures("clips")
@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["Video", *CLIPS], "give it images that it takes, or clips with 'frames' if it is of vid"),
        (["Video", *CLIPS, "--frames", "1", "--target", "centre"], "every frame, set target all"),
        (["Centre", *CLIPS, "--frames", "whole"], "frame in the middle, set target centre"),
        (["Video", *CLIPS[:-1], "--frames", "whole"], "are of clips; say --clips as well"),
        (["Video", *CLIPS, "--frames", "all"], "frames 'all' is no number of frames"),
        (["Video", *CLIPS, "--frames", "2", "--target", "centre"], "needs an odd number of frames"),
        (["Video", *CLIPS, "--frames", "2", "--padding", "circle"], "padding 'circle' is of win"),
        (["Video", *CLIPS, "--target", "center"], "no target 'center'; did you mean 'centre'"),
        (["Video", "--data", "hr", "--clips", "--frames", "2"], "holds no clip"),
        (
            ["Centre", *CLIPS, "--frames", "5", "--target", "centre"],
            "clip 'city': its 2 frames are too few for windows of 5 with padding reflection_circle",
        ),
    ],
)
def test_mistakes_with_clips_are_one_sentence(arguments, why, capsys):
    network, *rest = arguments
    assert main(["evaluate", f"enlargers:{network}", *rest]) == 2
    assert why in errors(capsys)


@pytest.mark.usefixtures("clips")
def test_clips_from_python():
    class Video(torch.nn.Module):
        scale = 2

        def forward(self, x):
            return x.repeat_interleave(2, 3).repeat_interleave(2, 4) + x.shape[1] / 255

    scores = prunekit.evaluate(Video(), "GT", lr="BI", clips=True, frames="whole", channels="rgb")
    assert [clip.psnr for clip in scores.clips] == pytest.approx(
        [20 * math.log10(255 / 2), 20 * math.log10(255 / 4)]
    )
    with pytest.raises(PrunekitError, match="are of clips; say that the folder holds clips"):
        prunekit.evaluate(Video(), "GT", frames="whole")


@pytest.mark.usefixtures("here")
def test_only_some_images_are_taken():
    told = run_and_read("enlargers:Repeat", "--data", "hr", "--names", "bird")
    assert [image["name"] for image in told["images"]] == ["bird"]


@pytest.mark.parametrize("file", ["hr/baby.png", "lr/babyx2.png", "w.safetensors", "link.json"])
def test_no_file_that_is_read_is_written_over(here, file, capsys):
    save_file(create("imdn_x2").state_dict(), here / "w.safetensors")
    (here / "link.json").symlink_to(here / "hr" / "bird.png")
    before = (here / file).read_bytes()
    command = ["evaluate", "imdn_x2", "--weights", "w.safetensors", "--data", "hr", "--lr", "lr"]
    assert main([*command, "--json", file]) == 2
    assert "is the file that is read" in errors(capsys)
    assert (here / file).read_bytes() == before


@pytest.mark.usefixtures("here")
def test_from_python():
    own = Protocol("rgb", border=4, modcrop=8)
    scores = prunekit.evaluate(create("edsr_x2_compact"), "hr", protocol=own, names=["baby"])
    assert scores.protocol == own
    scores = prunekit.evaluate(create("edsr_x2_compact"), "hr", channels="rgb", border=4)
    assert (scores.protocol.channels, scores.protocol.border) == ("rgb", 4)
    assert [image.name for image in scores.images] == ["baby", "bird"]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "figures"),
    [
        ("bsrn_s_x4", (32.157, 0.8949)),
        ("rlfn_ntire_x4", (32.10, 0.8939)),
        ("safmnpp_x4", (32.02, 0.8918)),
    ],
)
def test_figures_of_published_weights_on_set5(shared_data, tmp_path, name, figures):
    set5, file = shared_data / "benchmarks" / "Set5", tmp_path / "out.json"
    command = ["evaluate", name, "--weights", str(shared_data / "weights" / f"{name}.safetensors")]
    command += ["--data", str(set5 / "HR"), "--lr", str(set5 / "LR_bicubic" / "X4")]
    assert main([*command, "--scale", "4", "--y", "--border", "4", "--json", str(file)]) == 0
    content = json.loads(file.read_text())
    assert content["psnr"] == pytest.approx(figures[0], abs=0.01)
    assert content["ssim"] == pytest.approx(figures[1], abs=1e-4)


@pytest.mark.usefixtures("here")
def test_a_slim_network_of_ones_own_is_evaluated_by_its_class_and_file(capsys):
    from enlargers import Own  # noqa: PLC0415

    torch.manual_seed(0)
    half = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}
    result = prunekit.prune(Own(), half, torch.rand(1, 3, 12, 12))
    result.save("slim")
    expected = prunekit.evaluate(result.model, "hr", scale=2).psnr
    file = "slim/slim.safetensors"
    command = ["evaluate", "enlargers:Own", "--weights", file, "--data", "hr", "--json", "x.json"]
    assert main(command) == 0
    content = json.loads(Path("x.json").read_text())
    assert content["psnr"] == expected
    assert content["scale"] == 2
    assert main(["evaluate", "slim", "--data", "hr"]) == 2
    assert "--weights slim" in capsys.readouterr().err.replace("\n", "")
