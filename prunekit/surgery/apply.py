"""Rebuild a network as its plan says: the same class, slimmer."""

from __future__ import annotations

__all__ = ["apply", "rebuild"]

from typing import TypeVar

import torch
from torch import Tensor, nn

from prunekit.errors import SurgeryError
from prunekit.graph import copy_with, fingerprint, like, tensors_of, unwrap
from prunekit.plan import Plan, TensorPlan

Model = TypeVar("Model", bound=nn.Module)


def apply(plan: Plan, model: nn.Module) -> nn.Module:
    """Return a slim copy of the model; of a wrapper such as `nn.DataParallel`, the module inside.

    Hooks, devices, types, `requires_grad` and training mode are kept; gradients are not. The
    model is untouched, and each tensor is copied once.

    Raises:
        SurgeryError: the plan was made for another network, or an attribute does not hold the
            size that the plan expects.
    """
    model = unwrap(model)
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
    return rebuild(plan, model)


def rebuild(plan: Plan, model: Model) -> Model:
    """Do what `apply` does without asking whether the plan was made for this model."""
    sliced = {t.name: t for t in plan.tensors}
    names = {id(t): name for name, t in (*model.named_buffers(), *model.named_parameters())}
    replacements = {
        id(tensor): _slim(tensor, sliced.get(names.get(id(tensor), "")))
        for tensor in tensors_of(model)
    }
    slim = copy_with(model, replacements)
    _set_attributes(slim, plan)
    return slim


def _slim(tensor: Tensor, plan: TensorPlan | None) -> Tensor:
    value = tensor.detach()
    for axis, kept in plan.kept.items() if plan else ():
        value = value.index_select(axis, torch.tensor(kept, device=value.device))
    value = value.clone() if value.data_ptr() == tensor.data_ptr() else value
    return like(tensor, value)


def _set_attributes(slim: nn.Module, plan: Plan) -> None:
    for change in plan.attributes:
        where = f"{change.module}.{change.attribute}"
        try:
            module = slim.get_submodule(change.module)
            found = getattr(module, change.attribute, None)
            if found == change.after:  # worked out from the weight
                continue
            if found == change.before:
                setattr(module, change.attribute, change.after)
        except Exception as error:  # a class of the user's own can refuse in any way
            message = f"{where} cannot be set to {change.after}: {error}; protect its groups"
            raise SurgeryError(message) from error
        if found != change.before:
            message = (
                f"{where} is {found!r} where the plan expects {change.before}; "
                "make the plan anew for this network"
            )
            raise SurgeryError(message)
