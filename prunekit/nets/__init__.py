"""Reference networks, written from their papers, and the weights that come along."""

__all__ = ["EDSR", "NETWORKS", "Network", "create", "names"]

from prunekit.nets.edsr import EDSR
from prunekit.nets.registry import NETWORKS, Network, create, names
