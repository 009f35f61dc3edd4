"""The channel dependency graph: trace, operator rules, labels, groups."""

__all__ = [
    "ChannelGraph",
    "ChannelGroup",
    "FrozenAxis",
    "Inputs",
    "LawResult",
    "Member",
    "Reason",
    "SizeField",
    "check_traceable",
    "clone_model",
    "copy_with",
    "fake_copy",
    "fingerprint",
    "like",
    "own_randomness",
    "quiet_fakes",
    "tensors_of",
    "trace",
]

from prunekit.graph.copying import clone_model, copy_with, fake_copy, like, tensors_of
from prunekit.graph.graph import (
    ChannelGraph,
    SizeField,
    check_traceable,
    fingerprint,
    trace,
)
from prunekit.graph.groups import ChannelGroup, FrozenAxis, Member
from prunekit.graph.labels import Reason
from prunekit.graph.randomness import own_randomness
from prunekit.graph.record import Inputs, quiet_fakes
from prunekit.graph.verify import LawResult
