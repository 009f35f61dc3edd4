"""What fine-tuning does to a network, and what it leaves alone."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from prunekit.data.pairs import ImagePair
from prunekit.data.patches import Patches
from prunekit.data.resize import downscale
from prunekit.errors import DataError, TrainError
from prunekit.nets.edsr import EDSR
from prunekit.progress import Silent
from prunekit.train.loop import finetune
from prunekit.train.options import Distill, TrainOptions


def make_pairs(count=3, scale=2):
    """Smooth images with some structure."""
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(count):
        coarse = rng.integers(0, 256, (6, 7, 3), dtype=np.uint8)
        hr = coarse.repeat(4 * scale, axis=0).repeat(4 * scale, axis=1)
        pairs.append(ImagePair(f"image{index}", downscale(hr, scale), hr))
    return pairs


def make_model(seed=0, channels=8, blocks=1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return EDSR(2, channels, blocks)


def train(model, *, teacher=None, seed=0, progress=None, pairs=None, **options):
    settings = TrainOptions(**{"steps": 4, "batch_size": 2, "patch_size": 8, **options})
    return finetune(
        model,
        pairs or make_pairs(),
        settings,
        teacher=teacher,
        seed=seed,
        device=torch.device("cpu"),
        progress=progress or Silent(),
    )


def weights(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_equal_weights(one, other):
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def test_one_step_is_that_of_adam_on_the_mean_absolute_error():
    trained, expected = make_model(), make_model()
    train(trained, steps=1, learning_rate=1e-3)
    lr, hr = Patches(make_pairs(), patch_size=8, seed=0).sample(0, range(2))
    adam = torch.optim.Adam(expected.parameters(), lr=1e-3)
    (expected(lr) - hr).abs().mean().backward()
    adam.step()
    assert_equal_weights(weights(trained), weights(expected))


def test_several_steps_with_every_option_are_those_of_a_plain_loop():
    trained, expected, teacher = make_model(), make_model(), make_model(seed=5).eval()
    options = {"steps": 5, "learning_rate": 1e-2, "warmup": 2, "loss": "mse", "clip_norm": 0.01}
    train(trained, teacher=teacher, seed=3, distill=Distill(weight=0.5), **options)
    adam = torch.optim.Adam(expected.parameters())
    half = 0.5 * (1 + np.cos(np.pi / 3)), 0.5 * (1 + np.cos(2 * np.pi / 3))
    for step, share in enumerate([0.5, 1.0, 1.0, *half]):
        adam.param_groups[0]["lr"] = 1e-2 * share
        lr, hr = Patches(make_pairs(), patch_size=8, seed=3).sample(step, range(2))
        adam.zero_grad()
        sr = expected(lr)
        loss = functional.mse_loss(sr, hr) + 0.5 * (sr - teacher(lr).detach()).abs().mean()
        loss.backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 0.01)
        adam.step()
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)


def test_the_same_seed_gives_the_same_weights_and_curve_bit_for_bit():
    one, other, third = (make_model() for _ in range(3))
    first = train(one, seed=7, steps=6)
    torch.rand(17)
    second = train(other, seed=7, steps=6)
    third_curve = train(third, seed=8, steps=6)
    assert_equal_weights(weights(one), weights(other))
    assert first.loss == second.loss
    assert first.loss != third_curve.loss


def test_what_the_network_draws_is_seeded_too():
    results = []
    for _ in range(2):
        model = nn.Sequential(nn.Dropout(0.5), make_model())
        train(model, seed=1)
        results.append(weights(model))
        torch.rand(5)
    assert_equal_weights(*results)


def test_the_generators_of_the_caller_are_left_alone():
    model = nn.Sequential(nn.Dropout(0.5), make_model())
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    train(model)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("loss", ["l1", "charbonnier", "mse"])
def test_the_loss_goes_down(loss):
    curve = train(make_model(), steps=60, batch_size=4, learning_rate=5e-3, loss=loss)
    assert curve.steps[-1] == 60
    assert np.mean(curve.loss[-5:]) < 0.7 * np.mean(curve.loss[:5])


def test_only_parameters_that_require_a_gradient_are_trained():
    model = make_model()
    model.body.requires_grad_(False)
    before = weights(model)
    train(model)
    for name, tensor in model.state_dict().items():
        still = name.startswith("body.") or "mean" in name
        assert torch.equal(before[name], tensor) == still, name


def test_gradients_are_neither_used_nor_left():
    clean, dirty = make_model(), make_model()
    for parameter in dirty.parameters():
        parameter.grad = torch.ones_like(parameter)
    train(clean)
    train(dirty)
    assert_equal_weights(weights(clean), weights(dirty))
    assert all(parameter.grad is None for parameter in dirty.parameters())


class Modes(nn.Module):
    """Writes down the mode of every pass."""

    def __init__(self, inner, *, fail_at=None):
        super().__init__()
        self.inner, self.fail_at = inner, fail_at
        self.modes = []

    def forward(self, lr):
        self.modes.append((self.training, torch.is_grad_enabled()))
        if len(self.modes) == self.fail_at:
            message = "out of luck"
            raise RuntimeError(message)
        return self.inner(lr)


def test_the_network_trains_in_training_mode_and_the_teacher_does_not():
    model, teacher = Modes(make_model()).eval(), Modes(make_model(1)).train()
    teacher.inner.body.eval()
    before = weights(teacher)
    train(model, teacher=teacher, distill=Distill())
    assert set(model.modes) == {(True, True)}
    assert set(teacher.modes) == {(False, False)}
    assert not any(module.training for module in model.modules())
    assert teacher.training
    assert not teacher.inner.body.training
    assert_equal_weights(before, weights(teacher))
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_failure_leaves_modes_gradients_and_generators_as_they_were():
    model = Modes(make_model(), fail_at=3).eval()
    before = torch.random.get_rng_state()
    with pytest.raises(TrainError, match=r"fails on training patches .* out of luck"):
        train(model)
    assert not any(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(before, torch.random.get_rng_state())
    assert "_is_accelerate_prepared" not in vars(model)


def test_a_failure_within_backward_leaves_no_gradients():
    model = make_model()

    def fail(_):
        message = "out of luck"
        raise RuntimeError(message)

    model.head[0].weight.register_hook(fail)
    with pytest.raises(RuntimeError, match="out of luck"):
        train(model)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_nothing_of_accelerate_stays_on_the_network():
    model = make_model()
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    train(model)
    assert {name: set(vars(module)) for name, module in model.named_modules()} == attributes
    copy.deepcopy(model)


def test_a_float64_network_is_trained_as_such():
    model = make_model().double()
    before = weights(model)
    train(model)
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.float64}
    assert not torch.equal(before["head.0.weight"], model.head[0].weight)


def test_progress_and_curve_are_told_loss_and_learning_rate():
    told = []

    class Told(Silent):
        def start(self, stage, total=None):
            told.append((stage, total))

        def advance(self, **figures):
            told.append(figures)

    curve = train(make_model(), steps=3, learning_rate=1e-3, schedule="constant", progress=Told())
    assert told[0] == ("fine-tune", 3)
    assert [figures["learning_rate"] for figures in told[1:]] == [1e-3] * 3
    assert tuple(figures["loss"] for figures in told[1:]) == curve.loss
    assert (curve.steps, curve.images, curve.batch_size, curve.patch_size) == ((1, 2, 3), 3, 2, 8)


class Diverging(nn.Module):
    """Gives `value` from a pass on."""

    def __init__(self, first_bad, value):
        super().__init__()
        self.inner, self.first_bad, self.value, self.passes = make_model(), first_bad, value, 0

    def forward(self, lr):
        self.passes += 1
        return self.inner(lr) * (self.value if self.passes >= self.first_bad else 1.0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_names_the_step_and_what_to_do(value):
    model = Diverging(3, value)
    with pytest.raises(
        TrainError, match=r"the loss is not finite at step 3 of 4; lower learning_rate from 0\.0002"
    ):
        train(model)
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_weights_that_the_last_step_ruins_are_refused():
    model = make_model()
    model.head[0].weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainError, match="a weight is not finite at step 1 of 1"):
        train(model, steps=1)


def test_a_network_of_another_scale_is_told_with_both_shapes():
    with pytest.raises(TrainError, match=r"\(2, 3, 8, 8\) into \(2, 3, 16, 16\) where .* 24, 24\)"):
        train(make_model(), pairs=make_pairs(scale=3))


def test_a_network_without_trainable_parameters_is_refused():
    with pytest.raises(TrainError, match="nothing to train"):
        train(make_model().requires_grad_(requires_grad=False))


def test_an_image_smaller_than_a_patch_is_named():
    with pytest.raises(DataError, match="image 'image0' is 28x24 pixels once reduced"):
        train(make_model(), patch_size=25)


@pytest.mark.parametrize("distill", [None, Distill()])
def test_a_teacher_goes_with_distillation_only(distill):
    teacher = None if distill else make_model()
    with pytest.raises(ValueError, match="if and only if"):
        train(make_model(), teacher=teacher, distill=distill)


def test_distillation_pulls_the_network_to_its_teacher():
    teacher = make_model(seed=9)
    lr, _ = Patches(make_pairs(), patch_size=8, seed=0).sample(0, range(4))
    distances = []
    for weight in (0.01, 100.0):
        model = make_model()
        train(model, teacher=teacher, steps=40, learning_rate=3e-3, distill=Distill(weight))
        with torch.no_grad():
            distances.append((model(lr) - teacher(lr)).abs().mean().item())
    assert distances[1] < 0.5 * distances[0]


PROCESS = """
import sys
from safetensors.torch import save_file
from test_finetune import make_model, train

model = make_model().double()
train(model, steps=3, batch_size=4)
save_file(model.state_dict(), sys.argv[1] + "/" + __import__("os").environ["RANK"])
"""


@pytest.mark.slow
def test_two_processes_train_as_one_does(tmp_path):
    (tmp_path / "process.py").write_text(PROCESS)
    paths = [str(Path(__file__).parent), str(Path.cwd())]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [*launch, str(tmp_path / "process.py"), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=300)  # noqa: S603
    from safetensors.torch import load_file  # noqa: PLC0415

    alone = make_model().double()
    train(alone, steps=3, batch_size=4)
    first, second = load_file(tmp_path / "0"), load_file(tmp_path / "1")
    assert_equal_weights(first, second)
    for name, tensor in alone.state_dict().items():
        torch.testing.assert_close(first[name], tensor, rtol=1e-9, atol=1e-12)


@pytest.mark.gpu
def test_a_gpu_trains_the_network_where_it_is_told_to():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model, device = make_model(), torch.device("cuda", 0)
    before = torch.random.get_rng_state(), torch.cuda.get_rng_state()
    options = TrainOptions(steps=2, batch_size=2, patch_size=8)
    finetune(model, make_pairs(), options, teacher=None, seed=0, device=device, progress=Silent())
    assert {parameter.device for parameter in model.parameters()} == {device}
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert torch.equal(before[1], torch.cuda.get_rng_state())


def test_a_network_that_returns_more_than_the_image_is_refused():
    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = make_model()

        def forward(self, lr):
            sr = self.inner(lr)
            return sr, sr.mean()

    with pytest.raises(TrainError, match="returns a tuple in training where the image alone"):
        train(Several())
