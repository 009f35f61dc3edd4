"""From a checkpoint file alone to its network: spandrel tells the architecture by the weights."""

from __future__ import annotations

__all__ = ["Checkpoint", "inspect_checkpoint", "inspect_checkpoint_blocks", "load_checkpoint"]

import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from prunekit.depth import Blocks, find_blocks
from prunekit.errors import FileFormatError, brief
from prunekit.graph import ChannelGraph, trace
from prunekit.pipeline.build import example_input, read_state

_SIDE = 48
"""Height and width that a network is traced with, unless it needs more."""


@dataclass(frozen=True)
class Checkpoint:
    """A network as its weights tell it."""

    model: nn.Module
    """On the CPU, in evaluation mode, with the weights of the file."""
    architecture: str
    scale: int
    input_shape: tuple[int, int, int, int]
    """The smallest input that the architecture takes and that is no smaller than 48 x 48."""
    masked: bool
    """It takes a mask beside the image: it fills holes."""
    multiple: int
    """Height and width that it takes are multiples of this."""
    minimum: int
    """Height and width that it takes are no smaller."""


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a file of weights, without unpickling objects, and build the network that they fit.

    Raises:
        FileFormatError: the file cannot be read, no architecture that spandrel knows has such
            weights, or spandrel is not there.
    """
    spandrel = _import_spandrel(path)
    state = spandrel.canonicalize_state_dict(dict(read_state(path)))
    try:
        found = spandrel.ModelLoader(registry=_registry(spandrel)).load_from_state_dict(state)
    except spandrel.UnsupportedModelError as error:
        message = (
            f"{path}: spandrel knows no architecture with these weights; name the network as "
            "package.module:Class"
        )
        raise FileFormatError(message) from error
    except Exception as error:  # what the architectures' own code raises for odd weights
        message = f"{path}: spandrel cannot build a network from it ({brief(error)})"
        raise FileFormatError(message) from error
    side = _side(found.size_requirements)
    return Checkpoint(
        model=found.model.eval(),
        architecture=found.architecture.name,
        scale=found.scale,
        input_shape=(1, found.input_channels, side, side),
        masked=found.purpose == "Inpainting",
        multiple=found.size_requirements.multiple_of,
        minimum=found.size_requirements.minimum,
    )


def inspect_checkpoint(path: Path, input_shape: tuple[int, ...] | None) -> ChannelGraph:
    """Trace the network of a checkpoint, at the size that fits it unless one is given."""
    return trace(*_called(path, input_shape))


def inspect_checkpoint_blocks(
    path: Path, input_shape: tuple[int, ...] | None
) -> tuple[ChannelGraph, Blocks]:
    """Trace the network of a checkpoint, and run it to find the blocks that may leave."""
    model, inputs = _called(path, input_shape)
    graph = trace(model, inputs)
    return graph, find_blocks(model, graph, inputs)


def _called(
    path: Path, input_shape: tuple[int, ...] | None
) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """The network of a checkpoint, and what it takes."""
    checkpoint = load_checkpoint(path)
    image = example_input(input_shape or checkpoint.input_shape, checkpoint.model)
    return checkpoint.model, (image, image[:, :1]) if checkpoint.masked else (image,)


def _import_spandrel(path: Path) -> Any:
    try:
        return importlib.import_module("spandrel")
    except ModuleNotFoundError as error:
        message = (
            f"{path}: a checkpoint is read through {error.name}, which is not there; install it "
            "with pip install 'prunekit[spandrel]'"
        )
        raise FileFormatError(message) from error
    except Exception as error:  # a torchvision that was built for another torch
        message = (
            f"{path}: spandrel cannot be imported ({brief(error)}); install the torchvision "
            "that was built for this torch"
        )
        raise FileFormatError(message) from error


def _registry(spandrel: Any) -> Any:
    """Copy what spandrel knows and add its extra architectures, where they are installed."""
    registry = spandrel.MAIN_REGISTRY.copy()
    extra = _import_extra()
    if extra is not None:
        registry.add(*extra.EXTRA_REGISTRY)
    return registry


def _import_extra() -> ModuleType | None:
    try:
        return importlib.import_module("spandrel_extra_arches")
    except ModuleNotFoundError:
        return None


def _side(requirements: Any) -> int:
    """Round up to what the architecture takes."""
    step: int = requirements.multiple_of
    least: int = max(_SIDE, requirements.minimum)
    return -(-least // step) * step
