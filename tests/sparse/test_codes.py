"""Codes of places: there and back, the shortest is taken, and nothing false is believed."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prunekit.sparse.codes import CODES, BadCodeError, best_code, places_of
from prunekit.sparse.masks import Pattern

lines = st.lists(st.booleans(), max_size=700).map(lambda bits: np.array(bits, np.bool_))
sparse_lines = st.tuples(st.integers(1, 3000), st.sets(st.integers(0, 2999), max_size=5)).map(
    lambda given: np.isin(np.arange(given[0]), list(given[1]))
)
quick = settings(deadline=None, max_examples=150)


def patterned(stays: int, block: int, blocks: int, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    order = generator.permuted(np.tile(np.arange(block), (blocks, 1)), axis=1)
    return (order < stays).reshape(-1)


@quick
@given(lines | sparse_lines, st.sampled_from(["bits", "gaps"]))
def test_any_line_comes_back(line, name):
    code = CODES[name].write(line, None)
    assert code.dtype == np.uint8
    assert np.array_equal(places_of(name, code, line.size, int(line.sum()), (1, 2)), line)


@quick
@given(st.integers(2, 64), st.integers(0, 20), st.data())
def test_blocks_come_back(block, blocks, data):
    stays = data.draw(st.integers(1, block - 1))
    line = patterned(stays, block, blocks, seed=block)
    code = CODES["blocks"].write(line, Pattern(stays, block, 0))
    found = places_of("blocks", code, line.size, int(line.sum()), (stays, block))
    assert np.array_equal(found, line)


@pytest.mark.parametrize(
    ("share", "name"), [(0.5, "bits"), (0.8, "bits"), (0.95, "gaps"), (0.99, "gaps")]
)
def test_the_shortest_is_taken(share, name):
    line = np.random.default_rng(0).random(100_000) >= share
    found, code = best_code(line, None)
    assert found == name
    assert code.size == min(CODES[n].write(line, None).size for n in ("bits", "gaps"))


@pytest.mark.parametrize(
    ("stays", "block", "name", "octets"),
    [(2, 4, "blocks", 5000), (1, 4, "blocks", 2500), (1, 8, "blocks", 1875), (3, 4, "bits", 5000)],
)
def test_two_bits_tell_a_place_among_four(stays, block, name, octets):
    found, code = best_code(patterned(stays, block, 40_000 // block, 1), Pattern(stays, block, 0))
    assert (found, code.size) == (name, octets)


@pytest.mark.parametrize(
    ("name", "code", "length", "values", "words"),
    [
        ("bits", [1], 9, 1, "1 bytes for 9 places"),
        ("bits", [1, 0, 0], 9, 1, "3 bytes for 9 places"),
        ("bits", [1, 2], 9, 1, "behind the end"),
        ("bits", [3, 0], 9, 1, "marks 2 places for 1 values"),
        ("gaps", [2, 200], 6, 1, "places end at 203, and the tensor at 6"),
        ("gaps", [2, 1, 1], 6, 1, "2 gaps for 1 values"),
        ("gaps", [2, 255], 258, 1, "gaps for 1 values"),
        ("gaps", [], 6, 0, "gaps for 0 values"),
        ("blocks", [0b0000], 4, 2, "overlap"),
        ("blocks", [0b0001], 4, 2, "overlap"),
        ("blocks", [0b10100], 4, 2, "behind the end"),
        ("blocks", [4, 0], 4, 2, "2 bytes for 2 places"),
        ("blocks", [4], 8, 2, "are not 2 of every 4"),
        ("blocks", [4], 5, 2, "are not 2 of every 4"),
        ("runs", [4], 5, 2, "'runs' is unknown"),
    ],
)
def test_false_codes_are_refused(name, code, length, values, words):
    with pytest.raises(BadCodeError, match=words):
        places_of(name, np.array(code, np.uint8), length, values, (2, 4))


@pytest.mark.parametrize(
    ("name", "code", "length", "line"),
    [
        ("bits", [0b101], 4, [1, 0, 1, 0]),
        ("gaps", [2, 3], 6, [0, 0, 1, 0, 0, 0]),
        ("gaps", [255, 0, 0], 256, [0] * 255 + [1]),
        ("blocks", [0b0100], 4, [1, 1, 0, 0]),
        ("blocks", [0b10011101], 8, [0, 1, 0, 1, 0, 1, 1, 0]),
    ],
)
def test_codes_worked_by_hand(name, code, length, line):
    written = CODES[name].write(np.array(line, np.bool_), Pattern(2, 4, 0))
    assert written.tolist() == code
    assert places_of(name, written, length, sum(line), (2, 4)).tolist() == [bool(x) for x in line]


def test_places_outside_of_a_block_are_refused():
    with pytest.raises(BadCodeError, match="lie outside"):
        places_of("blocks", np.array([0b1100], np.uint8), 3, 2, (2, 3))


def test_random_bytes_give_a_line_or_an_error():
    draw = random.Random(3)  # noqa: S311
    told = refused = 0
    for number in range(3000):
        block = draw.randrange(2, 9)
        pattern = Pattern(draw.randrange(1, block), block, 0)
        right = patterned(pattern.stays, block, draw.randrange(1, 12), number)
        name, values = draw.choice(list(CODES)), int(right.sum())
        code = CODES[name].write(right, pattern).copy()
        code[draw.randrange(code.size)] ^= 1 << draw.randrange(8)
        try:
            line = places_of(name, code, right.size, values, (pattern.stays, block))
        except BadCodeError:
            refused += 1
            continue
        told += 1
        assert line.size == right.size
        assert line.sum() == values
    assert told > 100
    assert refused > 1000
