"""`prunekit upscale` enlarges files and folders, and goes on after it was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from prunekit.cli import main
from prunekit.data.encode import encode_picture
from prunekit.data.image import Picture, read_picture
from prunekit.nets import create

ROOT = Path(__file__).parents[2]
SMALL = ["--arguments", "channels=8", "--arguments", "blocks=2"]
FACTORY = """
import time, torch

class Slow(torch.nn.Module):
    def forward(self, x):
        time.sleep(0.3)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
"""


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(Picture(pixels), path.suffix))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "slow.py").write_text(FACTORY)
    return tmp_path


@pytest.fixture
def edsr(here):
    torch.manual_seed(0)
    save_file(create("edsr", channels=8, blocks=2).state_dict(), here / "w.safetensors")
    return ["upscale", "edsr", "--weights", "w.safetensors", *SMALL]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_tiles_make_the_whole_image_with_its_bits_and_alpha(here, edsr, channels, dtype, capsys):
    save(here / "in.png", noise(30, 41, channels, dtype=dtype))
    assert main([*edsr, "in.png", "whole.png", "--tile", "0"]) == 0
    assert main([*edsr, "in.png", "tiled.png", "--tile", "16"]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines() == ["1 written to whole.png", "1 written to tiled.png"]
    assert "upscale, 6 steps" in err
    whole, tiled = (read_picture(here / name).pixels for name in ("whole.png", "tiled.png"))
    assert (whole.shape, whole.dtype) == ((60, 82, channels), dtype)
    assert np.abs(whole.astype(int) - tiled).max() <= 1


def test_a_clip_is_a_folder_of_frames(here, edsr, capsys):
    for frame in range(3):
        save(here / "clip" / f"{frame:08}.png", noise(8, 9, 3))
    save(here / "clip" / "b" / "photo.jpg", noise(8, 9, 3))
    assert main([*edsr, "clip", "out"]) == 0
    assert capsys.readouterr().out == "4 written to out\n"
    assert main([*edsr, "clip", "out"]) == 0
    assert capsys.readouterr().out == "0 written to out, 4 were there\n"
    assert read_picture(here / "out" / "b" / "photo.png").pixels.shape == (16, 18, 3)


def test_help_says_what_becomes_of_a_clip(capsys):
    assert main(["upscale", "--help"]) == 0
    assert "Every frame is enlarged by itself" in " ".join(capsys.readouterr().out.split())


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="kills a process")
def test_a_run_that_was_killed_leaves_whole_files_and_goes_on(here):
    for number in range(8):
        save(here / "in" / f"{number}.png", noise(20, 20, 3))
    command = [sys.executable, "-m", "prunekit", "upscale", "slow:Slow", "in", "out"]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{here}", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(  # noqa: S603
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        limit = time.monotonic() + 60
        while len(list((here / "out").glob("*.png"))) < 2:
            assert time.monotonic() < limit
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    first = {path: path.stat().st_mtime_ns for path in (here / "out").glob("*.png")}
    assert 2 <= len(first) < 8
    assert all(read_picture(path).pixels.shape == (40, 40, 3) for path in first)
    subprocess.run(command, env=environment, check=True, capture_output=True)  # noqa: S603
    assert len(list((here / "out").glob("*.png"))) == 8
    assert all(path.stat().st_mtime_ns == when for path, when in first.items())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["edrs", "in.png", "out.png"], "did you mean 'edsr'"),
        (["imdn_x2", "in.png", "out.png"], "comes without weights"),
        (["edsr_x2_compact", "missing.png", "out.png"], "there is no file or folder 'missing.png'"),
        (["edsr_x2_compact", "in.png", "out.gif"], "has no suffix of an image"),
        (["edsr_x2_compact", "in.png", "x" * 300 + ".png"], "File name too long"),
        (["edsr_x2_compact", "x" * 300, "out.png"], "there is no file or folder"),
        (["x" * 300 + ".pth", "in.png", "out.png"], "is not there"),
        (["edsr_x2_compact", "in.png", "in.png"], "is the image that is read"),
        (["edsr_x2_compact", "text.png", "out.png"], "text.png cannot be read"),
        (["edsr_x2_compact", "w.mp4", "out.png"], "w.mp4 cannot be read"),
        (["edsr_x2_compact", "in.png", "out.png", "--tile", "-1"], "--tile"),
        (["edsr_x2_compact", "in.png", "out.png", "--weights", "w.gif"], "w.gif"),
        (["torch.nn:Tanhshrink", "in.png", "out.png", "--device", "none"], "no kind of device"),
    ],
)
def test_mistakes_are_one_sentence(here, arguments, why, capsys):
    save(here / "in.png", noise(8, 8, 3))
    for name in ("text.png", "w.mp4", "w.gif"):
        (here / name).write_text("text")
    assert main(["upscale", *arguments]) == 2
    out, err = capsys.readouterr()
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert why in line
    assert "Traceback" not in out + err
    assert not (here / "out.png").exists()
