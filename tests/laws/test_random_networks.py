"""The laws of the channel graph on networks that nobody wrote."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from prunekit.graph import ChannelGraph, trace
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.laws import random_blocks, random_nets, random_operators
from tests.laws.random_nets import BLOCKS, Recipe, recipes
from tests.laws.test_graph_laws import assert_all_accounted_for
from tests.untouched import assert_untouched, picture

SIDE = 8  # three times halved


def assert_every_law_holds(recipe: Recipe, ratio: float) -> None:
    net = recipe.build()
    image = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0)).double()
    before = picture(net)
    graph = trace(net, image)
    assert_all_accounted_for(net, graph)
    missed = recipe.private - Counter(group.width for group in graph.groups)
    assert not missed, f"no group of width {sorted(missed)} in {graph}"
    result = graph.verify(net, image)
    assert result.holds, f"{result.violators} in {graph}"
    assert_slim_is_dense_without_channels(net, graph, image, ratio)
    assert_untouched(net, before)


def assert_slim_is_dense_without_channels(
    net: torch.nn.Module, graph: ChannelGraph, image: torch.Tensor, ratio: float
) -> None:
    scores = score_groups(net, graph.groups, "random")
    plan = make_plan(graph, scores, Target("channel_ratio", ratio), Policy("local", 1, 1))
    slim = apply(plan, net)
    assert verify(net, slim, plan, image).passed
    found = trace(slim, image)
    assert plan.params == (graph.params(), found.params())
    assert plan.macs == (graph.macs(), found.macs())


quiet = settings(
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
ratios = st.sampled_from([0.5, 0.25, 0.75])
each_kind = pytest.mark.parametrize("kind", BLOCKS)


@each_kind
@settings(quiet, max_examples=5)
@given(st.data(), ratios)
def test_a_random_network_keeps_every_law(kind, data, ratio):
    assert_every_law_holds(data.draw(recipes(kind)), ratio)


@pytest.mark.slow
@each_kind
@settings(quiet, max_examples=75)
@given(st.data(), ratios)
def test_thousands_of_random_networks_keep_every_law(kind, data, ratio):
    assert_every_law_holds(data.draw(recipes(kind)), ratio)


@each_kind
@settings(quiet, max_examples=5)
@given(st.data())
def test_a_recipe_reads_back_from_what_it_prints(kind, data):
    recipe = data.draw(recipes(kind))
    names = {**vars(random_blocks), **vars(random_operators), **vars(random_nets)}
    assert eval(repr(recipe), names) == recipe  # noqa: S307 (our own text)
    assert len(repr(recipe)) < 1500
