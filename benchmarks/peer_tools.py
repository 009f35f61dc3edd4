"""The three tools under one interface: analyse a network, and take half of its channels away."""

from __future__ import annotations

__all__ = ["TOOLS", "Refusal", "Tool", "output_layers"]

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from prunekit.errors import PrunekitError
from prunekit.graph import ChannelGraph, trace
from prunekit.plan import Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply

RATIO = 0.5


class Refusal(Exception):  # noqa: N818 - no error: the tool says that it cannot
    """The tool refuses, and leaves the network as it was."""


@dataclass(frozen=True)
class Tool:
    """How one tool is used, as its documentation says."""

    build: Callable[[nn.Module, Sequence[Any]], Any]
    """Its graph of the network."""
    groups: Callable[[nn.Module, Any], int]
    """Find, in that graph, all that can be pruned; returns how many groups there are."""
    halve: Callable[[nn.Module, Sequence[Any], Sequence[nn.Module]], nn.Module]
    """Remove half of the channels of every group, but for the outputs of these layers."""


def build_torch_pruning(model: nn.Module, inputs: Sequence[Any]) -> Any:
    """Dependency graph."""
    tp = importlib.import_module("torch_pruning")  # each tool in a process of its own
    return tp.DependencyGraph().build_dependency(model, example_inputs=tuple(inputs))


def groups_torch_pruning(_: nn.Module, graph: Any) -> int:
    """All groups of convolutions and linear layers."""
    roots = (nn.modules.conv._ConvNd, nn.Linear)  # noqa: SLF001 - as torch-pruning names them
    return len(list(graph.get_all_groups(root_module_types=roots)))


def halve_torch_pruning(
    model: nn.Module, inputs: Sequence[Any], outputs: Sequence[nn.Module]
) -> nn.Module:
    """`BasePruner` with L2 magnitude, heads of attention told as in its examples."""
    tp = importlib.import_module("torch_pruning")
    heads = {
        module.qkv: module.num_heads
        for module in model.modules()
        if isinstance(getattr(module, "qkv", None), nn.Linear)
        and isinstance(getattr(module, "num_heads", None), int)
    }
    pruner = tp.pruner.BasePruner(
        model,
        tuple(inputs),
        importance=tp.importance.GroupMagnitudeImportance(p=2),
        pruning_ratio=RATIO,
        ignored_layers=list(outputs),
        num_heads=heads,
    )
    pruner.step()
    return model


def build_kirigami(model: nn.Module, inputs: Sequence[Any]) -> Any:
    """Dependency graph."""
    return importlib.import_module("torch_kirigami").DependencyGraph.build(
        model, args=tuple(inputs)
    )


def groups_kirigami(model: nn.Module, graph: Any) -> int:
    """All axes with candidates."""
    pruning = importlib.import_module("torch_kirigami.pruning")
    return len(pruning.Pruner(model, graph=graph).discover_candidates().channel_axes)


def halve_kirigami(model: nn.Module, inputs: Sequence[Any], _: Sequence[nn.Module]) -> nn.Module:
    """`Greedy` with L2 magnitude; half of each axis, or half of all channels if that is refused.

    It keeps inputs and outputs by itself.
    """
    kirigami = importlib.import_module("torch_kirigami")
    pruning = importlib.import_module("torch_kirigami.pruning")
    graph = kirigami.DependencyGraph.build(model, args=tuple(inputs))
    pruner = pruning.Pruner(model, graph=graph)
    space = pruner.discover_candidates()
    strategy = pruning.Greedy(pruning.GroupMagnitude(p=2))
    each, altogether = (pruning.ChannelRatio(RATIO, scope) for scope in ("local", "global"))
    try:
        try:
            plan = pruner.plan(space, budget=each, strategy=strategy)
        except kirigami.KirigamiError:
            plan = pruner.plan(space, budget=altogether, strategy=strategy)
    except kirigami.KirigamiError as error:
        raise Refusal(str(error)) from error
    slim: nn.Module = pruner.apply(plan)[0]
    return slim


def build_prunekit(model: nn.Module, inputs: Sequence[Any]) -> ChannelGraph:
    """Channel graph."""
    return trace(model, tuple(inputs))


def groups_prunekit(_: nn.Module, graph: ChannelGraph) -> int:
    """They are part of the graph."""
    return len(graph.groups)


def halve_prunekit(model: nn.Module, inputs: Sequence[Any], _: Sequence[nn.Module]) -> nn.Module:
    """L2 magnitude, half of each group; it keeps inputs and outputs by itself."""
    graph = trace(model, tuple(inputs))
    try:
        scores = score_groups(model, graph.groups, "l2")
        policy = Policy(round_to=1, min_width=1)
        plan = make_plan(graph, scores, Target("channel_ratio", RATIO), policy)
        return apply(plan, model)
    except PrunekitError as error:
        raise Refusal(str(error)) from error


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "prunekit": Tool(build_prunekit, groups_prunekit, halve_prunekit),
        "torch-pruning": Tool(build_torch_pruning, groups_torch_pruning, halve_torch_pruning),
        "torch-kirigami": Tool(build_kirigami, groups_kirigami, halve_kirigami),
    }
)
"""Every tool, by the name of its package."""


def output_layers(
    model: nn.Module, inputs: Sequence[Any], run: Callable[[nn.Module, Sequence[Any]], list[Tensor]]
) -> list[nn.Module]:
    """The layers that make the outputs, which a user of torch-pruning has to know.

    The convolution or linear layer that ran last, those that make no more channels than an image
    has, and those whose channels prunekit finds to be outputs of the model.
    """
    layers = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, (nn.modules.conv._ConvNd, nn.Linear))  # noqa: SLF001
    }
    last: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda m, *_: last.__setitem__(slice(None), [m]))
        for module in layers.values()
    ]
    run(model, inputs)
    for hook in hooks:
        hook.remove()
    few = [m for m in layers.values() if getattr(m, "out_channels", 99) <= 4]
    ends = {
        axis.tensor.rpartition(".")[0]
        for axis in trace(model, tuple(inputs)).frozen
        if axis.reason.text.startswith("output of the model")
    }
    named = [module for name, module in layers.items() if name in ends]
    return list({id(m): m for m in (*last, *few, *named)}.values())
