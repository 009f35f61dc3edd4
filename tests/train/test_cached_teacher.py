"""A teacher that runs once: what is kept of it, when it runs anew, and what is trained on."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from prunekit.data.cache import Cache
from prunekit.data.pairs import ClipPair, ImagePair
from prunekit.data.patches import Patches, Window
from prunekit.data.resize import downscale
from prunekit.errors import CacheError, DataError, TrainError
from prunekit.progress import Silent
from prunekit.train import teacher as teacher_module
from prunekit.train.loop import Session, finetune
from prunekit.train.options import Distill, TrainOptions
from tests.train.test_finetune import (
    Modes,
    assert_equal_weights,
    make_model,
    make_pairs,
    weights,
)
from tests.train.test_resume import Stops

OPTIONS = {"steps": 4, "batch_size": 4, "patch_size": 8, "learning_rate": 1e-2}
SIZES = [(28, 24)] * 3  # of LR
PROBE = (teacher_module._PROBE,) * 2


class Watched(Modes):
    """A teacher that writes down the size of every image that it sees."""

    def __init__(self, inner=None):
        super().__init__(inner or make_model(5, channels=12))
        self.sizes = []

    def forward(self, lr):
        self.sizes.append((lr.shape[3], lr.shape[2]))
        return super().forward(lr)

    @property
    def images(self):
        """Without the noise that it is told by."""
        assert self.sizes.count(PROBE) == 1
        return [size for size in self.sizes if size != PROBE]


class Loud(nn.Module):
    """Draws in evaluation, too."""

    def __init__(self):
        super().__init__()
        self.inner = make_model(5)

    def forward(self, lr):
        return self.inner(lr) + 0.1 * torch.rand(())


def train(folder, *, teacher=None, model=None, pairs=None, progress=None, session=None, **options):
    model = model or make_model()
    distill = options.pop("distill", Distill(0.5, cache_teacher=True))
    curve = finetune(
        model,
        pairs or make_pairs(),
        TrainOptions(**{**OPTIONS, **options}, distill=distill),
        teacher=teacher or make_model(5, channels=12),
        seed=3,
        device=torch.device("cpu"),
        progress=progress or Silent(),
        session=Session(cache=Cache(folder), **(session or {})),
    )
    return weights(model), curve


def kept(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def whole_output(teacher, lr, white=255):
    """What a teacher makes of a whole image, with nothing of the code under test."""
    planes = np.ascontiguousarray(lr.transpose(2, 0, 1)).astype(np.float32) / np.float32(white)
    with torch.no_grad():
        return teacher(torch.from_numpy(planes)[None])[0].permute(1, 2, 0).float().numpy()


def whole_outputs(teacher):
    return [whole_output(teacher, pair.lr) for pair in make_pairs()]


def assert_kept_are(folder, outputs, *, steps_of_16_bits=0):
    """The cache holds these, whatever the order."""
    found = {output.tobytes(): output for output in map(Cache(folder).read_output, kept(folder))}
    assert len(found) == len(outputs)
    for output in outputs:
        half = output.astype(np.float16)
        if not steps_of_16_bits:
            assert half.tobytes() in found
        else:
            near = (np.abs(half.view(np.int16) - o.view(np.int16)).max() for o in found.values())
            assert min(near) <= steps_of_16_bits


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_outputs_are_cut_and_turned_as_hr_is(scale):
    rng = np.random.default_rng(0)
    hr = [rng.integers(0, 256, (9 * scale, 11 * scale, 3), np.uint8) for _ in range(3)]
    pairs = [ImagePair(str(n), downscale(image, scale), image) for n, image in enumerate(hr)]
    outputs = [(image / 255).astype(np.float16) for image in hr]
    patches = Patches(pairs, patch_size=5, seed=1, outputs=outputs)
    _, expected = patches.sample(2, range(60))
    found = patches.sample_outputs(2, range(60))
    assert torch.equal(found, expected.half().float())
    assert Patches(pairs, patch_size=5, seed=1).sample_outputs(2, range(60)) is None


def test_steps_are_those_of_a_plain_loop_on_outputs_of_whole_images(tmp_path):
    teacher, expected = make_model(5, channels=12), make_model()
    trained, _ = train(tmp_path, teacher=teacher, schedule="constant")
    outputs = [output.astype(np.float16) for output in whole_outputs(teacher)]
    patches = Patches(make_pairs(), patch_size=8, seed=3, outputs=outputs)
    adam = torch.optim.Adam(expected.parameters(), lr=1e-2)
    for step in range(4):
        lr, hr = patches.sample(step, range(4))
        adam.zero_grad()
        sr, target = expected(lr), patches.sample_outputs(step, range(4))
        (functional.l1_loss(sr, hr) + 0.5 * (sr - target).abs().mean()).backward()
        adam.step()
    for name, tensor in weights(expected).items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-5, atol=1e-7)


def test_what_is_kept_is_the_output_of_the_whole_image_in_16_bits(tmp_path):
    teacher = make_model(5)
    train(tmp_path, teacher=teacher)
    assert_kept_are(tmp_path, whole_outputs(teacher))


def test_16_bits_round_by_no_more_than_is_said():
    for least, white, bound in ((-1, 1, 0.07), (1, 2, 0.13)):
        exact = np.linspace(least, white, 100_001, dtype=np.float32)
        error = np.abs(exact.astype(np.float16).astype(np.float32) - exact).max()
        assert 0.85 * bound < error * 255 < bound


def test_the_teacher_runs_once_an_image_and_in_no_step(tmp_path):
    teacher = Watched()
    train(tmp_path, teacher=teacher, steps=30)
    assert teacher.images == SIZES
    assert set(teacher.modes) == {(False, False)}
    again = Watched()
    train(tmp_path, teacher=again, steps=30)
    assert again.images == []


def test_it_matters_whose_outputs_are_kept(tmp_path):
    plain, _ = train(tmp_path, distill=Distill(1e-12, cache_teacher=True))
    pulled, _ = train(tmp_path)
    live, _ = train(tmp_path, distill=Distill(0.5))
    for other in (plain, live):  # at the borders of patches, and mirrored, a teacher gives others
        assert any(not torch.equal(tensor, other[name]) for name, tensor in pulled.items())


@pytest.mark.parametrize("laplacian", [0.0, 1.0])
def test_every_term_of_outputs_can_be_had(tmp_path, laplacian):
    options = {"steps": 30, "patch_size": 16, "learning_rate": 3e-3}
    distill = Distill(1.0, laplacian=laplacian, cache_teacher=True)
    _, curve = train(tmp_path, distill=distill, **options)
    assert np.mean(curve.loss[-5:]) < np.mean(curve.loss[:5])


class Scaled(nn.Module):
    """A number of its own that no weight tells."""

    def __init__(self, factor=1.0):
        super().__init__()
        self.inner, self.factor = make_model(5), factor

    def forward(self, lr):
        return self.inner(lr) * self.factor


def test_another_teacher_has_outputs_of_its_own(tmp_path):
    train(tmp_path, teacher=Watched(make_model(5)))
    changed = make_model(5)
    with torch.no_grad():
        changed.tail[1].bias[0] += 1e-3
    others = [make_model(6), changed, Scaled(), Scaled(0.5), make_model(5, channels=12)]
    for number, other in enumerate(others):
        teacher = Watched(other)
        train(tmp_path, teacher=teacher)
        assert teacher.images == SIZES, number
        assert len(kept(tmp_path)) == 3 * (number + 2)
    train(tmp_path, teacher=(last := Watched(changed)))
    assert last.images == []


def test_a_teacher_that_is_trained_on_in_between_is_run_anew(tmp_path):
    teacher = make_model(5)
    train(tmp_path, teacher=teacher)
    first = {path.name for path in kept(tmp_path)}
    with torch.no_grad():
        teacher.body[0].body[0].weight.mul_(1.01)
    train(tmp_path, teacher=teacher)
    both = {path for path in kept(tmp_path) if path.name not in first}
    assert len(both) == 3
    for path in kept(tmp_path):
        if path not in both:
            path.unlink()
    assert_kept_are(tmp_path, whole_outputs(teacher))


def test_an_image_that_changes_is_run_anew_and_no_other(tmp_path):
    train(tmp_path)
    pairs = make_pairs()
    lr = pairs[1].lr.copy()
    lr[3, 4, 0] ^= 1
    pairs[1] = ImagePair("image1", lr, pairs[1].hr)
    teacher = Watched(make_model(5, channels=12))
    renamed = [ImagePair(f"other{n}", pair.lr, pair.hr) for n, pair in enumerate(pairs)]
    train(tmp_path, teacher=Watched(make_model(5, channels=12)))
    train(tmp_path, teacher=teacher, pairs=renamed)
    assert teacher.images == SIZES[:1]


def test_a_precision_has_outputs_of_its_own(tmp_path):
    teacher = make_model(5)
    train(tmp_path, teacher=teacher)
    before = kept(tmp_path)
    train(tmp_path, teacher=teacher, distill=Distill(0.5, precision="bf16", cache_teacher=True))
    for path in before:
        path.unlink()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = whole_outputs(teacher)
    assert_kept_are(tmp_path, outputs)


def test_large_images_are_run_in_tiles_that_are_not_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_module, "_TILE", 16)
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 256, (48, 192, 3), np.uint8)
    pair = ImagePair("long", downscale(hr, 2), hr)
    teacher = Watched(make_model(5))
    train(tmp_path, teacher=teacher, pairs=[pair])
    widths = {width for width, height in teacher.images if height == 24}
    assert widths
    assert max(widths) < 96
    assert_kept_are(tmp_path, [whole_output(teacher.inner, pair.lr)], steps_of_16_bits=1)


class LooksEverywhere(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = make_model(5)

    def forward(self, lr):
        return self.inner(lr) * lr.mean((2, 3), keepdim=True)


def test_a_teacher_that_looks_everywhere_is_not_run_in_tiles(tmp_path, monkeypatch):
    monkeypatch.setattr(teacher_module, "_TILE", 16)
    teacher = LooksEverywhere()
    train(tmp_path, teacher=teacher)
    assert_kept_are(tmp_path, whole_outputs(teacher))


def test_images_of_16_bits_go_in_as_they_are(tmp_path):
    rng = np.random.default_rng(0)
    hr = rng.integers(0, 2**16, (24, 28, 3), np.uint16)
    lr = rng.integers(0, 2**16, (12, 14, 3), np.uint16)
    teacher = make_model(5)
    train(tmp_path, teacher=teacher, pairs=[ImagePair("deep", lr, hr)])
    assert_kept_are(tmp_path, [whole_output(teacher, lr, white=65535)])


@pytest.mark.parametrize("teacher", [Loud, lambda: make_model(5)], ids=["drawing", "still"])
def test_cold_or_warm_the_same_is_trained(tmp_path, teacher):
    def model():
        return nn.Sequential(nn.Dropout(0.2), make_model())  # draws itself

    cold, first = train(tmp_path / "one", teacher=teacher(), model=model())
    warm, second = train(tmp_path / "one", teacher=teacher(), model=model())
    elsewhere, third = train(tmp_path / "two", teacher=teacher(), model=model())
    assert_equal_weights(cold, warm)
    assert_equal_weights(cold, elsewhere)
    assert first.loss == second.loss == third.loss
    one, two = ([path.read_bytes() for path in kept(tmp_path / n)] for n in ("one", "two"))
    assert sorted(one) == sorted(two)


def test_the_generators_of_the_caller_are_left_alone(tmp_path):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(tmp_path, teacher=Loud())
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("options", [{"workers": 2}, {"accumulate": 4, "optimizer": "sgd"}])
def test_workers_and_parts_of_a_batch_train_the_same(tmp_path, options):
    optimizer = {"optimizer": options.get("optimizer", "adam")}
    alone, one = train(tmp_path, **optimizer)
    helped, other = train(tmp_path, **options)
    assert one.loss == pytest.approx(other.loss, rel=1e-6)
    for name, tensor in alone.items():
        if "workers" in options:
            assert torch.equal(tensor, helped[name])
        torch.testing.assert_close(tensor, helped[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("cold", [False, True])
def test_a_training_that_is_stopped_goes_on_to_the_same_bits(tmp_path, cold):
    def run(name, progress=None):
        session = {"folder": tmp_path / name}
        options = {"steps": 10, "checkpoint_every": 3, "ema": 0.9}
        return train(tmp_path / "cache", progress=progress, session=session, **options)

    straight, curve = run("straight")
    for after in (5, 3):
        with pytest.raises(KeyboardInterrupt):
            run("stopped", Stops(after))
        for path in kept(tmp_path / "cache") if cold else ():
            path.unlink()
    found, later = run("stopped")
    assert_equal_weights(found, straight)
    assert later.loss == curve.loss


def test_a_checkpoint_of_a_live_teacher_is_another_training(tmp_path):
    session = {"folder": tmp_path / "run"}
    options = {"checkpoint_every": 1, "session": session}
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cache", progress=Stops(2), distill=Distill(0.5), **options)
    with pytest.raises(TrainError, match="of a training with other distill"):
        train(tmp_path / "cache", **options)


class Told(Silent):
    """Keeps what it is told of one stage, and may stop in it."""

    def __init__(self, stop_after=None):
        self.stage, self.told, self.left, self.warned = "", [], stop_after, []

    def start(self, stage, total=None):
        self.stage = stage
        self.told.append((stage, total))

    def advance(self, **_figures):
        if self.stage == "run the teacher":
            self.told.append("advance")
            if self.told.count("advance") == self.left:
                raise KeyboardInterrupt

    def finish(self, note=""):
        if self.stage == "run the teacher":
            self.told.append(note)

    def warn(self, message):
        self.warned.append(message)


def test_progress_is_told_of_every_image(tmp_path):
    progress = Told()
    train(tmp_path, progress=progress)
    assert progress.told[:5] == [
        ("run the teacher", 3),
        *["advance"] * 3,
        "3 images, 3 of them new",
    ]
    assert progress.told[5] == ("fine-tune", 4)
    again = Told()
    train(tmp_path, progress=again)
    assert again.told[4] == "3 images, 0 of them new"


def test_work_that_is_interrupted_goes_on_where_it_was(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, progress=Told(stop_after=2))
    assert len(kept(tmp_path)) == 2
    teacher = Watched(make_model(5, channels=12))
    plain = make_model(5, channels=12)
    train(tmp_path, teacher=plain)
    assert_kept_are(tmp_path, whole_outputs(plain))
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "other", teacher=teacher, progress=Told(stop_after=2))
    teacher.sizes.clear()
    train(tmp_path / "other", teacher=teacher)
    assert teacher.images == SIZES[:1]


@pytest.mark.parametrize("damage", [b"", b"prunekit output 1\n{", b"prunekit pair 1\n{}" * 99])
def test_what_is_damaged_is_made_anew(tmp_path, damage):
    teacher = make_model(5)
    train(tmp_path, teacher=teacher)
    kept(tmp_path)[0].write_bytes(damage)
    whole = kept(tmp_path)[1].read_bytes()
    kept(tmp_path)[1].write_bytes(whole[:-64])
    again = Told()
    train(tmp_path, teacher=teacher, progress=again)
    assert again.told[4] == "3 images, 2 of them new"
    assert_kept_are(tmp_path, whole_outputs(teacher))


@pytest.mark.parametrize("workers", [0, 1])
def test_an_output_that_is_deleted_while_it_is_in_use_is_told(tmp_path, workers):
    class Deletes(Silent):
        def start(self, stage, _total=None):
            if stage == "fine-tune":
                for path in kept(tmp_path):
                    path.unlink()

    with pytest.raises(DataError, match=r"made of image 'image\d' was deleted .*; start again"):
        train(tmp_path, progress=Deletes(), workers=workers)


def test_outputs_count_towards_the_limit_and_old_ones_go_first(tmp_path):
    train(tmp_path, teacher=make_model(6))
    old = kept(tmp_path)
    for path in old:
        os.utime(path, (1000, 1000))
    size = Cache(tmp_path).size()
    assert size == sum(path.stat().st_size for path in old)
    told = Told()
    session = Session(cache=Cache(tmp_path, limit=size - 1))
    options = TrainOptions(**OPTIONS, distill=Distill(cache_teacher=True))
    finetune(
        make_model(),
        make_pairs(),
        options,
        teacher=make_model(5),
        seed=0,
        device=torch.device("cpu"),
        progress=told,
        session=session,
    )
    assert len(kept(tmp_path)) == 3
    assert set(old).isdisjoint(kept(tmp_path))
    assert "since the outputs of the teacher need as much" in told.warned[0]


def test_outputs_that_are_used_are_marked_so(tmp_path):
    train(tmp_path)
    for path in kept(tmp_path):
        os.utime(path, (1000, 1000))
    train(tmp_path, steps=1, batch_size=1)
    assert all(time.time() - path.stat().st_mtime < 3600 for path in kept(tmp_path))


class Broken(nn.Module):
    """Does what it is told with whole images."""

    def __init__(self, change):
        super().__init__()
        self.inner, self.change = make_model(5), change

    def forward(self, lr):
        sr = self.inner(lr)
        return sr if lr.shape[2] == PROBE[0] else self.change(sr)


def fail(_sr):
    message = "out of luck"
    raise RuntimeError(message)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (fail, "image 'image0': the network fails on an image of 28x24 pixels .* out of luck"),
        (lambda sr: sr * float("nan"), "image 'image0': the network's output holds values that"),
        (lambda sr: sr[:, :1], r"image 'image0': the network turns one RGB image into \(1, 1, "),
        (lambda sr: sr[..., ::2, ::2], "'image0' into 28x24 pixels where HR has 56x48; take a"),
        (lambda sr: sr * 1e6, "makes pixels of .* of image 'image0' .*, too large to be kept"),
    ],
)
def test_a_teacher_that_gives_no_image_is_told_in_one_sentence(tmp_path, change, sentence):
    with pytest.raises(TrainError, match=sentence) as caught:
        train(tmp_path, teacher=Broken(change))
    assert "\n" not in str(caught.value)
    assert kept(tmp_path) == []


def test_a_teacher_that_cannot_be_told_from_others_is_refused(tmp_path):
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_model(5)

        def forward(self, lr):
            return fail(lr) if lr.shape[2] > 50 else self.inner(lr)

    with pytest.raises(TrainError, match=r"noise: .* 96x96 .*, or leave cache_teacher out$"):
        train(tmp_path, teacher=Small())


def test_a_folder_that_takes_no_files_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"outputs of the teacher cannot be kept .*leave 'cache_t"):
        train(tmp_path / "file")


def test_clips_and_features_are_refused(tmp_path):
    with pytest.raises(TrainError, match=r"^distill\.features of training is 0\.5, and it has to"):
        TrainOptions(1, distill=Distill(features=0.5, cache_teacher=True))
    hr = np.zeros((4, 32, 32, 3), np.uint8)
    clips = [ClipPair("clip", hr[:, ::2, ::2], hr)]
    with pytest.raises(TrainError, match="single images, and these are clips; leave it out"):
        finetune(
            make_model(),
            clips,
            TrainOptions(**OPTIONS, distill=Distill(cache_teacher=True)),
            window=Window(3),
            teacher=make_model(),
            seed=0,
            device=torch.device("cpu"),
            progress=Silent(),
            session=Session(cache=Cache(tmp_path)),
        )


PROCESS = """
import os, sys
from pathlib import Path
from safetensors.torch import save_file
from tests.train.test_cached_teacher import Watched, make_model, train

teacher = Watched(make_model(5).double())
found, _ = train(Path(sys.argv[1]) / "cache", teacher=teacher, model=make_model().double())
Path(sys.argv[1], f"sizes-{os.environ['RANK']}").write_text(str(len(teacher.images)))
save_file(found, sys.argv[1] + "/" + os.environ["RANK"])
"""


@pytest.mark.slow
def test_two_processes_share_the_teacher_and_train_as_one_does(tmp_path):
    (tmp_path / "process.py").write_text(PROCESS)
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(tmp_path / "process.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=300)  # noqa: S603
    from safetensors.torch import load_file  # noqa: PLC0415

    assert len(kept(tmp_path / "cache")) == 3
    model = make_model().double()
    alone, _ = train(tmp_path / "alone", teacher=make_model(5).double(), model=model)
    first, second = load_file(tmp_path / "0"), load_file(tmp_path / "1")
    assert_equal_weights(first, second)
    for name, tensor in alone.items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-6, atol=1e-9)
    runs = [int((tmp_path / f"sizes-{rank}").read_text()) for rank in range(2)]
    assert 3 <= sum(runs) <= 6
    assert min(runs) >= 1
