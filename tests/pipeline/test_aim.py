"""Aims: costs at an output size, latencies that are confirmed, and refusals before work begins."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import prunekit
from prunekit.errors import PlanError, RecipeError
from prunekit.graph import TraceOptions, trace
from prunekit.measure.latency import Latency
from prunekit.nets import EDSR
from prunekit.pipeline import aim as aims
from prunekit.pipeline import stages
from prunekit.plan import Target
from prunekit.plan.costs import Total
from prunekit.progress import Silent
from prunekit.recipe import PruneSection

IMAGE = torch.rand(1, 3, 12, 12)


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return EDSR(channels=32, blocks=3).eval()


def section(target, **more) -> PruneSection:
    return PruneSection.model_validate({"method": "filter", "target": target, **more})


def aim_of(net, target):
    graph = trace(net, IMAGE)
    return aims.aim_at(section(target), net, graph, IMAGE, TraceOptions(), progress=Silent())


def pruned(net, target, **more):
    graph = trace(net, IMAGE)
    asked = section(target, **more)
    return stages.prune(net, graph, asked, IMAGE, TraceOptions(), seed=0, progress=Silent())


def parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.fixture
def clock(monkeypatch):
    """Networks take a time by their parameters, where the table goes by MACs: it has to correct."""
    seen = []

    class Table(Total):
        def __init__(self, graph, *_):
            super().__init__(graph, [(term.constant, term.axes) for term in graph.terms])
            self.measured, self.scale = 1, 1.0

        def calibrated(self, *points):
            self.scale = points[0][1] / self({})

        def many(self, widths):
            return self.scale * super().many(widths)

    def fake(models, *, input_shape, **_):
        seen.append(input_shape)
        times = {name: 3 + parameters(model) / 1000 for name, model in models.items()}
        size = (input_shape[3], input_shape[2])
        return {n: Latency(ms, ms, ms, 1, size, "cpu", 1) for n, ms in times.items()}

    monkeypatch.setattr(aims, "measure_latency", fake)
    monkeypatch.setattr(aims, "LatencyTable", Table)
    fake.seen = seen
    return fake


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6])
def test_a_latency_is_met_as_measured_in_the_rebuilt_network(net, ratio):
    done = pruned(net, {"latency_ratio": ratio}, round_to=4)
    dense, slim = (3 + parameters(model) / 1000 for model in (net, done.model))
    assert 0.95 * (1 - ratio) <= slim / dense <= 1 - ratio
    (reached,) = done.reached
    assert reached.target == Target("latency_ratio", ratio)
    assert reached.reached == pytest.approx(1 - slim / dense)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("allocation", ["global", "isomorphic", "knapsack"])
def test_a_latency_is_met_whatever_the_allocation(net, allocation):
    done = pruned(net, {"latency_ratio": 0.4}, round_to=4, allocation=allocation)
    dense, slim = (3 + parameters(model) / 1000 for model in (net, done.model))
    assert 0.9 * 0.6 <= slim / dense <= 0.6


def test_milliseconds_are_met_at_the_output_size_that_is_asked_for(net, clock):
    done = pruned(net, {"latency_ms": 50.0, "output_size": [40, 36]}, round_to=4)
    assert set(clock.seen) == {(1, 3, 18, 20)}
    assert 0.95 * 50 <= 3 + parameters(done.model) / 1000 <= 50


@pytest.mark.usefixtures("clock")
def test_a_latency_out_of_reach_says_what_is(net):
    with pytest.raises(PlanError, match=r"^latency_ms 1 is out of reach: \d+\.\d+ of \d+.* least"):
        pruned(net, {"latency_ms": 1.0})


def test_a_latency_is_not_planned_by_several_processes(net, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match="several processes would plan differently"):
        aim_of(net, {"latency_ratio": 0.3})


def test_a_latency_that_is_really_measured_gives_a_plan(net):
    done = pruned(net, {"latency_ratio": 0.02})
    assert done.reached[0].reached >= 0.02


def test_macs_count_at_the_output_size(net):
    dense = trace(net, torch.rand(1, 3, 20, 40)).macs()
    done = pruned(net, {"macs": dense * 0.6, "output_size": [80, 40]})
    left = trace(done.model, torch.rand(1, 3, 20, 40)).macs()
    assert 0.97 * 0.6 * dense <= left <= 0.6 * dense
    assert done.reached[0].reached == left


def test_an_output_size_needs_a_network_that_enlarges():
    plain = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 3, 3)).eval()
    graph = trace(plain, IMAGE)
    asked = section({"macs": "1M", "output_size": [64, 64]})
    with pytest.raises(RecipeError, match="output_size needs a network that takes one image"):
        aims.aim_at(asked, plain, graph, IMAGE, TraceOptions(), progress=Silent())


def test_a_target_out_of_reach_is_told_before_images_are_read_and_networks_trained(net, tmp_path):
    recipe = {
        "data": {"train": {"folder": str(tmp_path / "nowhere")}},
        "stages": [
            {"train": {"steps": 100_000}},
            {"prune": {"method": "filter", "target": {"macs_ratio": 0.99}}},
        ],
    }
    with pytest.raises(PlanError, match=r"macs_ratio 0\.99 is out of reach"):
        prunekit.prune(net, recipe, IMAGE)


def test_the_report_tells_what_was_asked_for_and_reached(net):
    result = prunekit.prune(
        net, {"prune": {"method": "filter", "target": {"macs": "3M", "params": "60k"}}}, IMAGE
    )
    (told,) = [line for line in result.report.convention if line.startswith("Target: ")]
    assert "params 60k asked for, " in told
    assert "macs 3M asked for, " in told
    assert told.endswith(", at 24x24 output pixels.")


@pytest.mark.usefixtures("clock")
def test_a_plan_that_was_settled_is_for_its_purpose_alone(net, tmp_path):
    def widths(ratio, **options):
        asked = {"prune": {"method": "filter", "target": {"latency_ratio": ratio}, "round_to": 4}}
        return prunekit.prune(net, asked, IMAGE, work_folder=tmp_path, **options).plan.widths

    little, much = widths(0.2), widths(0.6)
    assert sum(much.values()) < sum(little.values())
    (file,) = tmp_path.rglob("plan.json")
    kept = file.read_bytes()
    assert widths(0.6) == much
    assert file.read_bytes() == kept
