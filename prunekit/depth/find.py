"""Blocks of a network that can be removed: what they add to their input is all they do."""

from __future__ import annotations

__all__ = ["Block", "Blocks", "find_blocks"]

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from torch import nn

from prunekit.depth.borders import Borders
from prunekit.depth.probe import Behaviour, watch_modules
from prunekit.depth.rest import without_blocks
from prunekit.errors import TraceError
from prunekit.graph import ChannelGraph, Inputs, check_traceable, fingerprint, unwrap
from prunekit.plan import inside


@dataclass(frozen=True)
class Block:
    """A module that computes `x + f(x)`, where f is zero when its parameters are."""

    name: str
    """Path of the module."""
    params: int
    """Numbers in its parameters, which no other module uses."""
    macs: int
    """Multiply-accumulates of it at the traced size."""
    groups: tuple[str, ...] = ()
    """Groups on the channels that pass through it, the widest first; none if these are frozen."""


@dataclass(frozen=True)
class Blocks:
    """The blocks of a network, those around others too, in order of execution."""

    found: tuple[Block, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Other modules that are `x + f(x)`, and why they cannot be removed all the same."""

    def __repr__(self) -> str:
        """Tell the story in a line a block."""
        rows = [f"  {b.name}: params {b.params:,}, macs {b.macs:,}" for b in self.found]
        rows += [f"  {name}: stays, since it {why}" for name, why in self.refused.items()]
        return "\n".join([f"Blocks: {len(self.found)} can be removed", *rows])


def find_blocks(model: nn.Module, graph: ChannelGraph, inputs: Inputs) -> Blocks:
    """Find every module whose removal leaves the identity in its place.

    Such a module is called once in a forward pass; by the graph, what goes in and what comes out
    are the same channels, and nothing else comes out; and no other module uses its parameters.
    It is tried out with generic weights and input, in float64 where the network runs so: when its
    own parameters are zero it returns its input to the bit, also in training mode, and not
    otherwise. The model is untouched.

    Args:
        model: the network that the graph is of.
        graph: of it.
        inputs: of the shapes that it was traced with.

    Raises:
        TraceError: the graph is of another network, or the network computes nothing finite.
    """
    check_traceable(model)
    model = unwrap(model)
    if fingerprint(model) != graph.fingerprint:
        message = f"the graph was made of another network than this {type(model).__name__}"
        raise TraceError(message)
    seen = watch_modules(model, inputs)
    owners, borders = _Owners(model), Borders(graph)
    heavy = {term.module for term in graph.terms}
    found, refused = [], {}
    for name, behaviour in seen.items():
        if not behaviour.adds:
            continue
        border = borders.of(name, elsewhere=behaviour.lent)
        why = _refusal(behaviour, heavy) or owners.sharing(name) or border.reason
        if why:
            refused[name] = why
            continue
        rest = without_blocks(graph, {name})
        params, macs = graph.params() - rest.params(), graph.macs() - rest.macs()
        found.append(Block(name, params, macs, border.groups))
    return Blocks(tuple(found), refused)


def _refusal(seen: Behaviour, heavy: Collection[str]) -> str:
    """Why a module that adds to its input stays; layers without weights, as ReLU, may be shared.

    `heavy` are the modules with multiply-accumulates of their own.
    """
    if seen.calls > 1:
        return f"is called {seen.calls} times in a forward pass"
    for part in sorted(seen.lent):
        if part in heavy:
            return f"has a part, '{part}', that is called from outside of it too"
    for other in sorted(seen.borrowed):
        if other in heavy:
            return f"calls '{other}', which is outside of it"
    if not seen.trains_alike:
        return "does more than add to its input in training mode"
    return ""


class _Owners:
    """Knows which modules hold a parameter or buffer, under every path that leads to it."""

    def __init__(self, model: nn.Module) -> None:
        self._modules = dict(model.named_modules(remove_duplicate=False))
        self._paths: dict[int, list[str]] = {}
        self._names: dict[str, list[tuple[str, int]]] = {}
        for path, module in self._modules.items():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    self._paths.setdefault(id(tensor), []).append(path)
                    self._names.setdefault(path, []).append((name, id(tensor)))

    def sharing(self, block: str) -> str:
        """What a block has in common with a module outside of it; "" if nothing."""
        module = self._modules[block]
        same = {path for path, other in self._modules.items() if other is module}
        for path, held in self._names.items():
            if not inside(path, {block}):
                continue
            for name, tensor in held:
                for other in self._paths[tensor]:
                    if not inside(other, same):
                        return f"shares '{path}.{name}' with '{other or 'the network'}'"
        return ""
