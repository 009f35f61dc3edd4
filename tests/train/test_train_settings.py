"""Options, losses, the schedule and the curve, worked by hand."""

import math

import pytest
import torch

from prunekit.errors import TrainError
from prunekit.train.curve import CurveRecorder
from prunekit.train.losses import LOSSES
from prunekit.train.options import Distill, TrainOptions
from prunekit.train.schedule import learning_rate_at


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"steps": 0}, "steps of training is 0, and it has to be 1 or more"),
        ({"batch_size": 0}, "batch_size of training is 0"),
        ({"patch_size": -1}, "patch_size of training is -1"),
        ({"learning_rate": 0.0}, "learning_rate of training is 0.0, and it has to be above 0"),
        ({"learning_rate": math.nan}, "learning_rate of training is nan"),
        ({"learning_rate": math.inf}, "learning_rate of training is inf"),
        ({"warmup": -1}, "warmup of training is -1"),
        ({"warmup": 10}, "warmup of training is 10, and it has to be less than steps"),
        ({"clip_norm": 0.0}, r"clip_norm of training is 0\.0"),
        ({"distill": Distill(weight=-1.0)}, r"distill\.weight of training is -1\.0"),
    ],
)
def test_options_that_cannot_be_trained_with_are_refused(wrong, message):
    with pytest.raises(TrainError, match=message):
        TrainOptions(**{"steps": 10, **wrong})


def test_losses_by_hand():
    sr, hr = torch.tensor([0.0, 0.5, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0, 0.0])
    assert LOSSES["l1"](sr, hr).item() == pytest.approx(1.5 / 4)
    assert LOSSES["mse"](sr, hr).item() == pytest.approx(1.25 / 4)
    assert LOSSES["charbonnier"](sr, hr).item() == pytest.approx((1.5 + 2e-6) / 4)


def test_charbonnier_is_epsilon_at_zero_with_a_finite_gradient():
    sr = torch.zeros(2, 3, requires_grad=True)
    loss = LOSSES["charbonnier"](sr, torch.zeros(2, 3))
    loss.backward()
    assert loss.item() == pytest.approx(1e-6)
    assert torch.equal(sr.grad, torch.zeros(2, 3))


def rates(**options):
    made = TrainOptions(**options)
    return [learning_rate_at(step, made) for step in range(made.steps)]


def test_cosine_falls_from_full_to_almost_0():
    assert rates(steps=4, learning_rate=1.0) == pytest.approx(
        [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]
    )


def test_warm_up_rises_linearly_and_the_cosine_follows():
    assert rates(steps=6, learning_rate=4.0, warmup=4) == pytest.approx([1, 2, 3, 4, 4, 2])


def test_constant_stays_after_the_warm_up():
    options = {"steps": 5, "learning_rate": 2.0, "schedule": "constant", "warmup": 2}
    assert rates(**options) == [1.0, 2.0, 2.0, 2.0, 2.0]


def recorded(steps):
    recorder = CurveRecorder(TrainOptions(steps=steps, batch_size=3, patch_size=7), images=5)
    for step in range(steps):
        recorder.add(step, float(step), 1.0 / (step + 1))
    return recorder.curve(seconds=1.5, out_of_time=False)


def test_a_short_curve_has_every_step():
    curve = recorded(4)
    assert curve.steps == (1, 2, 3, 4)
    assert curve.loss == (0.0, 1.0, 2.0, 3.0)
    assert curve.learning_rate == (1.0, 1 / 2, 1 / 3, 1 / 4)
    assert (curve.stage, curve.images, curve.batch_size, curve.patch_size) == (0, 5, 3, 7)
    assert curve.seconds >= 0


def test_a_long_curve_has_means_and_ends_with_the_last_step():
    curve = recorded(103)  # 103 // 50 = 2 steps a point
    assert curve.steps == (*range(2, 103, 2), 103)
    assert curve.loss == (*(0.5 + 2 * point for point in range(51)), 102.0)
    assert curve.learning_rate[0] == 1 / 2
    assert curve.learning_rate[-1] == 1 / 103
