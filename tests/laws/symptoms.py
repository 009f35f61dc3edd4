"""What is wrong with the graph of a wiring: the first of its answers and of the laws that fails."""

from __future__ import annotations

__all__ = ["counted_macs", "symptom"]

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from prunekit.errors import PrunekitError
from prunekit.graph import ChannelGraph, TraceOptions, trace
from prunekit.graph.record import call
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests.nets import Net, traced, widths


def symptom(kind: type[Net]) -> str | None:
    """Return what is wrong: an answer, a law, or the error that it ends in; None if all is well."""
    try:
        net, inputs, graph = traced(kind)
        return next((name for name, holds in _checks(net, inputs, graph) if not holds), None)
    except (PrunekitError, RuntimeError, ValueError, LookupError, AssertionError) as error:
        return type(error).__name__


def _checks(net: Net, inputs: Any, graph: ChannelGraph) -> Iterator[tuple[str, bool]]:
    """Names of what is checked, each with whether it holds, the cheap ones first."""
    yield "widths", widths(graph.groups) == net.widths
    kinds = {g.kind for g in graph.groups} - {"channel"}
    found = {name: widths(g for g in graph.groups if g.kind == name) for name in kinds}
    yield "kinds", found == net.kinds
    yield "exactness", widths(g for g in graph.groups if not g.exact) == net.inexact
    balances = tuple(widths(graph[name] for name in names) for names in graph.balances)
    yield "balances", balances == net.balanced
    yield "cost", "opaque" in net.options or graph.macs() == counted_macs(net, inputs)
    yield "reversal", graph.verify(net, inputs).holds
    if not net.computes:
        yield from _slim_checks(net, inputs, graph)


def _slim_checks(net: Net, inputs: Any, graph: ChannelGraph) -> Iterator[tuple[str, bool]]:
    scores = score_groups(net, graph.groups, "random")
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    slim = apply(plan, net)
    yield "removal", verify(net, slim, plan, inputs, options=TraceOptions(**net.options)).passed
    found = trace(slim, inputs, **net.options)
    yield "slim cost", (plan.params[1], plan.macs[1]) == (found.params(), found.macs())


def counted_macs(net: nn.Module, inputs: Any) -> int:
    """Multiply-accumulates of one call, as torch counts them."""
    mapping = {
        torch.ops.prunekit_tests.deform_conv2d: _deform_flops,
        torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        torch.ops.aten.mv: _vector_flops,
    }
    # with gradients, or torch's own attention takes one large operator that it does not count
    with FlopCounterMode(display=False, custom_mapping=mapping) as counter, torch.enable_grad():
        call(net, inputs)
    return counter.get_total_flops() // 2


def _deform_flops(_: Any, weight: Any, *__: Any, out_shape: Any, **___: Any) -> int:
    """Count a deformable convolution like a plain one: taking samples is no product."""
    return 2 * out_shape[0] * out_shape[2] * out_shape[3] * weight.numel()


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    """Count both products of an attention, which torch does not for this kernel."""
    pairs = query[:-1].numel() * key[-2]
    return 2 * pairs * (query[-1] + value[-1])


def _vector_flops(matrix: Any, *_: Any, **__: Any) -> int:
    """Count a matrix times a vector, which torch does not."""
    return 2 * matrix.numel()
