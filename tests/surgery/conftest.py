"""Slim networks by their kind."""

from __future__ import annotations

import pytest

from tests.surgery.slims import SPANDREL, Pruned, pruned


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Pruned:
    """One of `KINDS`, which a test names indirectly."""
    if request.param == SPANDREL:
        request.getfixturevalue("spandrel")
    return pruned(request.param)
