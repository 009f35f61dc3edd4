"""Colours for groups: far apart for neighbours, the same in every run, legible on both papers."""

from __future__ import annotations

__all__ = ["Colour", "colours"]

import math
from collections.abc import Sequence
from dataclasses import dataclass

_GOLDEN = 137.508  # degrees: each new hue falls into the widest gap that is left
_FIRST_HUE = 255.0  # blue, for what is largest
_SIBLING = ((0.0, 0.0), (22.0, 0.05), (-22.0, -0.05))
"""Shift of hue and lightness from one group of a family to the next: akin, but not the same."""
_LIGHT, _DARK = (0.56, 0.16), (0.74, 0.14)
"""Lightness and chroma (Ottosson's OKLCH) on white and on near-black paper."""

_STRAIGHT = 0.0031308
"""Below this much light the curve of sRGB is a straight line."""


@dataclass(frozen=True)
class Colour:
    """A colour as `#rrggbb`."""

    light: str
    """On white paper."""
    dark: str
    """On near-black paper."""


def colours(families: Sequence[int]) -> list[list[Colour]]:
    """Give every group a colour.

    Args:
        families: how many groups each family has, the most important family first.
    """
    return [
        [_colour(family, member) for member in range(size)] for family, size in enumerate(families)
    ]


def _colour(family: int, member: int) -> Colour:
    turn, lift = _SIBLING[member % len(_SIBLING)]
    hue = _FIRST_HUE + _GOLDEN * family + turn
    ring = (0.0, 0.04, -0.06)[family // 9 % 3]  # when hues get close, lightness tells them apart
    return Colour(
        *(_hex(lightness + lift + ring, chroma, hue) for lightness, chroma in (_LIGHT, _DARK))
    )


def _hex(lightness: float, chroma: float, hue: float) -> str:
    """Write a colour of OKLCH as sRGB, with less chroma where a screen cannot show it."""
    while True:
        channels = _linear_rgb(lightness, chroma, math.radians(hue))
        if all(0 <= channel <= 1 for channel in channels):
            return "#" + "".join(f"{round(255 * _gamma(channel)):02x}" for channel in channels)
        chroma -= 0.005


def _linear_rgb(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    a, b = chroma * math.cos(hue), chroma * math.sin(hue)
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    medium = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    return (
        4.0767416621 * long - 3.3077115913 * medium + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * medium - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * medium + 1.7076147010 * short,
    )


def _gamma(channel: float) -> float:
    """Encode linear light as IEC 61966-2-1 has it."""
    if channel <= _STRAIGHT:
        return 12.92 * channel
    return 1.055 * math.pow(channel, 1 / 2.4) - 0.055
