"""Built-in networks by name."""

from __future__ import annotations

__all__ = ["NETWORKS", "Network", "create", "names"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from types import MappingProxyType

from safetensors.torch import load_file
from torch import nn

from prunekit.errors import RecipeError, did_you_mean
from prunekit.nets.edsr import EDSR


@dataclass(frozen=True)
class Network:
    """How to build a network, and what it comes with."""

    build: Callable[..., nn.Module]
    description: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    """Arguments that its weights were trained with; they cannot be changed."""
    weights: str | None = None
    """File of trained weights in the package."""


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "edsr": Network(EDSR, "EDSR of any size, untrained (Lim et al., 2017)"),
        "edsr_x2_compact": Network(
            EDSR,
            "EDSR x2 of 48 channels and 8 blocks, trained; 0.44 M parameters",
            {"scale": 2, "channels": 48, "blocks": 8},
            "edsr_x2_compact.safetensors",
        ),
    }
)
"""Every built-in network."""


def names() -> list[str]:
    """Return the names of all built-in networks."""
    return sorted(NETWORKS)


def create(name: str, **arguments: object) -> nn.Module:
    """Build a network, with its trained weights where it comes with some.

    Raises:
        RecipeError: there is no such network, or it does not take these arguments.
    """
    if name not in NETWORKS:
        message = f"there is no built-in network '{name}'{did_you_mean(name, NETWORKS)}"
        raise RecipeError(message)
    network = NETWORKS[name]
    if clash := sorted(set(arguments) & set(network.arguments)):
        message = (
            f"'{clash[0]}' of network '{name}' is fixed by its trained weights; "
            "leave it out, or take the untrained 'edsr'"
        )
        raise RecipeError(message)
    try:
        model = network.build(**network.arguments, **arguments)
    except (TypeError, ValueError, RuntimeError) as error:
        message = f"network '{name}' cannot be built: {error}"
        raise RecipeError(message) from error
    if network.weights:
        with as_file(files("prunekit.nets") / "weights" / network.weights) as file:
            model.load_state_dict(load_file(file))
    return model.eval()
