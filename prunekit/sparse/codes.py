"""How a file tells where the values of a sparse tensor are: in bits, in gaps, or within blocks.

Every code is a line of bytes. Reading one checks all that it claims before memory is taken by it:
places outside the tensor, places twice or out of order, and counts that do not match are refused.
"""

from __future__ import annotations

__all__ = ["CODES", "BadCodeError", "Code", "best_code", "places_of", "plainest_code"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prunekit.sparse.masks import Pattern

Bits = NDArray[np.bool_]
Bytes = NDArray[np.uint8]

_JUMP = 255
"""In gaps: so many places without a value, and the next byte goes on."""


class BadCodeError(ValueError):
    """A code does not say what it has to."""


@dataclass(frozen=True)
class Code:
    """One way to tell which places hold a value."""

    write: Callable[[Bits, Pattern | None], Bytes | None]
    """From a boolean line, with the pattern that it meets along it; None if it cannot."""
    read: Callable[[Bytes, int, int, tuple[int, int]], Bits]
    """From bytes, length of the line, number of values, and pattern."""


def best_code(kept: Bits, pattern: Pattern | None) -> tuple[str, Bytes]:
    """The shortest code for a boolean line; of equal ones the first of the table."""
    found = ((name, code.write(kept, pattern)) for name, code in CODES.items())
    return min(((name, c) for name, c in found if c is not None), key=lambda pair: pair[1].size)


def plainest_code(kept: Bits) -> tuple[str, Bytes]:
    """A bit for every place, whatever is in the line."""
    return "bits", _write_bits(kept, None)


def places_of(name: str, code: Bytes, length: int, values: int, pattern: tuple[int, int]) -> Bits:
    """A boolean line of some length with as many true places as there are values.

    Raises `BadCodeError` if the code is unknown, or says anything else.
    """
    if name not in CODES:
        message = f"the code {name!r} is unknown"
        raise BadCodeError(message)
    kept = CODES[name].read(code, length, values, pattern)
    if int(np.count_nonzero(kept)) != values:
        message = f"it marks {int(np.count_nonzero(kept))} places for {values} values"
        raise BadCodeError(message)
    return kept


def _write_bits(kept: Bits, _pattern: Pattern | None) -> Bytes:
    return np.packbits(kept, bitorder="little")


def _read_bits(code: Bytes, length: int, _values: int, _pattern: tuple[int, int]) -> Bits:
    if code.size != -(-length // 8):
        message = f"it has {code.size} bytes for {length} places"
        raise BadCodeError(message)
    bits = np.unpackbits(code, bitorder="little")
    if bits[length:].any():
        message = "it marks places behind the end"
        raise BadCodeError(message)
    return bits[:length].astype(np.bool_)


def _write_gaps(kept: Bits, _pattern: Pattern | None) -> Bytes:
    """Places without a value before each value, and before the end."""
    places = np.flatnonzero(kept)
    ends = np.concatenate([places, [kept.size]])
    gaps = np.diff(ends, prepend=-1) - 1
    jumps, rest = np.divmod(gaps, _JUMP)
    code = np.full(int(jumps.sum()) + gaps.size, _JUMP, np.uint8)
    code[np.cumsum(jumps + 1) - 1] = rest
    return code


def _read_gaps(code: Bytes, length: int, values: int, _pattern: tuple[int, int]) -> Bits:
    stops = code != _JUMP
    if int(stops.sum()) != values + 1 or not stops[-1]:
        message = f"it has {int(stops.sum()) - 1} gaps for {values} values"
        raise BadCodeError(message)
    ends = np.cumsum(code.astype(np.int64) + stops)[stops] - 1  # ascending, whatever they are
    if int(ends[-1]) != length:
        message = f"its places end at {int(ends[-1])}, and the tensor at {length}"
        raise BadCodeError(message)
    kept = np.zeros(length, np.bool_)
    kept[ends[:-1]] = True
    return kept


def _write_blocks(kept: Bits, pattern: Pattern | None) -> Bytes | None:
    """The places within every block, in as few bits each as the block needs."""
    if pattern is None or kept.size % pattern.block:
        return None
    blocks = kept.reshape(-1, pattern.block)
    if not (blocks.sum(1) == pattern.stays).all():
        return None
    places = np.nonzero(blocks)[1].astype(np.uint8)
    bits = places[:, None] >> np.arange(_width(pattern.block), dtype=np.uint8) & 1
    return np.packbits(bits.reshape(-1), bitorder="little")


def _read_blocks(code: Bytes, length: int, values: int, pattern: tuple[int, int]) -> Bits:
    stays, block = pattern
    if length % block or values != length // block * stays:
        message = f"{values} values are not {stays} of every {block} of {length}"
        raise BadCodeError(message)
    width = _width(block)
    if code.size != -(-values * width // 8):
        message = f"it has {code.size} bytes for {values} places of {width} bits"
        raise BadCodeError(message)
    bits = np.unpackbits(code, bitorder="little")
    if bits[values * width :].any():
        message = "it marks places behind the end"
        raise BadCodeError(message)
    weights = (1 << np.arange(width)).astype(np.uint8)
    places = (bits[: values * width].reshape(-1, width) * weights).sum(1, dtype=np.int64)
    lines = places.reshape(-1, stays)
    if (places >= block).any() or (np.diff(lines, axis=1) <= 0).any():
        message = "its places within a block overlap, or lie outside of it"
        raise BadCodeError(message)
    kept = np.zeros((length // block, block), np.bool_)
    np.put_along_axis(kept, lines, values=True, axis=1)
    return kept.reshape(-1)


def _width(block: int) -> int:
    """Bits that tell one of so many places."""
    return max(1, (block - 1).bit_length())


CODES: Mapping[str, Code] = MappingProxyType(
    {
        "blocks": Code(_write_blocks, _read_blocks),
        "bits": Code(_write_bits, _read_bits),
        "gaps": Code(_write_gaps, _read_gaps),
    }
)
