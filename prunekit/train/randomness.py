"""The generators that a network may draw from in training, seeded, kept and given back."""

from __future__ import annotations

__all__ = ["generators", "load_generators", "own_generators"]

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor


@contextmanager
def own_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seed all of them, and give the caller's back as they were."""
    python, legacy = random.getstate(), _legacy_numpy()
    cuda = [device] if device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=cuda):
            random.seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002 (networks draw from it)
            torch.default_generator.manual_seed(seed)
            for gpu in cuda:
                with torch.cuda.device(gpu):
                    torch.cuda.manual_seed(seed)
            yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def generators(device: torch.device) -> dict[str, Tensor]:
    """State of all of them."""
    version, words, gauss = random.getstate()
    _, key, place, has_gauss, cached = _legacy_numpy()
    cuda = {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {}
    return {
        "torch": torch.get_rng_state(),
        "python": torch.tensor([version, *words], dtype=torch.int64),
        "python_gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(key, dtype=np.int64)),
        "numpy_place": torch.tensor([place, has_gauss], dtype=torch.int64),
        "numpy_gauss": torch.tensor([cached], dtype=torch.float64),
        **cuda,
    }


def load_generators(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Go on from a state."""
    torch.set_rng_state(state["torch"])
    version, *words = state["python"].tolist()
    gauss = state["python_gauss"].tolist()
    random.setstate((version, tuple(words), gauss[0] if gauss else None))
    place, has_gauss = state["numpy_place"].tolist()
    key = state["numpy"].numpy().astype(np.uint32)
    cached = state["numpy_gauss"].item()
    np.random.set_state(("MT19937", key, place, has_gauss, cached))  # noqa: NPY002
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def _legacy_numpy() -> Any:
    """Generator of numpy that its functions draw from, as a tuple."""
    return np.random.get_state(legacy=True)  # noqa: NPY002
