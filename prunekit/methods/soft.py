"""Soft filter pruning: units are set to zero while the network trains, and may come back."""

from __future__ import annotations

__all__ = ["SoftFilters", "masks_of"]

from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from prunekit.errors import TrainError
from prunekit.methods.masking import MaskHook
from prunekit.plan import Plan
from prunekit.sparse import Masks
from prunekit.sparse.choose import cubic
from prunekit.surgery.weightnorm import directions_of
from prunekit.train.hooks import State

_WEIGHT = 2
"""Axes that a weight has at least; biases and the parameters of norms have one."""


class SoftFilters(MaskHook):
    """Zeroes the weights that make the units that would leave (SFP, He et al., IJCAI 2018).

    They are chosen anew each time and go on learning in between, so that they may come back; how
    many there are grows by a cubic curve. From some step on all of their weights stay zero, and
    `plan` says which units those are.
    """

    name = "filters"

    def __init__(
        self,
        plan_for: Callable[[nn.Module, float], Plan],
        makers: Collection[tuple[str, int]],
        *,
        begin: int,
        until: int,
        every: int,
        told: str = "",
    ) -> None:
        """Take who plans and when.

        Args:
            plan_for: which units leave a network, of the traced architecture and with the weights
                that it has now, when a share of the target is met.
            makers: tensors and axes that make channels, as in `ChannelGraph.output_axes`.
            begin: steps after which it begins.
            until: steps after which the choice is final.
            every: steps between two choices.
            told: what the choice goes by; a checkpoint of another is refused.
        """
        super().__init__()
        self.plan: Plan | None = None
        """Given once the choice is final."""
        self._plan_for, self._makers = plan_for, frozenset(makers)
        self._begin, self._until, self._every = begin, until, every
        self._told = told

    def after_step(self, model: nn.Module, step: int) -> None:
        """Choose where it is time; what was chosen last stays zero once it is final."""
        self._impose(model)
        done = step + 1
        passed = done - self._begin
        if done == self._until:
            self.plan = self._plan_for(model, 1.0)
            self._take(model, Masks(masks_of(self.plan, model)))
        elif passed > 0 and done < self._until and passed % self._every == 0:
            share = cubic(passed / (self._until - self._begin), 0.0, 1.0)
            _silence(model, self._plan_for(model, share), self._makers)

    def state(self) -> State:
        """Masks and plan."""
        return {**super().state(), "plan": "" if self.plan is None else self.plan.to_json()}

    def load_state(self, state: State) -> None:
        """Go on with the plan of a checkpoint. Raises `TrainError` if it was made otherwise."""
        if "plan" not in state:
            message = (
                "the checkpoint is of a training without 'soft'; go on with the same 'prune' "
                "sections, or remove its folder to begin anew"
            )
            raise TrainError(message)
        super().load_state(state)
        self.plan = Plan.from_json(str(state["plan"])) if state["plan"] else None

    def _settings(self) -> dict[str, float | int | str | bool]:
        course = {"begin": self._begin, "until": self._until, "every": self._every}
        return {"kind": type(self).__name__, **course, "by": self._told}


@torch.no_grad()
def _silence(model: nn.Module, plan: Plan, makers: Collection[tuple[str, int]]) -> None:
    """Zero the weights that make what a plan removes; biases, norms and readers stay."""
    parameters = dict(model.named_parameters())
    directions = directions_of(model)
    for tensor in plan.tensors:
        weight = parameters.get(tensor.name)
        if weight is None or weight.ndim < _WEIGHT:
            continue
        for axis, kept in tensor.kept.items():
            if (tensor.name, axis) in makers and axis != directions.get(tensor.name):
                weight.index_fill_(axis, _gone(tensor.shape[axis], kept).to(weight.device), 0)


def masks_of(plan: Plan, model: nn.Module) -> Mapping[str, Tensor]:
    """Which numbers of every parameter a plan leaves.

    A direction of weight norm stays, as it has no length to divide by if it is zero; its gain
    leaves.
    """
    names = {name for name, _ in model.named_parameters()}
    directions = directions_of(model)
    masks = {}
    for tensor in plan.tensors:
        kept = torch.ones(tensor.shape, dtype=torch.bool)
        for axis, indices in tensor.kept.items():
            if axis != directions.get(tensor.name):
                kept.index_fill_(axis, _gone(tensor.shape[axis], indices), value=False)
        if tensor.name in names and not kept.all():
            masks[tensor.name] = kept
    return masks


def _gone(size: int, kept: Collection[int]) -> Tensor:
    stays = set(kept)
    return torch.tensor([i for i in range(size) if i not in stays], dtype=torch.int64)
