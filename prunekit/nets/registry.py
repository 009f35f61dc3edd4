"""Built-in networks by name."""

from __future__ import annotations

__all__ = ["NETWORKS", "Network", "check_arguments", "create", "names"]

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from types import MappingProxyType

import torch
from safetensors.torch import load_file
from torch import nn

from prunekit.errors import RecipeError, brief, did_you_mean
from prunekit.nets.bsrn import BSRN, BSRNS
from prunekit.nets.carn import CARNM
from prunekit.nets.edsr import EDSR, LEDSR
from prunekit.nets.imdn import IMDN
from prunekit.nets.pan import PAN
from prunekit.nets.rfdn import RFDN
from prunekit.nets.rlfn import RLFN, SlimRLFN
from prunekit.nets.rrdb import RRDBNet
from prunekit.nets.safmn import SAFMNPP, SAFMNV3
from prunekit.nets.srvgg import SRVGGNetCompact


@dataclass(frozen=True)
class Network:
    """How to build a network, and what it comes with."""

    build: Callable[..., nn.Module]
    description: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    """Arguments that its name or its trained weights tell; they cannot be changed."""
    defaults: Mapping[str, object] = field(default_factory=dict)
    """Arguments that the published network has; they can be changed."""
    weights: str | None = None
    """File of trained weights in the package."""


@dataclass(frozen=True)
class _Published:
    """A network of a paper, one for each of some scales."""

    build: Callable[..., nn.Module]
    source: str
    scales: tuple[int, ...]
    defaults: Mapping[str, object] = field(default_factory=dict)


_EIGHT_BIT = {"rgb_range": 255.0}
"""The published weights were trained for pixels of 0 to 255."""

_EDSR = {"channels": 256, "blocks": 32, "res_scale": 0.1, **_EIGHT_BIT}
_LEDSR = {"channels": 256, "blocks": 16, **_EIGHT_BIT}
_CHALLENGE_RLFN = {"channels": 46, "blocks": 4, "middle": 48, **_EIGHT_BIT}
_PRUNED_SLIM = {"middles": (28, 28, 28, 28, 28, 30), **_EIGHT_BIT}

_PUBLISHED: Mapping[str, _Published] = {
    "edsr_baseline": _Published(EDSR, "EDSR-baseline (Lim et al., 2017)", (2, 3, 4), _EIGHT_BIT),
    "edsr": _Published(EDSR, "EDSR (Lim et al., 2017)", (2, 3, 4), _EDSR),
    "edsr_mini": _Published(
        EDSR,
        "EDSRmini, found by the density of an EDSR (CDISM)",
        (2,),
        {"channels": 16, "blocks": 8, "res_scale": 2.0, **_EIGHT_BIT},
    ),
    "ledsr": _Published(LEDSR, "LEDSR (Zhang et al., 2021)", (2, 3, 4), _LEDSR),
    "imdn": _Published(IMDN, "IMDN (Hui et al., 2019)", (2, 3, 4)),
    "rfdn_aim": _Published(RFDN, "RFDN, winner of AIM 2020 (Liu et al., 2020)", (4,), _EIGHT_BIT),
    "rlfn": _Published(RLFN, "RLFN (Kong et al., 2022)", (2, 4), _EIGHT_BIT),
    "rlfn_s": _Published(
        RLFN, "RLFN-S (Kong et al., 2022)", (2, 4), {"channels": 48, **_EIGHT_BIT}
    ),
    "rlfn_ntire": _Published(
        RLFN, "RLFN, winner of NTIRE 2022 (Kong et al., 2022)", (4,), _CHALLENGE_RLFN
    ),
    "slimrlfn": _Published(SlimRLFN, "SlimRLFN of NTIRE 2024, team 21", (4,), _EIGHT_BIT),
    "slimrlfn_pruned": _Published(
        SlimRLFN, "SlimRLFN of NTIRE 2024, team 21, pruned", (4,), _PRUNED_SLIM
    ),
    "pan": _Published(PAN, "PAN (Zhao et al., 2020)", (2, 3, 4)),
    "bsrn": _Published(BSRN, "BSRN (Li et al., 2022)", (2, 3, 4)),
    "bsrn_s": _Published(BSRNS, "BSRN-S, of NTIRE 2022 (Li et al., 2022)", (4,)),
    "carn_m": _Published(CARNM, "CARN-M, weights for all scales (Ahn et al., 2018)", (2, 3, 4)),
    "safmnpp": _Published(SAFMNPP, "SAFMN++ of NTIRE 2024, team 23", (4,)),
    "safmnv3": _Published(SAFMNV3, "SAFMN v3 of NTIRE 2025, team 19", (4,)),
    "esrgan": _Published(RRDBNet, "ESRGAN (Wang et al., 2018)", (4,)),
    "realesrgan": _Published(RRDBNet, "Real-ESRGAN (Wang et al., 2021)", (2, 4)),
    "realesrgan_anime6b": _Published(
        RRDBNet, "Real-ESRGAN for anime (Wang et al., 2021)", (4,), {"blocks": 6}
    ),
    "realesr_animevideov3": _Published(
        SRVGGNetCompact, "compact Real-ESRGAN for anime video (Wang et al., 2021)", (4,)
    ),
    "realesr_general": _Published(
        SRVGGNetCompact, "compact Real-ESRGAN v3 (Wang et al., 2021)", (4,), {"blocks": 32}
    ),
}


def _variants() -> Iterator[tuple[str, Network]]:
    for name, published in _PUBLISHED.items():
        for scale in published.scales:
            yield (
                f"{name}_x{scale}",
                Network(
                    published.build,
                    f"x{scale}, untrained: {published.source}",
                    {"scale": scale},
                    published.defaults,
                ),
            )


NETWORKS: Mapping[str, Network] = MappingProxyType(
    {
        "edsr": Network(EDSR, "EDSR of any size, untrained (Lim et al., 2017)"),
        "edsr_x2_compact": Network(
            EDSR,
            "EDSR x2 of 48 channels and 8 blocks, trained; 0.44 M parameters",
            {"scale": 2, "channels": 48, "blocks": 8},
            weights="edsr_x2_compact.safetensors",
        ),
        **dict(_variants()),
    }
)
"""Every built-in network."""


def names() -> list[str]:
    """Return the names of all built-in networks."""
    return sorted(NETWORKS)


def create(name: str, /, **overrides: object) -> nn.Module:
    """Build a network as it was published, with its trained weights where it comes with some.

    Args:
        name: such as `imdn_x2`; `names()` has them all.
        overrides: arguments of the network that are to be others than the published ones.

    Raises:
        RecipeError: there is no such network, or it does not take these arguments.
    """
    model = _build(name, overrides)
    if weights := NETWORKS[name].weights:
        with as_file(files("prunekit.nets") / "weights" / weights) as file:
            model.load_state_dict(load_file(file))
    return model.eval()


def check_arguments(name: str, overrides: Mapping[str, object]) -> None:
    """Raise `RecipeError` where `create` would, without taking memory for the network."""
    with torch.device("meta"):
        _build(name, overrides)


def _build(name: str, overrides: Mapping[str, object]) -> nn.Module:
    if name not in NETWORKS:
        message = f"there is no built-in network '{name}'{did_you_mean(name, NETWORKS)}"
        raise RecipeError(message)
    network = NETWORKS[name]
    _check_overrides(name, network, overrides)
    try:
        return network.build(**{**network.arguments, **network.defaults, **overrides})
    except (TypeError, ValueError) as error:
        message = f"network '{name}' cannot be built: {error}"
        raise RecipeError(message) from error
    except (RuntimeError, MemoryError) as error:
        message = (
            f"network '{name}' cannot be built ({brief(error)}); if memory is short, "
            "take fewer channels or blocks"
        )
        raise RecipeError(message) from error


def _check_overrides(name: str, network: Network, overrides: Mapping[str, object]) -> None:
    known = inspect.signature(network.build).parameters
    if unknown := sorted(set(overrides) - set(known)):
        hint = did_you_mean(unknown[0], set(known) - set(network.arguments))
        message = f"network '{name}' cannot be built: it takes no argument '{unknown[0]}'{hint}"
        raise RecipeError(message)
    if clash := sorted(set(overrides) & set(network.arguments)):
        why = "trained weights" if network.weights else "name"
        other = ", or take the untrained 'edsr'" if network.build is EDSR else ""
        message = f"'{clash[0]}' of network '{name}' is fixed by its {why}; leave it out{other}"
        raise RecipeError(message)
