"""Every option of training does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from accelerate import Accelerator, DistributedType, PartialState
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn import functional

from prunekit.data.pairs import ClipPair
from prunekit.data.patches import Window
from prunekit.data.resize import downscale
from prunekit.errors import TrainError
from prunekit.measure.infer import infer
from prunekit.progress import Silent
from prunekit.train.ema import MovingAverage
from prunekit.train.loop import finetune
from prunekit.train.losses import total_loss
from prunekit.train.options import Distill, TrainOptions
from prunekit.train.schedule import learning_rate_at
from tests.train.test_finetune import assert_equal_weights, make_model, train, weights


@pytest.mark.parametrize(
    ("name", "kind", "arguments"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.8, 0.9), "weight_decay": 0.1}),
        ("adamw", torch.optim.AdamW, {"betas": (0.8, 0.9), "weight_decay": 0.1}),
        ("adamax", torch.optim.Adamax, {"betas": (0.8, 0.9), "weight_decay": 0.1}),
        ("sgd", torch.optim.SGD, {"momentum": 0.8, "weight_decay": 0.1}),
    ],
)
def test_optimizers_are_those_of_torch(name, kind, arguments):
    from prunekit.data.patches import Patches  # noqa: PLC0415
    from tests.train.test_finetune import make_pairs  # noqa: PLC0415

    trained, expected = make_model(), make_model()
    train(
        trained,
        steps=3,
        learning_rate=1e-2,
        schedule="constant",
        optimizer=name,
        betas=(0.8, 0.9),
        weight_decay=0.1,
    )
    optimizer = kind(expected.parameters(), lr=1e-2, **arguments)
    for step in range(3):
        lr, hr = Patches(make_pairs(), patch_size=8, seed=0).sample(step, range(2))
        optimizer.zero_grad()
        (expected(lr) - hr).abs().mean().backward()
        optimizer.step()
    assert_equal_weights(weights(trained), weights(expected))


def test_parts_of_a_batch_have_the_gradient_of_the_whole():
    whole, parts = make_model().double(), make_model().double()
    one = train(whole, steps=3, batch_size=8, learning_rate=1e-2, optimizer="sgd")
    other = train(parts, steps=3, batch_size=8, learning_rate=1e-2, optimizer="sgd", accumulate=4)
    assert one.loss == pytest.approx(other.loss)
    for name, tensor in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], tensor, rtol=1e-9, atol=1e-12)


def test_the_moving_average_is_the_result():
    snapshots, averaged = [], make_model()
    for steps in range(1, 4):
        model = make_model()
        train(model, steps=steps, learning_rate=1e-2, schedule="constant")
        snapshots.append(dict(model.named_parameters()))
    train(averaged, steps=3, learning_rate=1e-2, schedule="constant", ema=0.75)
    for name, start in make_model().named_parameters():
        expected = start.detach()
        for snapshot in snapshots:
            expected = 0.75 * expected + 0.25 * snapshot[name].detach()
        found = averaged.get_parameter(name).detach()
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_bfloat16_computes_otherwise_and_keeps_weights_as_they_are():
    plain, mixed, again = make_model(), make_model(), make_model()
    train(plain, steps=4, learning_rate=1e-2)
    before = dict(vars(mixed))
    curve = train(mixed, steps=4, learning_rate=1e-2, precision="bf16")
    train(again, steps=4, learning_rate=1e-2)
    assert {p.dtype for p in mixed.parameters()} == {torch.float32}
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), mixed.parameters()))  # noqa: B905
    assert curve.loss[-1] < 1
    assert vars(mixed).keys() == before.keys()  # accelerate's marks are gone
    assert_equal_weights(weights(plain), weights(again))  # and so is its state


def test_half_precision_without_a_gpu_is_refused():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainError, match="precision fp16 cannot be had on a CPU"):
        train(make_model(), precision="fp16")


def test_channels_last_is_a_layout_for_a_while():
    seen, plain, other = [], make_model(), make_model()
    train(plain, steps=2, learning_rate=1e-2)
    layout = torch.channels_last
    other.head[0].register_forward_hook(
        lambda m, i, _o: seen.append(
            m.weight.is_contiguous(memory_format=layout)
            and i[0].is_contiguous(memory_format=layout)
        )
    )
    train(other, steps=2, learning_rate=1e-2, channels_last=True)
    assert seen == [True, True]
    for name, tensor in plain.state_dict().items():
        assert other.state_dict()[name].is_contiguous()
        torch.testing.assert_close(other.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


class EveryFrame(nn.Module):
    """Enlarges the frames of clips by themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.net = make_model()

    def forward(self, clips):
        return self.net(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])


def test_channels_last_leaves_the_layout_of_clips_alone():
    hr = np.random.default_rng(0).integers(0, 256, (4, 20, 20, 3), dtype=np.uint8)
    lr = np.stack([downscale(frame, 2) for frame in hr])
    found = []
    for channels_last in (False, True):
        model = EveryFrame()
        finetune(
            model,
            [ClipPair("walk", lr, hr)],
            TrainOptions(steps=2, batch_size=2, patch_size=8, channels_last=channels_last),
            window=Window(3),
            teacher=None,
            seed=0,
            device=torch.device("cpu"),
            progress=Silent(),
        )
        found.append(weights(model))
    for name, tensor in found[0].items():
        torch.testing.assert_close(found[1][name], tensor, rtol=1e-3, atol=1e-4)


def test_what_a_network_does_not_take_is_told_with_what_to_leave_out():
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def forward(self, x):
            return self.net(x + self.net.head[0].weight.view(-1).sum())

    train(Flat())
    with pytest.raises(TrainError, match=r"view size.*; leave channels_last out, or"):
        train(Flat(), channels_last=True)


def test_what_a_launcher_left_in_the_environment_changes_nothing(monkeypatch):
    plain, launched = make_model(), make_model()
    train(plain)
    for name, value in {
        "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4",
        "ACCELERATE_DYNAMO_BACKEND": "EAGER",
        "ACCELERATE_MIXED_PRECISION": "bf16",
    }.items():
        monkeypatch.setenv(name, value)
    train(launched)
    assert_equal_weights(weights(plain), weights(launched))


@pytest.mark.parametrize("kind", ["DEEPSPEED", "FSDP", "MEGATRON_LM"])
def test_a_launcher_that_cuts_networks_up_is_refused(monkeypatch, kind):
    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType[kind])
    with pytest.raises(TrainError, match=f"accelerate is set to {kind}, .* as with --multi_gpu"):
        train(make_model())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own, while it compiles
def test_a_compiled_network_trains_the_same():
    plain, compiled = make_model(), make_model()
    train(plain, steps=2, learning_rate=1e-2)
    try:
        train(compiled, steps=2, learning_rate=1e-2, compile=True)
    except TrainError as error:
        if "Compiler" in str(error) or "compiler" in str(error):
            pytest.skip("there is no compiler")
        raise
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(compiled.state_dict()[name], tensor, rtol=1e-3, atol=1e-4)


def test_worker_processes_cut_the_same_patches():
    alone, helped = make_model(), make_model()
    one = train(alone, steps=4, batch_size=4)
    other = train(helped, steps=4, batch_size=4, workers=2)
    assert one.loss == other.loss
    assert_equal_weights(weights(alone), weights(helped))


def test_losses_add_up_by_their_weights():
    sr, hr = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    spectrum = torch.fft.rfft2(sr) - torch.fft.rfft2(hr)
    fft = torch.stack([spectrum.real, spectrum.imag]).abs().mean()
    expected = 0.5 * functional.l1_loss(sr, hr) + 0.05 * fft
    torch.testing.assert_close(total_loss(sr, hr, {"l1": 0.5, "fft": 0.05}), expected)
    curve = train(make_model(), steps=1, loss={"l1": 1.0, "mse": 2.0})
    single = [train(make_model(), steps=1, loss=name).loss[0] for name in ("l1", "mse")]
    assert curve.loss[0] == pytest.approx(single[0] + 2 * single[1])


def test_milestones_multiply_the_learning_rate():
    options = TrainOptions(
        steps=10, learning_rate=1.0, schedule="multistep", milestones=(3, 7), gamma=0.1, warmup=1
    )
    rates = [learning_rate_at(step, options) for step in range(10)]
    assert rates == pytest.approx([1.0] * 3 + [0.1] * 4 + [0.01] * 3)


def test_the_cosine_ends_where_it_is_told_to():
    options = TrainOptions(steps=4, learning_rate=1.0, min_learning_rate=0.2)
    rates = [learning_rate_at(step, options) for step in (0, 2, 4)]
    assert rates == pytest.approx([1.0, 0.6, 0.2])
    assert learning_rate_at(1, options, spent=0.5) == pytest.approx(0.6)  # time counts


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"ema": 1.0}, "ema"),
        ({"accumulate": 3}, "accumulate"),
        ({"milestones": (3,)}, "milestones"),
        ({"schedule": "multistep"}, "milestones"),
        ({"schedule": "multistep", "milestones": (5, 3)}, "milestones"),
        ({"min_learning_rate": 1.0}, "min_learning_rate"),
        ({"betas": (0.9, 1.0)}, r"betas\[1\]"),
        ({"minutes": 0.0}, "minutes"),
        ({"loss": {}}, "loss"),
        ({"loss": {"l1": -1.0}}, r"loss\.l1"),
        ({"distill": Distill(0.0)}, "distill"),
        ({"keep_last": 0}, "keep_last"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
    ],
)
def test_what_cannot_be_trained_with_is_named(options, named):
    with pytest.raises(TrainError, match=f"^{named} of training is"):
        TrainOptions(**{"steps": 10, "batch_size": 4, **options})


@pytest.mark.parametrize(("steps", "warmup", "place"), [(100000, 500, 8000), (49, 0, 1)])
def test_a_milestone_comes_at_its_step(steps, warmup, place):
    options = TrainOptions(
        steps=steps, schedule="multistep", milestones=(place,), gamma=0.5, warmup=warmup
    )
    rates = [learning_rate_at(step, options) for step in (place - 1, place)]
    assert rates == [options.learning_rate, options.learning_rate / 2]


def test_a_warm_up_ends_in_time():
    options = TrainOptions(steps=1000, warmup=500, learning_rate=1.0, min_learning_rate=0.0)
    assert learning_rate_at(249, options) == 0.5
    assert learning_rate_at(499, options, spent=0.99) < 1e-3


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_moving_average_of_half_precision_moves(dtype):
    layer = nn.Linear(1, 1, bias=False).to(dtype)
    nn.init.constant_(layer.weight, 1.0)
    average = MovingAverage(layer, 0.999)
    nn.init.constant_(layer.weight, 2.0)
    for _ in range(5000):
        average.update()
    average.finish()
    assert layer.weight.dtype == dtype
    assert float(layer.weight.detach()) == pytest.approx(2.0, abs=0.02)


def test_half_weights_and_adam_are_refused():
    with pytest.raises(TrainError, match="float16, in which adam divides by zero; train it in"):
        train(make_model().half(), steps=2)
    train(make_model().half(), steps=2, optimizer="sgd", learning_rate=1e-4)


def test_bf16_is_computed_where_the_network_is(monkeypatch):
    """Accelerate takes an accelerator for granted that the network is not on."""
    expected = make_model()
    train(expected, steps=2, precision="bf16")
    monkeypatch.setattr(PartialState, "default_device", property(lambda _: torch.device("meta")))
    PartialState._reset_state()
    try:
        found = make_model()
        train(found, steps=2, precision="bf16")
    finally:
        PartialState._reset_state()
    assert_equal_weights(weights(found), weights(expected))


def test_the_accelerator_of_the_caller_works_on():
    try:
        mine = Accelerator(mixed_precision="bf16", cpu=True)
        train(make_model(), steps=1)
        assert mine.mixed_precision == "bf16"
        assert mine.num_processes == 1
        mine.prepare(nn.Linear(2, 2))
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


class Merging(nn.Module):
    """Makes a weight of others in evaluation mode and keeps it, as SPAN does."""

    scale = 2

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.Conv2d(3, 12, 3, padding=1)
        self.merged = nn.Conv2d(3, 12, 3, padding=1)

    def forward(self, x):
        if not self.training:
            self.merged.weight.data = self.parts.weight.data * 1
            return functional.pixel_shuffle(self.merged(x), 2)
        return functional.pixel_shuffle(self.parts(x) + self.merged(x) * 0, 2)


def test_a_network_that_writes_weights_in_evaluation_can_be_trained_afterwards():
    net = Merging()
    infer(net, torch.rand(1, 3, 8, 8))
    assert not any(p.is_inference() for p in net.parameters())
    net.train()(torch.rand(1, 3, 8, 8)).sum().backward()
