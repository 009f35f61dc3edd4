"""What a run was done with: versions, platform and devices, and nothing that tells who ran it."""

from __future__ import annotations

__all__ = ["environment"]

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from prunekit.version import __version__

_PACKAGES = (
    "accelerate",
    "fvcore",
    "numpy",
    "Pillow",
    "pydantic",
    "safetensors",
    "scikit-image",
    "thop",
    "torch",
    "torch-pruning",
)


def environment() -> dict[str, object]:
    """Describe the software and the machine as plain JSON values: no host, user or path."""
    return {
        "prunekit": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "devices": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
    }


def _version(package: str) -> str | None:
    """Return the version installed; None if it is not."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _processor() -> str:
    """Name the processor's model, which Python tells on some systems only."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, "") or platform.processor() or platform.machine()
