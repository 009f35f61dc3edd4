"""How a network is traced."""

from __future__ import annotations

__all__ = ["TraceOptions"]

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prunekit.graph.rules import Rule
from prunekit.graph.solve import Attention


@dataclass(frozen=True)
class TraceOptions:
    """What `prunekit.trace` is told beside the network and its inputs."""

    attention: Attention = "head_dim"
    rules: Mapping[str, Rule] | None = None
    opaque: Sequence[str] = ()
