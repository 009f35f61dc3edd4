"""What several parts of the tests need."""

from __future__ import annotations

import importlib.util
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of benchmark images and weights: $PRUNEKIT_DATA, else ../shared/data."""
    repository = Path(__file__).parent.parent
    named = os.environ.get("PRUNEKIT_DATA")
    folder = Path(named) if named else repository.parent / "shared" / "data"
    if not (folder / "benchmarks").is_dir():
        pytest.skip(f"no benchmark images in {folder}; name their folder in PRUNEKIT_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Small tensors gain nothing from threads, and suffer where cores are shared."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Decoded images of the tests do not go to the cache of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PRUNEKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def spandrel() -> torch.library.Library:
    """Skip unless spandrel is there."""
    if importlib.util.find_spec("spandrel") is None:
        pytest.skip("the extra spandrel is not installed")
    # a torchvision without its compiled part lacks the schemas of two operators
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in (
        "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
        "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    ):
        if not hasattr(torch.ops.torchvision, schema.split("(")[0]):
            library.define(schema)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's code
        importlib.import_module("spandrel")
    return library  # alive as long as the tests
