"""Criteria that users bring: functions of slices, and importances of torch-pruning."""

from __future__ import annotations

__all__ = ["as_criterion"]

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from prunekit.errors import PlanError, did_you_mean
from prunekit.score.criteria import CRITERIA, Criterion
from prunekit.score.slices import Indices, Slice, read_channels

_IMAGE_CLASSES = ("GroupTaylorImportance", "GroupHessianImportance", "ActivationImportance")
_UNFIT_CLASSES = ("OBDCImportance",)

_BY_ROLE = {
    ("convolution", "makes"): "prune_conv_out_channels",
    ("convolution", "reads"): "prune_conv_in_channels",
    ("linear", "makes"): "prune_linear_out_channels",
    ("linear", "reads"): "prune_linear_in_channels",
}
"""Their functions for the weights of layers."""

_BY_LAYER = (
    (nn.LayerNorm, "prune_layernorm_out_channels"),
    (nn.GroupNorm, "prune_groupnorm_out_channels"),
    (nn.modules.instancenorm._InstanceNorm, "prune_instancenorm_out_channels"),  # noqa: SLF001 (the base of all)
    (nn.modules.batchnorm._BatchNorm, "prune_batchnorm_out_channels"),  # noqa: SLF001 (likewise)
    (nn.PReLU, "prune_prelu_out_channels"),
)
"""Their functions for what hands its channels on; to torch an instance norm is a batch norm."""


def as_criterion(given: object) -> Criterion:
    """Turn a name, a function of slices or an importance of torch-pruning into a criterion.

    A function takes the slices of a group and a generator of random numbers and returns a list of
    scores `(units,)`, one for every slice that counts. An importance, of a class of torch-pruning
    or of yours that extends one, is called with each group as torch-pruning's groups are.

    Raises `PlanError` for anything else.
    """
    if isinstance(given, Criterion):
        return given
    if isinstance(given, str):
        if given in CRITERIA:
            return CRITERIA[given]
        message = f"there is no criterion '{given}'{did_you_mean(given, CRITERIA)}"
        raise PlanError(message)
    if isinstance(given, type) and _is_importance(given):
        given = given()
    if _is_importance(type(given)):
        return _importance(given)
    if callable(given) and not isinstance(given, type):
        name = getattr(given, "__name__", type(given).__name__)
        return Criterion(name, given, "sum", takes=frozenset({"gradients", "signals"}))
    message = (
        f"criterion {given!r} is a {type(given).__name__}; give a name, such as 'l2', a function "
        "of slices or an importance of torch-pruning"
    )
    raise PlanError(message)


def _is_importance(kind: type) -> bool:
    """Whether a class is torch-pruning's or extends one, without importing that."""
    return any(
        base.__name__ == "Importance" and base.__module__.startswith("torch_pruning")
        for base in kind.__mro__
    )


def _importance(importance: Any) -> Criterion:
    names = [base.__name__ for base in type(importance).__mro__]
    name = type(importance).__name__
    if not set(_UNFIT_CLASSES).isdisjoint(names):
        message = (
            f"criterion '{name}' needs a pruner of torch-pruning beside its groups; take another, "
            "such as GroupHessianImportance, or 'obd'"
        )
        raise PlanError(message)
    looks = not set(_IMAGE_CLASSES).isdisjoint(names)
    return Criterion(
        name,
        _Asked(importance),
        "sum",
        "none",
        needs=frozenset({"gradients"} if looks else ()),
        takes=frozenset({"gradients"}),
        observer=_Observer(importance),
        lacking=f"no layer for {name}",
    )


class _Observer:
    """Lets an importance see what it wants to: gradients of batches, or the forward pass."""

    def __init__(self, importance: Any) -> None:
        self._importance = importance
        if hasattr(importance, "accumulate_grad") and hasattr(importance, "zero_grad"):
            importance.zero_grad()

    def watching(self, model: nn.Module) -> AbstractContextManager[object]:
        """Within it the model runs."""
        if hasattr(self._importance, "compute_importance"):
            watching: AbstractContextManager[object] = self._importance.compute_importance(model)
            return watching
        return nullcontext()

    def after_backward(self, model: nn.Module) -> None:
        """The parameters have the gradients of a batch."""
        if hasattr(self._importance, "accumulate_grad"):
            self._importance.accumulate_grad(model)


class _Asked:
    """A rule that asks an importance about a group of torch-pruning's kind."""

    def __init__(self, importance: Callable[[Any], Any]) -> None:
        self._importance = importance

    def __call__(self, slices: Sequence[Slice], generator: np.random.Generator) -> list[Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(generator.integers(2**63)))
            found = self._importance(_group(slices))
        if found is None or (isinstance(found, list) and not found):
            return []
        return [found.detach().double() if isinstance(found, Tensor) else found]


def _group(slices: Sequence[Slice]) -> Any:
    """The group as torch-pruning writes it: which layer is pruned how, at which indices.

    A unit of several filters comes as that many items, since one of theirs has an index a unit.
    """
    from torch_pruning import _helpers  # noqa: PLC0415 (slow, and rarely needed)
    from torch_pruning.dependency import Group  # noqa: PLC0415
    from torch_pruning.dependency.dependency import Dependency  # noqa: PLC0415
    from torch_pruning.dependency.node import Node  # noqa: PLC0415

    group = Group()
    root = None
    for target, pruning, indices in _items(slices):
        node = Node(target, None, "")
        root = root or (pruning, node)
        dependency = Dependency(root[0], pruning, root[1], node)
        for column in indices.T:
            units = np.argsort(column)  # some importances sort the indices
            item = _helpers.GroupItem(dependency, column[units].tolist())
            item.root_idxs = units.tolist()
            group._group.append(item)  # noqa: SLF001 (theirs adds nothing but what it traced)
    return group


def _items(slices: Sequence[Slice]) -> Iterator[tuple[Any, Any, Indices]]:
    """What is pruned, by which function, and `(units, indices)`; biases go with their layers."""
    seen = set()
    for slice_ in slices:
        pruning = _pruning(slice_)
        if pruning is None:
            continue
        indices = slice_.indices
        if slice_.kind == "convolution" and slice_.role == "reads":
            indices = read_channels(slice_.layer, indices)
        target: Any = slice_.layer
        if slice_.kind == "other" and not isinstance(target, nn.PReLU):
            target = target.get_parameter(slice_.tensor.removeprefix(f"{slice_.module}."))
        if (id(target), pruning) not in seen:
            seen.add((id(target), pruning))
            yield target, pruning, indices


def _pruning(slice_: Slice) -> Any:
    """Their function for an axis; None for what they take for a part of something else."""
    from torch_pruning.pruner import function  # noqa: PLC0415

    if slice_.role in ("bias", "shift", "gain"):
        return None
    layer: Any = slice_.layer
    for kinds, name in _BY_LAYER:
        if isinstance(layer, kinds) and slice_.role in ("scale", "other"):
            return getattr(function, name)
    name = _BY_ROLE.get((slice_.kind, slice_.role), "prune_parameter_out_channels")
    if name == "prune_conv_out_channels" and layer.groups == layer.out_channels != 1:
        name = "prune_depthwise_conv_out_channels"
    return getattr(function, name)
