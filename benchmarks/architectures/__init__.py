"""The public super-resolution and restoration networks that the benchmarks trace: a value."""

__all__ = ["LEFT_OUT", "REGISTRY", "Architecture", "matching"]

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from benchmarks.architectures.basicsr_nets import BASICSR
from benchmarks.architectures.entry import Architecture
from benchmarks.architectures.extra_nets import SPANDREL_EXTRA
from benchmarks.architectures.resselt_nets import RESSELT
from benchmarks.architectures.small_packages import PRUNEKIT, SUPER_IMAGE, TIMM, TORCHSR
from benchmarks.architectures.spandrel_nets import SPANDREL

REGISTRY = (
    *PRUNEKIT,
    *SPANDREL,
    *SPANDREL_EXTRA,
    *RESSELT,
    *BASICSR,
    *TORCHSR,
    *SUPER_IMAGE,
    *TIMM,
)
"""Every network, by package."""

LEFT_OUT: Mapping[str, str] = MappingProxyType(
    {
        "basicsr/DFDNet": "asks for a file with dictionaries of facial features",
        "basicsr/StyleGAN2": "its activation is a CUDA extension",
        "resselt/*-dysample": "asks for pinned memory, which there is none of without CUDA",
        "super-image/JIIF": "in evaluation mode reads an option that its configuration lacks",
        "super-image/LIIF": "its forward prints a shape and returns nothing",
        "super-image/RNAN": "in evaluation mode prints a word and returns nothing",
        "super-image/SMSR": "evaluates only after it has cut kernels out of its weights",
    }
)
"""Networks of these packages that do not run as they are, and why."""


def matching(patterns: Sequence[str]) -> tuple[Architecture, ...]:
    """Networks whose names match any of the patterns (`*SwinIR*`); all when there are none.

    Raises:
        LookupError: a pattern matches no network.
    """
    for pattern in patterns:
        if not any(fnmatchcase(net.name, pattern) for net in REGISTRY):
            message = f"no network of the registry is called {pattern!r}; try '*{pattern}*'"
            raise LookupError(message)
    return tuple(
        net
        for net in REGISTRY
        if not patterns or any(fnmatchcase(net.name, pattern) for pattern in patterns)
    )
