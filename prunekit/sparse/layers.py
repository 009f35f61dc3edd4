"""The weights that may become zero: those of convolutions and linear layers."""

from __future__ import annotations

__all__ = ["Weight", "find_weights", "in_scope"]

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from prunekit.errors import PlanError, did_you_mean

_ATTENTION = ("in_proj_weight", "q_proj_weight", "k_proj_weight", "v_proj_weight")
"""Linear weights that `nn.MultiheadAttention` keeps beside its layers."""

_COMPUTED = "computed from other tensors, as by weight norm"


@dataclass(frozen=True)
class Weight:
    """One weight of a convolution or a linear layer."""

    name: str
    """Of the parameter; of shared ones the first."""
    layer: str
    """Path of the module; empty for the network itself."""
    shape: tuple[int, ...]
    input_axis: int
    """Along which a product with the input sums."""
    input_width: int
    """Inputs of one group of a grouped convolution, of all otherwise."""

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        total = 1
        for size in self.shape:
            total *= size
        return total


def find_weights(model: nn.Module) -> tuple[tuple[Weight, ...], dict[str, str]]:
    """Every weight of a convolution or linear layer, and those that cannot be masked, with why.

    Bare parameters, such as position tables and kernels that code multiplies by itself, are none.
    """
    names: dict[int, str] = {}
    for name, parameter in model.named_parameters():
        names.setdefault(id(parameter), name)
    found: dict[str, Weight] = {}
    left: dict[str, str] = {}
    for path, module in model.named_modules():
        for attribute, value in _weights_of(module):
            if id(value) not in names:
                left[f"{path}.{attribute}".lstrip(".")] = _COMPUTED
                continue
            name = names[id(value)]
            if name not in found:
                axis, width = _input(module, value)
                found[name] = Weight(name, path, tuple(value.shape), axis, width)
    return tuple(found.values()), left


def in_scope(
    weights: Sequence[Weight], layers: Sequence[str], protect: Sequence[str]
) -> tuple[tuple[Weight, ...], dict[str, str]]:
    """The weights whose layer or name some glob matches and no protecting one; the others, why.

    Raises `PlanError` for a glob that matches nothing, or if nothing is left.
    """
    wanted, kept = (_matching(weights, key, globs) for key, globs in _keyed(layers, protect))
    chosen = tuple(w for w in weights if w.name in wanted and w.name not in kept)
    if not chosen:
        what = "every layer is protected" if weights else "it has no convolution or linear layer"
        message = f"no weight can be set to zero: {what}; change prune.layers or prune.protect"
        raise PlanError(message)
    why = {w.name: "protected" if w.name in kept else "not in scope" for w in weights}
    return chosen, {name: why[name] for name in why if name not in {w.name for w in chosen}}


def _keyed(layers: Sequence[str], protect: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    yield "prune.layers", layers
    yield "prune.protect", protect


def _matching(weights: Sequence[Weight], key: str, globs: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for glob in globs:
        matched = {
            w.name for w in weights if fnmatchcase(w.layer, glob) or fnmatchcase(w.name, glob)
        }
        if weights and not matched:
            hint = did_you_mean(glob, [w.layer for w in weights])
            message = f"{key}: '{glob}' matches no convolution and no linear layer{hint}"
            raise PlanError(message)
        found |= matched
    return found


def _weights_of(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    match module:
        case nn.MultiheadAttention():
            names: tuple[str, ...] = _ATTENTION
        case _ConvNd() | nn.Linear():
            names = ("weight",)
        case _:
            names = ()
    for name in names:
        value = getattr(module, name, None)
        if isinstance(value, Tensor):
            yield name, value


def _input(module: nn.Module, weight: Tensor) -> tuple[int, int]:
    """Axis of the inputs, and how many there are of one group."""
    if isinstance(module, _ConvTransposeNd):
        return 0, weight.shape[0] // module.groups
    return 1, weight.shape[1]
