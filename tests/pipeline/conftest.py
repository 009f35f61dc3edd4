"""What whole runs need."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipeline.samples import write_images


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("data") / "images")
