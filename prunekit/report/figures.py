"""How numbers and foreign text are written, the same in every format."""

from __future__ import annotations

__all__ = [
    "Unit",
    "change",
    "common_unit",
    "decimals",
    "decibel",
    "duration",
    "in_ascii",
    "number",
    "printable",
    "shape",
    "signed",
    "times",
]

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_MINUS = "\N{MINUS SIGN}"
_TIMES = "\N{MULTIPLICATION SIGN}"
_ASCII = str.maketrans(
    {
        _MINUS: "-",
        _TIMES: "x",
        "\N{EN DASH}": "-",
        "\N{PLUS-MINUS SIGN}": "+/-",
        "\N{INFINITY}": "inf",
        "\N{RIGHTWARDS ARROW}": "->",
    }
)
_MINUTE = 60.0


@dataclass(frozen=True)
class Unit:
    """What the figures of a column are divided by."""

    prefix: str  # "", "K", "M", "G" or "T"
    factor: float


def common_unit(values: Sequence[float]) -> Unit:
    """Return the unit in which the largest value is at least 1."""
    largest = max((abs(value) for value in values), default=0)
    units = (Unit("T", 1e12), Unit("G", 1e9), Unit("M", 1e6), Unit("K", 1e3))
    return next((unit for unit in units if largest >= unit.factor), Unit("", 1))


def decimals(values: Sequence[float]) -> int:
    """Return how many decimals a column needs to tell its figures apart."""
    largest = max((abs(value) for value in values), default=0)
    limits = ((100, 2), (1000, 1))
    return next((digits for limit, digits in limits if largest < limit), 0)


def number(value: float, digits: int) -> str:
    """Write a figure with a true minus; infinity and what is no number by their signs."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "\N{INFINITY}" if value > 0 else f"{_MINUS}\N{INFINITY}"
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def signed(value: float, digits: int) -> str:
    """Write a difference with its sign, and one that rounds to nothing with both."""
    if not math.isfinite(value):
        return number(value, digits)
    sign = "\N{PLUS-MINUS SIGN}" if round(value, digits) == 0 else "+" if value > 0 else _MINUS
    return f"{sign}{abs(value):,.{digits}f}"


def change(value: float, reference: float) -> str:
    """Write how far a value is from its reference in percent; empty where that means nothing."""
    return f"{signed(100 * (value / reference - 1), 1)} %" if reference else ""


def times(ratio: float, digits: int) -> str:
    """Write a ratio such as `1.8x`, with the sign of multiplication."""
    return f"{number(ratio, digits)}{_TIMES}"


def decibel(value: float | None) -> str:
    """Write a PSNR; empty for none."""
    return "" if value is None else number(value, 2)


def duration(seconds: float) -> str:
    """Write a time so that a person can tell it, from `0.12 s` to `75 min 03 s`."""
    if seconds < _MINUTE:
        return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes:,} min {rest:02d} s"


def shape(sizes: Sequence[int]) -> str:
    """Write the sizes of a tensor or an image, such as `1x3x48x48`."""
    return _TIMES.join(str(size) for size in sizes)


def printable(text: str) -> str:
    """Replace what no document can hold or show: control, format and surrogate characters."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character)[0] != "C"
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def in_ascii(text: str) -> str:
    """Write the signs of our figures so that every terminal has them."""
    return text.translate(_ASCII)
