"""Latency: how passes are ordered, counted and summed up; never how long they take."""

import pytest
import torch
from torch import nn

from prunekit.measure import latency
from prunekit.measure.latency import measure_latency
from prunekit.progress import Silent


class Noted(nn.Module):
    """Writes down every pass."""

    def __init__(self, name, log, dtype=torch.float32):
        super().__init__()
        self.name, self.log = name, log
        self.weight = nn.Parameter(torch.ones(1, dtype=dtype))

    def forward(self, x):
        state = (self.training, not torch.is_grad_enabled())
        self.log.append((self.name, tuple(x.shape), x.dtype, *state))
        return x * self.weight


def measure(models, **options):
    defaults = {"input_shape": (1, 3, 4, 6), "repeats": 3, "warmup": 2, "progress": Silent()}
    return measure_latency(models, **{**defaults, **options})


def test_networks_take_turns_in_evaluation_mode_without_gradients():
    log = []
    measure({name: Noted(name, log).train() for name in "ab"})
    assert [entry[0] for entry in log] == ["a", "b"] * 5
    assert {entry[1:] for entry in log} == {((1, 3, 4, 6), torch.float32, False, True)}


def test_every_network_keeps_its_mode():
    models = {"a": Noted("a", []).train(), "b": Noted("b", []).eval()}
    measure(models)
    assert models["a"].training
    assert not models["b"].training


def test_a_network_is_fed_its_own_dtype():
    log = []
    measure({"a": Noted("a", log, torch.float64)})
    assert {entry[2] for entry in log} == {torch.float64}


def test_warm_up_is_left_out_of_the_figures(monkeypatch):
    times = iter([100.0, 200.0, 300.0, 400.0, 3.0, 30.0, 1.0, 10.0, 8.0, 80.0])
    monkeypatch.setattr(latency, "_time_once", lambda _model, _batch: next(times))
    figures = measure({name: Noted(name, []) for name in "ab"})
    a, b = figures["a"], figures["b"]
    assert (a.median_ms, a.min_ms, a.max_ms, a.repeats) == (3.0, 1.0, 8.0, 3)
    assert (b.median_ms, b.min_ms, b.max_ms, b.repeats) == (30.0, 10.0, 80.0, 3)


def test_figures_say_what_they_were_measured_on():
    figures = measure({"a": Noted("a", [])})["a"]
    assert figures.input_size == (6, 4)
    assert figures.device == "cpu"
    assert figures.threads == torch.get_num_threads()
    assert 0 < figures.min_ms <= figures.median_ms <= figures.max_ms


def test_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    measure({"a": Noted("a", [])})
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.gpu
def test_a_gpu_is_timed_by_its_own_clock():
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    figures = measure({"a": Noted("a", []).cuda()})["a"]
    assert figures.device == torch.cuda.get_device_name()
    assert 0 < figures.min_ms <= figures.median_ms


def test_the_type_is_told():
    times = measure({"a": Noted("a", [], torch.float64)})
    assert times["a"].dtype == "float64"
