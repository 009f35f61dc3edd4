"""Arguments of reference networks: one clear sentence for what makes no network."""

from __future__ import annotations

__all__ = ["MOST", "positive", "whole", "wholes"]

import reprlib

import numpy as np

MOST = 2**16
"""Nothing may be larger: a trunk as wide, or with as many blocks, is a slip and fits no memory."""

_INTEGERS = (int, np.integer)
_NUMBERS = (int, float, np.integer, np.floating)


def whole(network: object, *, least: int = 1, **arguments: object) -> None:
    """Refuse, with `ValueError`, what is no whole number from `least` to `MOST`."""
    for name, value in arguments.items():
        if not _is_whole(value, least):
            _refuse(network, name, f"a whole number from {least} to {MOST}", value)


def wholes(network: object, **arguments: object) -> None:
    """Refuse, with `ValueError`, what is no list of whole numbers from 1 to `MOST`, or empty."""
    for name, value in arguments.items():
        if not _are_whole(value):
            _refuse(network, name, f"a list of whole numbers from 1 to {MOST}", value)


def positive(network: object, **arguments: object) -> None:
    """Refuse, with `ValueError`, what is no number above 0 and up to `MOST`."""
    for name, value in arguments.items():
        if isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 < value <= MOST:
            _refuse(network, name, f"a number above 0 and up to {MOST}", value)


def _is_whole(value: object, least: int) -> bool:
    if isinstance(value, bool) or not isinstance(value, _INTEGERS):
        return False
    return bool(least <= value <= MOST)


def _are_whole(value: object) -> bool:
    if not isinstance(value, list | tuple):
        return False
    return len(value) > 0 and all(_is_whole(item, 1) for item in value)


def _refuse(network: object, name: str, wanted: str, value: object) -> None:
    given = " ".join(reprlib.repr(value).split())
    message = f"{type(network).__name__} needs {wanted} for {name}, not {given}"
    raise ValueError(message)
