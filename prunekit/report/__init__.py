"""What a run found: as plain data, and as HTML, JSON, Markdown and a table for the terminal."""

from __future__ import annotations

__all__ = [
    "BlockRow",
    "Crop",
    "CrossCheck",
    "Entry",
    "FrozenRow",
    "GroupRow",
    "Picture",
    "Preview",
    "Report",
    "Sparsity",
    "SparsityRow",
    "cautions",
    "cut_crops",
    "headline",
    "preview_images",
    "to_html",
    "to_json",
    "to_markdown",
    "to_table",
]

from prunekit.report.content import (
    BlockRow,
    Crop,
    CrossCheck,
    Entry,
    FrozenRow,
    GroupRow,
    Picture,
    Preview,
    Report,
    Sparsity,
    SparsityRow,
)
from prunekit.report.crops import cut_crops, preview_images
from prunekit.report.headline import cautions, headline
from prunekit.report.render_html import to_html
from prunekit.report.render_json import to_json
from prunekit.report.render_markdown import to_markdown
from prunekit.report.render_table import to_table
