"""Rebuild a network as its plan says: the same class, slimmer."""

from __future__ import annotations

__all__ = ["apply", "rebuild"]

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from prunekit.errors import SurgeryError
from prunekit.graph import copy_with, fingerprint, like, tensors_of, unwrap
from prunekit.graph.paths import read_path, write_path
from prunekit.plan import Plan, TensorPlan, inside
from prunekit.surgery.fields import untrue_fields
from prunekit.surgery.passthrough import Passthrough

Model = TypeVar("Model", bound=nn.Module)


def apply(plan: Plan, model: nn.Module) -> nn.Module:
    """Return a slim copy of the model; of a wrapper such as `nn.DataParallel`, the module inside.

    Hooks, devices, types, `requires_grad` and training mode are kept; gradients are not. The
    model is untouched, and each tensor is copied once.

    Raises:
        SurgeryError: the plan was made for another network, or removes a block that is not there;
            an attribute does not hold the size that the plan expects, or a layer of torch is left
            with a size that is not its weight's.
    """
    model = unwrap(model)
    if lazy := next((name for name, tensor in model.named_parameters() if is_lazy(tensor)), None):
        message = (
            f"the size of '{lazy}' in this {type(model).__name__} is not known yet; run it once on "
            "an image"
        )
        raise SurgeryError(message)
    if fingerprint(model) != plan.fingerprint:
        message = (
            f"the plan was made for another network than this {type(model).__name__}: class, or "
            "name, shape or type of some tensor differ; build it with the same arguments"
        )
        raise SurgeryError(message)
    if all(tensor.is_meta for tensor in tensors_of(model)):
        message = (
            f"this {type(model).__name__} is on the meta device, so its tensors hold no values; "
            "build it on a real one"
        )
        raise SurgeryError(message)
    modules = dict(model.named_modules())
    if missing := [name for name in plan.blocks if not name or name not in modules]:
        message = (
            f"the plan removes the block '{missing[0]}', which this {type(model).__name__} does "
            "not have; the plan is damaged, so make it anew for this network"
        )
        raise SurgeryError(message)
    with torch.inference_mode(mode=False):  # it is going to be trained
        slim = rebuild(plan, model)
    if untrue := next(untrue_fields(model, slim), None):
        message = (
            f"the plan leaves {untrue} as it is, which then does not fit the weight; make the plan "
            "anew for this network"
        )
        raise SurgeryError(message)
    return slim


def rebuild(plan: Plan, model: Model) -> Model:
    """Do what `apply` does without asking whether the plan was made for this model."""
    sliced = {t.name: t for t in plan.tensors}
    names = {id(t): name for name, t in (*model.named_buffers(), *model.named_parameters())}
    replacements: dict[int, Any] = {
        id(tensor): _slim(tensor, sliced.get(names.get(id(tensor), "")))
        for tensor in tensors_of(model)
        if not inside(names.get(id(tensor), ""), plan.blocks)
    }
    for name in plan.blocks:  # by identity, so that every reference to it is replaced
        block = model.get_submodule(name)
        replacements[id(block)] = Passthrough().train(block.training)
    slim = copy_with(model, replacements)
    _set_attributes(slim, plan)
    return slim


def _slim(tensor: Tensor, plan: TensorPlan | None) -> Tensor:
    value = _sliced(tensor.detach(), plan.kept if plan else {})
    value = value.clone() if value.data_ptr() == tensor.data_ptr() else value
    return like(tensor, value)


def _sliced(value: Tensor, kept: Mapping[int, Sequence[int]]) -> Tensor:
    """Take indices of several axes, of neighbouring ones at once: no tensor is made in between."""
    indices = {axis: torch.tensor(kept[axis], device=value.device) for axis in sorted(kept)}
    first = min(indices, default=0)
    if len(indices) > 1 and list(indices) == list(range(first, first + len(indices))):
        grid = torch.meshgrid(*indices.values(), indexing="ij")
        return torch.ops.aten.index.Tensor(value, [*[None] * first, *grid])  # type: ignore[no-any-return]
    for axis, index in indices.items():
        value = value.index_select(axis, index)
    return value


def _set_attributes(slim: nn.Module, plan: Plan) -> None:
    for change in plan.attributes:
        where = f"{change.module}.{change.attribute}"
        try:
            module = slim.get_submodule(change.module)
            found = read_path(module, change.attribute)
            if found == change.after:  # worked out from the weight, or held in two places
                continue
            if found == change.before:
                write_path(module, change.attribute, change.after)
                _refresh(module)
        except Exception as error:  # a class of the user's own can refuse in any way
            message = f"{where} cannot be set to {change.after}: {error}; protect its groups"
            raise SurgeryError(message) from error
        if found != change.before:
            message = (
                f"{where} is {found!r} where the plan expects {change.before}; "
                "make the plan anew for this network"
            )
            raise SurgeryError(message)


def _refresh(module: nn.Module) -> None:
    """Bring a second place in line: layers of einops keep the lengths of axes twice."""
    lengths = vars(module).get("axes_lengths")
    if type(module).__module__.startswith("einops.") and isinstance(lengths, dict):
        vars(module)["_axes_lengths"] = tuple(lengths.items())
