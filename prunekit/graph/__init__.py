"""The channel dependency graph: trace, operator rules, labels, groups."""

__all__ = [
    "Attention",
    "Cause",
    "ChannelGraph",
    "ChannelGroup",
    "FrozenAxis",
    "Inputs",
    "LawResult",
    "Member",
    "Reason",
    "Rule",
    "References",
    "Removed",
    "SizeField",
    "TraceOptions",
    "check_traceable",
    "clone_model",
    "copy_with",
    "fake_copy",
    "fingerprint",
    "like",
    "own_randomness",
    "quiet_fakes",
    "run_without",
    "tensors_of",
    "trace",
    "uncached",
    "unwrap",
]

from prunekit.graph.caches import uncached
from prunekit.graph.copying import clone_model, copy_with, fake_copy, like, tensors_of, unwrap
from prunekit.graph.graph import ChannelGraph, check_traceable, fingerprint, trace
from prunekit.graph.groups import ChannelGroup, FrozenAxis, Member
from prunekit.graph.labels import Cause, Reason
from prunekit.graph.lengths import SizeField
from prunekit.graph.options import TraceOptions
from prunekit.graph.randomness import own_randomness
from prunekit.graph.record import Inputs, quiet_fakes
from prunekit.graph.reference import References, Removed, run_without
from prunekit.graph.rules import Rule
from prunekit.graph.solve import Attention
from prunekit.graph.verify import LawResult
