"""Masks in training: nothing revives what is masked, and what grows follows its curve."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from prunekit.data.patches import Patches
from prunekit.errors import TrainError
from prunekit.measure.protocol import PROTOCOLS
from prunekit.methods.masking import GrowMasks, KeepMasks, MaskHook, ShrinkWeights
from prunekit.sparse import MaskRule, Masks, apply_masks, check_zeros, choose_masks
from prunekit.train.hooks import TrainHook
from prunekit.train.loop import Session, finetune
from prunekit.train.options import TrainOptions
from prunekit.train.validate import Validation
from tests.train.test_finetune import assert_equal_weights, make_model, make_pairs, weights
from tests.train.test_resume import Stops

ROOT = Path(__file__).parents[2]
HALF = MaskRule("sparsity", 0.5)
OPTIONS = {"steps": 12, "batch_size": 4, "patch_size": 8, "learning_rate": 1e-2}


def train(model, hook: TrainHook, *, folder=None, progress=None, look=False, **options):
    pairs = make_pairs()
    hooks = (hook,)
    validation = Validation(pairs[:1], PROTOCOLS["y"]) if look else None
    return finetune(
        model,
        pairs,
        TrainOptions(**{**OPTIONS, **options}),
        teacher=None,
        seed=5,
        device=torch.device("cpu"),
        progress=progress or Stops(-1),
        session=Session(hooks=hooks, folder=folder, validation=validation),
    )


def halved(rule: MaskRule = HALF) -> tuple[nn.Module, Masks]:
    model = make_model()
    masks = choose_masks(model, rule)
    return apply_masks(model, masks), masks


def sparsity(model: nn.Module, masks: Masks) -> float:
    zeros = sum(int((model.get_parameter(name) == 0).sum()) for name in masks.kept)
    return zeros / masks.weights


class Watches(TrainHook):
    """Looks at the network after every step; it has to come behind the hook that it watches."""

    name = "watches"

    def __init__(self, look) -> None:
        self.look, self.seen = look, []

    def after_step(self, model, step):
        self.seen.append(self.look(model, step))


# masks that are there


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"optimizer": "sgd", "betas": (0.9, 0.9), "weight_decay": 0.1},
        {"optimizer": "adamw", "weight_decay": 0.1, "ema": 0.9},
        {"accumulate": 2, "clip_norm": 0.01, "ema": 0.5},
        {"channels_last": True, "precision": "bf16", "ema": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("rule", [HALF, MaskRule("pattern", pattern=(2, 4))], ids=["half", "2:4"])
def test_nothing_revives_what_is_masked(rule, options):
    model, masks = halved(rule)
    before = weights(model)
    train(model, KeepMasks(masks), **options)
    check_zeros(model, masks)
    after = weights(model)
    for name, mask in masks.kept.items():
        assert (after[name][~mask] == 0).all()
        assert not torch.equal(after[name][mask], before[name][mask])


def test_a_training_with_masks_is_a_plain_loop_of_a_masked_network():
    trained, masks = halved()
    train(
        trained, KeepMasks(masks), steps=4, optimizer="sgd", betas=(0.9, 0.9), schedule="constant"
    )
    expected = make_model().train()
    sgd = torch.optim.SGD(expected.parameters(), lr=1e-2, momentum=0.9)
    parameters = dict(expected.named_parameters())
    patches = Patches(make_pairs(), patch_size=8, seed=5)
    for step in range(4):
        masked = {n: p * masks.kept[n] if n in masks.kept else p for n, p in parameters.items()}
        lr, hr = patches.sample(step, range(4))
        sr = torch.func.functional_call(expected, masked, (lr,))
        sgd.zero_grad()
        (sr - hr).abs().mean().backward()
        sgd.step()
    for name, parameter in parameters.items():
        masked = parameter * masks.kept[name] if name in masks.kept else parameter
        torch.testing.assert_close(trained.get_parameter(name), masked)


def test_gradients_of_masked_weights_do_not_count_when_they_are_clipped():
    model, masks = halved()
    seen = []

    class Norms(TrainHook):
        name = "norms"

        def after_backward(self, model, _step):
            for name, mask in masks.kept.items():
                gradient = model.get_parameter(name).grad
                seen.append(bool(gradient[~mask].any()) or not bool(gradient[mask].any()))

    pairs = make_pairs()
    finetune(
        model,
        pairs,
        TrainOptions(steps=2, batch_size=2, patch_size=8),
        teacher=None,
        seed=0,
        device=torch.device("cpu"),
        progress=Stops(-1),
        session=Session(hooks=(KeepMasks(masks), Norms())),
    )
    assert seen
    assert not any(seen)


def test_masks_of_another_network_are_refused():
    _, masks = halved()
    with pytest.raises(Exception, match="make masks for this network"):
        train(make_model(channels=4), KeepMasks(masks))


# masks that grow


@pytest.mark.parametrize("allocation", ["local", "global"])
def test_sparsity_grows_by_the_cubic_curve(allocation):
    model = make_model()
    rule = MaskRule("sparsity", 0.8, allocation=allocation)
    hook = GrowMasks(rule, None, begin=1, until=9, every=2)
    chosen = []

    class Follows(Watches):
        def after_step(self, model, step):
            chosen.append({n: m.clone() for n, m in hook.masks.kept.items()})
            super().after_step(model, step)

    watch = Follows(lambda model, _: sparsity(model, choose_masks(model, rule)))
    finetune(
        model,
        make_pairs(),
        TrainOptions(**OPTIONS),
        teacher=None,
        seed=0,
        device=torch.device("cpu"),
        progress=Stops(-1),
        session=Session(hooks=(hook, watch)),
    )
    passed = [0, 0, 2, 2, 4, 4, 6, 6, 8, 8, 8, 8]  # since step 1, when masks were last chosen
    expected = [0.8 - 0.8 * (1 - steps / 8) ** 3 for steps in passed]
    assert watch.seen == pytest.approx(expected, abs=2e-3)
    for less, more in pairwise(chosen):
        for name, mask in less.items():
            assert not (more[name] & ~mask).any()  # what is gone stays gone
    assert sparsity(model, hook.masks) == pytest.approx(0.8, abs=1e-3)
    check_zeros(model, hook.masks)


def test_it_goes_on_from_masks_that_are_there():
    model, masks = halved(MaskRule("sparsity", 0.3))
    hook = GrowMasks(HALF, masks, begin=0, until=4, every=1)
    watch = Watches(lambda model, _: sparsity(model, masks))
    finetune(
        model,
        make_pairs(),
        TrainOptions(**{**OPTIONS, "steps": 6}),
        teacher=None,
        seed=0,
        device=torch.device("cpu"),
        progress=Stops(-1),
        session=Session(hooks=(hook, watch)),
    )
    expected = [0.5 - 0.2 * (1 - done / 4) ** 3 for done in (1, 2, 3, 4, 4, 4)]
    assert watch.seen == pytest.approx(expected, abs=2e-3)
    assert all(not (hook.masks.kept[n] & ~m).any() for n, m in masks.kept.items())


def test_a_pattern_grows_weight_by_weight():
    model = make_model()
    rule = MaskRule("pattern", pattern=(1, 4))
    hook = GrowMasks(rule, None, begin=0, until=10, every=1)
    train(model, hook)
    assert {str(p) for p in hook.masks.patterns.values()} == {"1:4"}
    assert hook.masks.sparsity == 0.75
    check_zeros(model, hook.masks)


# masks that form by shrinking


def test_the_smallest_weights_shrink_and_may_come_back():
    model = make_model().eval()
    hook = ShrinkWeights(HALF, None, factor=0.9, until=3)
    hook.at_start(model)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    chosen = choose_masks(model, HALF)
    hook.after_step(model, 0)
    for name, parameter in model.named_parameters():
        expected = before[name]
        if name in chosen.kept:
            expected = torch.where(chosen.kept[name], expected, expected * 0.9)
        assert torch.equal(parameter.detach(), expected)
    name = "body.0.body.0.weight"
    smallest = model.get_parameter(name).detach().abs().flatten().argmin()
    with torch.no_grad():  # as if the optimizer had found it useful
        model.get_parameter(name).view(-1)[smallest] = 5.0
    hook.after_step(model, 1)
    assert model.get_parameter(name).view(-1)[smallest] == 5.0
    hook.after_step(model, 2)
    check_zeros(model, hook.masks)
    assert hook.masks.kept[name].view(-1)[smallest]
    assert hook.masks.sparsity == pytest.approx(0.5, abs=1e-3)
    final = hook.masks
    hook.after_step(model, 3)
    assert hook.masks is final


# moving averages and looks


@pytest.mark.parametrize("kind", ["grow", "shrink"])
def test_the_average_has_exact_zeros_too(kind):
    model = make_model()
    hook = (
        GrowMasks(HALF, None, begin=0, until=6, every=1)
        if kind == "grow"
        else ShrinkWeights(HALF, None, factor=0.9, until=6)
    )
    looked = []

    class Looks(TrainHook):
        name = "looks"

        def at_look(self, model):
            looked.append(sparsity(model, hook.masks) if hook.masks.kept else 0.0)

    finetune(
        model,
        make_pairs(),
        TrainOptions(**OPTIONS, ema=0.99, validate_every=4),
        teacher=None,
        seed=0,
        device=torch.device("cpu"),
        progress=Stops(-1),
        session=Session(
            hooks=(hook, Looks()), validation=Validation(make_pairs()[:1], PROTOCOLS["y"])
        ),
    )
    check_zeros(model, hook.masks)
    assert looked[1:] == pytest.approx([0.5, 0.5], abs=2e-3)


# going on


def hooks_of(kind: str) -> tuple[nn.Module, MaskHook]:
    match kind:
        case "keep":
            model, masks = halved(MaskRule("pattern", pattern=(2, 4)))
            return model, KeepMasks(masks)
        case "grow":
            rule = MaskRule("pattern", pattern=(1, 4), protect=("tail.1",))
            return make_model(), GrowMasks(rule, None, begin=1, until=7, every=2)
        case _:
            model, masks = halved(MaskRule("sparsity", 0.2))
            return model, ShrinkWeights(HALF, masks, factor=0.9, until=7)


@pytest.mark.parametrize("kind", ["keep", "grow", "shrink"])
@pytest.mark.parametrize("after", [4, 8, 11])
def test_a_killed_training_goes_on_to_the_same_bits(tmp_path, kind, after):
    options = {"ema": 0.9, "checkpoint_every": 2, "validate_every": 4, "look": True}
    straight, reference = hooks_of(kind)
    train(straight, reference, folder=tmp_path / "straight", **options)
    killed, hook = hooks_of(kind)
    with pytest.raises(KeyboardInterrupt):
        train(killed, hook, folder=tmp_path / "killed", progress=Stops(after), **options)
    again, hook = hooks_of(kind)
    train(again, hook, folder=tmp_path / "killed", **options)
    assert_equal_weights(weights(again), weights(straight))
    assert hook.masks.patterns == reference.masks.patterns
    assert hook.masks.dense == reference.masks.dense
    assert_equal_weights(dict(hook.masks.kept), dict(reference.masks.kept))


def test_the_checkpoint_of_another_method_is_refused(tmp_path):
    def grown(**course):
        course = {"begin": 0, "until": 6, "every": 1, **course}
        return GrowMasks(HALF, None, **course)

    train(make_model(), grown(), folder=tmp_path, checkpoint_every=4)
    for other in (
        grown(until=7),
        GrowMasks(MaskRule("sparsity", 0.4), None, begin=0, until=6, every=1),
        ShrinkWeights(HALF, None, factor=0.9, until=6),
    ):
        with pytest.raises(TrainError, match="training with other masks"):
            train(make_model(), other, folder=tmp_path, checkpoint_every=4)
    with pytest.raises(TrainError, match="training with other hooks"):
        train(make_model(), TrainHook(), folder=tmp_path, checkpoint_every=4)


# several processes

PROGRAM = """
import sys
from itertools import pairwise
from pathlib import Path

import os
import torch
from safetensors.torch import save_file

from tests.methods.test_masking import hooks_of, train

folder = Path(sys.argv[1])
rank = int(os.environ.get("RANK", "0"))
for kind in ("keep", "grow", "shrink"):
    model, hook = hooks_of(kind)
    train(model, hook, ema=0.9, timeout=60)
    save_file({n: t.contiguous() for n, t in model.state_dict().items()}, folder / f"{kind}-{rank}")
    save_file(dict(hook.masks.kept), folder / f"{kind}-masks-{rank}")
"""


@pytest.mark.slow
def test_two_processes_have_the_same_masks(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
    }
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    process = subprocess.Popen(  # noqa: S603
        [*start, str(tmp_path / "program.py"), str(tmp_path)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        assert process.wait(300) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    for kind in ("keep", "grow", "shrink"):
        masks = [load_file(tmp_path / f"{kind}-masks-{rank}") for rank in range(2)]
        states = [load_file(tmp_path / f"{kind}-{rank}") for rank in range(2)]
        assert_equal_weights(*masks)
        assert_equal_weights(*states)
        for name, mask in masks[0].items():
            assert not states[0][name][~mask].any()
        zeros = sum(int((~mask).sum()) for mask in masks[0].values())
        assert zeros > 0.4 * sum(mask.numel() for mask in masks[0].values())
