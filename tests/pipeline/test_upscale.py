"""Pictures are enlarged with all their bits and channels, files whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import prunekit
from prunekit.data.encode import encode_picture
from prunekit.data.image import Picture, read_picture
from prunekit.errors import DataError, MeasureError
from prunekit.nets import EDSR
from prunekit.pipeline.upscale import upscale_files
from prunekit.progress import Silent


class Repeat(nn.Module):
    """Repeats pixels, so that what comes out is known; an image taller than 40 makes it fail."""

    scale = 2

    def forward(self, x):
        if x.shape[2] > 40:
            message = "too tall"
            raise RuntimeError(message)
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)


class Warned(Silent):
    """A progress that keeps what it is told."""

    def __init__(self):
        self.warnings, self.total = [], None

    def start(self, stage, total=None):
        assert stage == "upscale"
        self.total = total

    def warn(self, message):
        self.warnings.append(message)


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_picture(Picture(pixels), ".png"))


def doubled(pixels):
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 1), (9, 7, 3)])
@pytest.mark.parametrize("tile", [0, 4])
def test_colour_keeps_every_bit(dtype, shape, tile):
    image = noise(*shape, dtype=dtype)
    large = prunekit.upscale(Repeat(), image, tile=tile)
    assert large.dtype == dtype
    assert np.array_equal(large, doubled(image))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [2, 4])
def test_alpha_is_enlarged_apart(dtype, channels):
    image = noise(9, 7, channels, dtype=dtype)
    top = np.iinfo(dtype).max
    image[..., -1] = top
    image[:, :3, -1] = 0
    large = prunekit.upscale(Repeat(), image)
    assert np.array_equal(large[..., :-1], doubled(image[..., :-1]))
    alpha = large[..., -1]
    assert (alpha[:, :2] == 0).all()
    assert (alpha[:, -4:] == top).all()
    assert np.unique(alpha).size > 2, "the edge is smooth"


def test_tiles_of_edsr_are_not_seen():
    torch.manual_seed(0)
    net, image = EDSR(2, 8, 2).eval(), noise(40, 52, 3, dtype=np.uint16)
    whole = prunekit.upscale(net, image, tile=0).astype(int)
    tiled = prunekit.upscale(net, image, tile=16).astype(int)
    assert np.abs(tiled - whole).max() <= 1


def test_a_network_without_bounds_is_warned_of():
    class Mean(Repeat):
        def forward(self, x):
            return super().forward(x) * 0.5 + x.mean() * 0.5

    told = Warned()
    prunekit.upscale(Mean(), noise(20, 20, 3), tile=16, progress=told)
    assert told.total == 4
    assert len(told.warnings) == 1
    assert "may differ from the whole image; --tile 0" in told.warnings[0]
    told = Warned()
    prunekit.upscale(Mean(), noise(20, 20, 3), tile=16, overlap=4, progress=told)
    assert told.warnings == []


@pytest.mark.parametrize(
    "image",
    [noise(4, 4, 5), noise(4), np.zeros((4, 4, 3)), noise(0, 4, 3), noise(1, 2, 3, 4)],
    ids=["channels", "line", "float", "empty", "batch"],
)
def test_what_is_no_picture_is_refused(image):
    with pytest.raises(DataError, match=r"^a picture is \(H, W\) or"):
        prunekit.upscale(Repeat(), image)


@pytest.mark.parametrize("options", [{"tile": -1}, {"overlap": -1}])
def test_sizes_of_tiles_below_0_are_refused(options):
    with pytest.raises(DataError, match="are no sizes"):
        prunekit.upscale(Repeat(), noise(4, 4, 3), **options)


def test_a_folder_keeps_its_layout_and_goes_on_where_it_stopped(tmp_path):
    images = {"a.png": noise(5, 4, 3), "deep/b.png": noise(6, 3, 4), "deep/er/c.png": noise(3, 3)}
    for name, pixels in images.items():
        save(tmp_path / "in" / name, pixels if pixels.ndim == 3 else pixels[..., None])
    (tmp_path / "in" / "notes.txt").write_text("no image")
    save(tmp_path / "in" / ".hidden.png", noise(3, 3, 3))
    out = tmp_path / "out"
    save(out / "a.png", noise(1, 1, 3))

    enlarged = upscale_files(Repeat(), tmp_path / "in", out)
    assert (enlarged.written, enlarged.kept) == (2, 1)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*.*")) == sorted(images)
    assert read_picture(out / "a.png").pixels.shape == (1, 1, 3)
    assert np.array_equal(
        read_picture(out / "deep" / "er" / "c.png").pixels[..., 0], doubled(images["deep/er/c.png"])
    )
    enlarged = upscale_files(Repeat(), tmp_path / "in", out, overwrite=True)
    assert (enlarged.written, enlarged.kept) == (3, 0)
    assert np.array_equal(read_picture(out / "a.png").pixels, doubled(images["a.png"]))


def test_an_image_that_cannot_be_used_does_not_stop_the_others(tmp_path):
    save(tmp_path / "in" / "a.png", noise(50, 4, 3))
    (tmp_path / "in" / "b.png").write_text("no image")
    save(tmp_path / "in" / "c.png", noise(5, 4, 3))
    told = Warned()
    with pytest.raises(
        DataError, match=r"^2 of 3 images could not be enlarged: image \S+a.png: the network"
    ):
        upscale_files(Repeat(), tmp_path / "in", tmp_path / "out", progress=told)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["c.png"]
    assert len(told.warnings) == 2


def test_one_file_is_not_replaced_unless_asked(tmp_path):
    save(tmp_path / "in.png", noise(5, 4, 3))
    upscale_files(Repeat(), tmp_path / "in.png", tmp_path / "out.bmp")
    with pytest.raises(DataError, match="is there already"):
        upscale_files(Repeat(), tmp_path / "in.png", tmp_path / "out.bmp")
    upscale_files(Repeat(), tmp_path / "in.png", tmp_path / "out.bmp", overwrite=True)
    assert np.array_equal(read_picture(tmp_path / "out.bmp").pixels, doubled(noise(5, 4, 3)))
    (tmp_path / "folder").mkdir()
    upscale_files(Repeat(), tmp_path / "in.png", tmp_path / "folder")
    assert (tmp_path / "folder" / "in.png").is_file()


def test_what_cannot_be_written_is_told_before_the_work(tmp_path):
    save(tmp_path / "deep.png", noise(5, 4, 3, dtype=np.uint16))
    save(tmp_path / "in" / "a.png", noise(5, 4, 3))
    save(tmp_path / "two" / "a.png", noise(5, 4, 3))
    (tmp_path / "two" / "a.bmp").write_bytes(encode_picture(Picture(noise(5, 4, 3)), ".bmp"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "way" / "a.png").mkdir(parents=True)
    cases = {
        ("deep.png", "out.jpg"): "16 bits is written as .png",
        ("deep.png", "out"): "has no suffix of an image",
        ("deep.png", "deep.png"): "is the image that is read",
        ("in/a.png", "no/out.png"): "there is no folder '.*no' for",
        ("missing.png", "out.png"): "there is no file or folder",
        ("in", "in"): "is in the folder that is read",
        ("in", "in/out"): "is in the folder that is read",
        ("in", "deep.png"): "is no folder",
        ("two", "out"): "a.bmp and .*a.png become .*a.png",
        ("empty", "out"): "holds no image",
        ("in", "way"): "way/a.png is a folder, where .*in/a.png is to go",
    }

    class Never(Repeat):
        def forward(self, _):
            raise AssertionError

    for (source, target), why in cases.items():
        with pytest.raises(DataError, match=why):
            upscale_files(Never(), tmp_path / source, tmp_path / target)
    assert not (tmp_path / "out").exists()


def test_the_network_of_one_file_may_fail(tmp_path):
    save(tmp_path / "in.png", noise(50, 4, 3))
    with pytest.raises(MeasureError, match="the network fails on an image of 4x50"):
        upscale_files(Repeat(), tmp_path / "in.png", tmp_path / "out.png")
    assert not (tmp_path / "out.png").exists()
