"""Channels that leave in rounds, or at the end of a training in which they might come back."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import prunekit
from prunekit.errors import PlanError, RecipeError, TrainError
from prunekit.methods import SoftFilters
from prunekit.nets import EDSR
from prunekit.plan import Plan
from prunekit.recipe import load_recipe
from prunekit.surgery import apply
from prunekit.train.hooks import TrainHook
from tests.methods.test_masking import Watches, train
from tests.pipeline.samples import split
from tests.surgery.test_store import bits
from tests.train.test_finetune import assert_equal_weights, make_model, weights
from tests.train.test_resume import Stops
from tests.untouched import assert_untouched, picture

FINE = {"round_to": 1, "min_width": 1}
TRAIN = {"steps": 4, "batch_size": 2, "patch_size": 8, "learning_rate": 1e-2}
ROUNDS = {"rounds": 3, "steps": 2}
SOFT = {"until": 3, "every": 1}


@pytest.fixture
def dense() -> EDSR:
    torch.manual_seed(1)
    return EDSR(channels=16, blocks=2)


def recipe(images: Path, target: dict[str, object], **options: object) -> dict[str, object]:
    return {
        "prune": {"method": "filter", "target": target, **FINE, **options},
        "train": TRAIN,
        "data": split(images),
        "report": {"crops": 0},
    }


def widths(plan: Plan) -> dict[str, int]:
    return {group.name: len(group.kept) for group in plan.groups}


def gone(plan: Plan) -> float:
    return 1 - plan.macs[1] / plan.macs[0]


# rounds


def test_rounds_prune_and_train_in_turn_until_the_target_is_met(dense, images):
    before = picture(dense)
    result = prunekit.prune(dense, recipe(images, {"macs_ratio": 0.5}, iterative=ROUNDS))
    assert_untouched(dense, before)
    assert 0.5 <= gone(result.plan) <= 0.52
    assert [curve.steps[-1] for curve in result.report.training] == [2, 2, 4]
    assert [curve.stage for curve in result.report.training] == [1, 3, 5]
    asked = [one for one in result.report.convention if one.startswith("Target")]
    shares = [1 - (1 - part / 3) ** 3 for part in (1, 2, 3)]
    assert [f"macs_ratio {0.5 * share:.4g} asked for" in text for share, text in zip(
        shares, asked, strict=True)] == [True] * 3  # fmt: skip
    at_once = apply(result.plan, dense)  # one plan that tells it all
    shapes = [tuple(p.shape) for p in result.model.parameters()]
    assert [tuple(p.shape) for p in at_once.parameters()] == shapes


def test_what_is_trained_in_between_decides_what_leaves_later(dense, images):
    rounds = prunekit.prune(dense, recipe(images, {"channel_ratio": 0.5}, iterative=ROUNDS))
    at_once = prunekit.prune(dense, recipe(images, {"channel_ratio": 0.5}))
    assert widths(rounds.plan) == widths(at_once.plan)
    assert rounds.plan.groups != at_once.plan.groups


@pytest.mark.parametrize("allocation", ["local", "global", "isomorphic", "uniform", "knapsack"])
@pytest.mark.parametrize("curve", ["cubic", "linear"])
def test_rounding_does_not_add_up_over_rounds(dense, images, allocation, curve):
    options = {"allocation": allocation, "round_to": 4, "min_width": 4}
    rounds = {"rounds": 4, "steps": 1, "curve": curve}
    target = {"channel_ratio": 0.5}
    done = prunekit.prune(dense, recipe(images, target, iterative=rounds, **options))
    before = sum(group.width for group in done.plan.groups)
    assert sum(widths(done.plan).values()) == pytest.approx(before / 2, abs=4)


@pytest.mark.parametrize(
    "target",
    [
        {"params": 6000},
        {"macs_ratio": 0.4, "params_ratio": 0.55},
        {"macs_ratio": 0.4, "output_size": [64, 48]},
        {"memory_ratio": 0.3},
    ],
)
def test_other_targets_are_met_by_the_last_round(dense, images, target):
    done = prunekit.prune(dense, recipe(images, target, iterative=ROUNDS))
    at_once = prunekit.prune(dense, recipe(images, target))
    for key, limit in target.items():
        if key == "params":
            assert 0.97 * limit <= done.plan.params[1] <= limit
        elif key == "params_ratio":
            assert done.plan.params[1] <= (1 - limit) * done.plan.params[0]
        elif key == "macs_ratio":
            assert gone(done.plan) >= limit - 1e-9
    assert done.plan.params[1] == pytest.approx(at_once.plan.params[1], rel=0.1)


def test_a_ratio_that_is_laid_down_for_a_group_grows_along(dense, images):
    overrides = [{"match": "body.0.*", "ratio": 0.75}]
    target = {"channel_ratio": 0.5}
    done = prunekit.prune(dense, recipe(images, target, iterative=ROUNDS, overrides=overrides))
    at_once = prunekit.prune(dense, recipe(images, target, overrides=overrides))
    assert widths(done.plan) == widths(at_once.plan)
    assert 4 in widths(done.plan).values()


def test_a_latency_is_met_after_the_last_round(images):
    torch.manual_seed(0)
    wide = EDSR(channels=32, blocks=2)
    target = {"latency_ratio": 0.3, "output_size": [192, 192]}
    rounds = {"rounds": 2, "steps": 1}
    done = prunekit.prune(wide, recipe(images, target, iterative=rounds, round_to=4))
    assert done.plan.params[1] < done.plan.params[0]
    assert "latency_ms" in done.report.convention[1]


def test_rounds_that_remove_nothing_together_are_refused(dense, images):
    asked = recipe(images, {"channel_ratio": 0.01}, iterative=ROUNDS)
    with pytest.raises(PlanError, match="the target removes nothing"):
        prunekit.prune(dense, asked)


def test_a_target_out_of_reach_is_refused_before_the_first_round(dense, images):
    asked = recipe(images, {"macs_ratio": 0.99}, iterative=ROUNDS, min_width=4, round_to=4)
    told = Stops(1)  # no step of training
    with pytest.raises(PlanError, match="out of reach"):
        prunekit.prune(dense, asked, progress=told)


@pytest.mark.parametrize("after", [1, 3, 5, 8])
@pytest.mark.parametrize(
    "schedule", [{"iterative": {"rounds": 3, "steps": 2}}, {"soft": SOFT}], ids=["rounds", "soft"]
)
def test_a_run_that_is_stopped_goes_on_to_the_same_weights(
    dense, images, tmp_path, schedule, after
):
    asked = recipe(images, {"macs_ratio": 0.5}, **schedule)
    asked["train"] = {**TRAIN, "checkpoint_every": 1, "ema": 0.5, "steps": 5}
    straight = prunekit.prune(dense, asked)
    if after <= sum(curve.steps[-1] for curve in straight.report.training):
        with pytest.raises(KeyboardInterrupt):
            prunekit.prune(dense, asked, work_folder=tmp_path / "work", progress=Stops(after))
    again = prunekit.prune(dense, asked, work_folder=tmp_path / "work")
    assert again.plan == straight.plan
    assert bits(again.model) == bits(straight.model)


# softly


def test_units_leave_at_the_end_of_the_training_that_settles_them(dense, images):
    before = picture(dense)
    result = prunekit.prune(dense, recipe(images, {"macs_ratio": 0.5}, soft=SOFT))
    assert_untouched(dense, before)
    assert 0.5 <= gone(result.plan) <= 0.52
    assert [curve.steps[-1] for curve in result.report.training] == [4]
    at_once = prunekit.prune(dense, {"prune": recipe(images, {"macs_ratio": 0.5})["prune"]})
    assert widths(result.plan) == widths(at_once.plan)
    assert type(result.model) is EDSR
    assert not result.model.training


def softly(model: nn.Module, **course: int) -> SoftFilters:
    graph = prunekit.trace(model, torch.rand(1, 3, 8, 8))
    scores = prunekit.score.score_groups

    def plan_for(network: nn.Module, share: float) -> Plan:
        target = prunekit.plan.Target("channel_ratio", 0.5 * share)
        policy = prunekit.plan.Policy(round_to=1, min_width=1)
        return prunekit.plan.make_plan(graph, scores(network, graph.groups, "l2"), target, policy)

    return SoftFilters(plan_for, graph.output_axes, **{"begin": 0, "every": 2, **course})


@pytest.mark.parametrize("options", [{}, {"ema": 0.5}, {"optimizer": "sgd", "weight_decay": 0.1}])
def test_removing_what_was_settled_changes_nothing(options):
    model = make_model()
    hook = softly(model, until=6)
    train(model, hook, **options)
    assert hook.plan is not None
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        slim, whole = apply(hook.plan, model)(image), model.eval()(image)
    torch.testing.assert_close(slim, whole, rtol=0, atol=1e-5)
    assert sum(p.numel() for p in apply(hook.plan, model).parameters()) < sum(
        p.numel() for p in model.parameters()
    )


def test_units_come_back_until_the_choice_is_final():
    model = make_model()
    weight = "body.0.body.0.weight"
    hook = softly(model, until=8)
    zeros = Watches(lambda net, _: int((net.get_parameter(weight).flatten(1) == 0).all(1).sum()))
    pair = Both(hook, zeros)
    train(model, pair, steps=12)
    silent = zeros.seen
    assert silent[1] > 0  # chosen after the second step
    assert silent[2] == 0  # and back after the third
    assert silent[7:] == [4] * 5  # half of 8, for good


class Both(TrainHook):
    """Two hooks, one behind the other."""

    name = "filters"

    def __init__(self, first: TrainHook, second: TrainHook) -> None:
        self.first, self.second = first, second

    def at_start(self, model):
        self.first.at_start(model)

    def after_backward(self, model, step):
        self.first.after_backward(model, step)

    def after_step(self, model, step):
        self.first.after_step(model, step)
        self.second.after_step(model, step)

    def at_stage_end(self, model):
        self.first.at_stage_end(model)


def test_a_training_that_is_stopped_settles_the_same(tmp_path):
    straight, second = make_model(), make_model()
    course = {"until": 7, "every": 2}
    hook = softly(straight, **course)
    train(straight, hook, checkpoint_every=2)
    for after in (5, 5):  # before and after the choice is final
        first = make_model()
        with pytest.raises(KeyboardInterrupt):
            train(
                first,
                softly(first, **course),
                folder=tmp_path,
                progress=Stops(after),
                checkpoint_every=2,
            )
    again = softly(second, **course)
    train(second, again, folder=tmp_path, checkpoint_every=2)
    assert again.plan == hook.plan
    assert_equal_weights(weights(second), weights(straight))


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        train(model, softly(model, until=7), folder=tmp_path, progress=Stops(4), checkpoint_every=2)
    with pytest.raises(TrainError, match="go on with the same 'prune' sections"):
        train(make_model(), softly(make_model(), until=6), folder=tmp_path, checkpoint_every=2)


def test_weight_norm_keeps_its_directions():
    model = nn.Sequential(
        nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 8, 3, padding=1)),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )
    hook = softly(model, until=4)
    train(model, hook)
    assert all(torch.isfinite(p).all() for p in model.parameters())
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        slim, whole = apply(hook.plan, model)(image), model(image)
    torch.testing.assert_close(slim, whole, rtol=0, atol=1e-5)


# what is refused


@pytest.mark.parametrize(
    ("options", "steps", "says"),
    [
        ({"iterative": ROUNDS, "soft": SOFT}, 4, "exclude each other"),
        ({"iterative": {"rounds": 1, "steps": 2}}, 4, "rounds"),
        (
            {"soft": {"until": 5, "every": 1}},
            4,
            "until step 5, but the training that follows has 4",
        ),
        ({"soft": {"begin": 3, "until": 3}}, 4, "must be less than"),
        ({"soft": SOFT, "allocation": "sensitivity"}, 4, "take 'iterative'"),
        ({"iterative": ROUNDS}, 0, "no 'train' comes next"),
        ({"soft": SOFT}, 0, "no 'train' comes next"),
    ],
)
def test_schedules_that_cannot_be_are_refused(images, options, steps, says):
    asked = recipe(images, {"macs_ratio": 0.5}, **options)
    if not steps:
        del asked["train"]
    with pytest.raises(RecipeError, match=says):
        load_recipe(asked)


def test_a_latency_is_refused_where_it_would_be_timed_again_and_again(images):
    with pytest.raises(RecipeError, match="ask for macs_ratio"):
        load_recipe(recipe(images, {"latency_ratio": 0.3}, soft=SOFT))


def test_a_budget_of_time_does_not_go_with_counted_steps(images):
    asked = recipe(images, {"macs_ratio": 0.5}, soft=SOFT)
    asked["train"] = {**TRAIN, "minutes": 1}
    with pytest.raises(RecipeError, match="leave one out"):
        load_recipe(asked)


def test_the_settings_in_between_are_those_of_the_training_that_follows(images):
    asked = recipe(images, {"macs_ratio": 0.5}, iterative=ROUNDS)
    asked["train"] = {**TRAIN, "schedule": "multistep", "milestones": [2], "minutes": 1, "ema": 0.5}
    steps = load_recipe(asked).unfolded
    assert [bool(step.prune) for step in steps] == [True, False] * 3
    between, last = steps[1].train, steps[-1].train
    assert (between.steps, between.schedule, between.minutes) == (2, "constant", None)
    assert (between.learning_rate, between.ema) == (last.learning_rate, last.ema)
    assert (last.steps, last.schedule, last.minutes) == (4, "multistep", 1)
