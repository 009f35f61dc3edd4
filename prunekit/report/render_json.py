"""A report as JSON for other programs: every figure at full precision, and no pixels."""

from __future__ import annotations

__all__ = ["SCHEMA_VERSION", "to_json"]

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np

from prunekit.report.content import Report
from prunekit.report.headline import cautions, headline

SCHEMA_VERSION = 2

_UNSAFE = re.compile("[<>&\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def to_json(report: Report) -> str:
    """Write everything but the pixels, keys in the order of the dataclasses.

    What is not finite becomes null. The characters that HTML or JavaScript could take for their
    own are escaped, so that the text may be put into a page.
    """
    content = {
        "schema_version": SCHEMA_VERSION,
        "headline": headline(report),
        "cautions": cautions(report),
        **{f.name: getattr(report, f.name) for f in fields(report) if f.name != "previews"},
    }
    text = json.dumps(_plain(content), indent=2, ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text) + "\n"


def _plain(value: object) -> object:
    """Turn a value into what JSON knows."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int)):
        return value
    if is_dataclass(value):
        named = {f.name: getattr(value, f.name) for f in fields(value)}
        return {name: _plain(v) for name, v in named.items() if not isinstance(v, np.ndarray)}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value)
