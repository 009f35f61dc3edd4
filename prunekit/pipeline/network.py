"""A network by what the user calls it: a built-in name, a factory, a checkpoint, a slim file."""

from __future__ import annotations

__all__ = ["NetworkSource", "is_slim", "open_network"]

from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import RecipeError
from prunekit.nets import NETWORKS
from prunekit.pipeline.build import build_network
from prunekit.pipeline.checkpoint import Checkpoint, load_checkpoint
from prunekit.pipeline.store import load
from prunekit.recipe import ModelSection
from prunekit.surgery import SLIM_FILE

_KEY = "prunekit"
"""Key of the metadata of our own files."""


@dataclass(frozen=True)
class NetworkSource:
    """Where a network comes from: a section of how to build it, or a file that tells."""

    section: ModelSection | None = None
    file: Path | None = None
    """A checkpoint, a slim file, or a run folder."""


def open_network(source: NetworkSource) -> nn.Module:
    """Build a network with its weights, on the CPU and in evaluation mode.

    Raises:
        RecipeError: it cannot be built, or has no weights.
        FileFormatError: a file cannot be read, or is not for it.
    """
    if source.section is not None:
        _check_trained(source.section)
        weights = source.section.weights
        if weights is not None and is_slim(weights):
            dense = build_network(source.section.model_copy(update={"weights": None}))
            return load(weights, model=dense)
        return build_network(source.section)
    assert source.file is not None
    if is_slim(source.file):
        return load(source.file)
    checkpoint = load_checkpoint(source.file)
    if checkpoint.masked:
        message = f"{source.file}: fills holes and does not enlarge; name another"
        raise RecipeError(message)
    return _AnySize(checkpoint).eval()


def is_slim(path: Path) -> bool:
    """Whether this is a run folder, or a file that prunekit wrote."""
    if path.is_dir():
        return (path / SLIM_FILE).is_file()
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as opened:
            return _KEY in (opened.metadata() or {})
    except (SafetensorError, OSError):  # told by what reads all of it
        return False


def _check_trained(section: ModelSection) -> None:
    name = section.network
    if name is not None and section.weights is None and NETWORKS[name].weights is None:
        message = f"the network '{name}' comes without weights; name a file of them with --weights"
        raise RecipeError(message)


class _AnySize(nn.Module):
    """The network of a checkpoint; sides that it does not take are mirrored, its output cut."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        super().__init__()
        self.network = checkpoint.model
        self.scale = checkpoint.scale
        self.multiple = checkpoint.multiple
        self.minimum = checkpoint.minimum

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[2:]
        right, bottom = (self._wanted(side) - side for side in (width, height))
        mode = "reflect" if right < width and bottom < height else "replicate"
        taken = F.pad(lr, (0, right, 0, bottom), mode=mode) if right or bottom else lr
        hr: Tensor = self.network(taken)
        return hr[:, :, : height * self.scale, : width * self.scale]

    def _wanted(self, side: int) -> int:
        least = max(side, self.minimum)
        return -(-least // self.multiple) * self.multiple
