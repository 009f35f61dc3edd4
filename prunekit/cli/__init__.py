"""The command line: parse it, call the pipeline, print; the only place that prints."""

from __future__ import annotations

__all__ = ["app", "main"]

from prunekit.cli.app import app, main
