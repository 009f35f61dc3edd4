"""A traced network for a person to see: as a tree, as JSON, and as a page that draws it."""

from __future__ import annotations

__all__ = ["to_network_json", "to_network_page", "to_network_tree"]

from prunekit.report.network.document import to_network_json
from prunekit.report.network.page import to_network_page
from prunekit.report.network.tree import to_network_tree
