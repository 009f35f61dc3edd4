"""What masks do while a network trains: stay, grow, or form by shrinking (hooks of training)."""

from __future__ import annotations

__all__ = ["GrowMasks", "KeepMasks", "MaskHook", "ShrinkWeights"]

import json
from collections.abc import Mapping
from dataclasses import asdict

import torch
from torch import Tensor, nn

from prunekit.errors import TrainError
from prunekit.sparse import MaskRule, Masks, Pattern, choose_masks, impose
from prunekit.train.hooks import State, TrainHook

_OPEN = Masks({})


class MaskHook(TrainHook):
    """Keeps masked weights zero: their gradients, and themselves after every step.

    So neither momentum nor weight decay nor the moving average revives them. What masks do over
    time follows from weights and step alone, so that all processes have the same.
    """

    name = "masks"

    def __init__(self, masks: Masks = _OPEN) -> None:
        self.masks = masks
        self._gone: dict[str, Tensor] = {}

    def at_start(self, model: nn.Module) -> None:
        """Set what is masked to zero."""
        self._take(model, self.masks)

    @torch.no_grad()
    def after_backward(self, model: nn.Module, step: int) -> None:  # noqa: ARG002
        """Take the gradients of masked weights out, before they are clipped and averaged."""
        parameters = dict(model.named_parameters())
        for name, gone in self._gone.items():
            gradient = parameters[name].grad
            if gradient is not None:
                gradient.masked_fill_(gone, 0)

    def after_step(self, model: nn.Module, step: int) -> None:  # noqa: ARG002
        """Masked weights are zero again."""
        self._impose(model)

    def at_look(self, model: nn.Module) -> None:
        """The average of the time before a mask was chosen is not zero."""
        self._impose(model)

    def at_stage_end(self, model: nn.Module) -> None:
        """Exact zeros, also in the moving average."""
        self._impose(model)

    def state(self) -> State:
        """Masks, and what they were made for."""
        patterns = {n: asdict(pattern) for n, pattern in self.masks.patterns.items()}
        told = json.dumps({"patterns": patterns, "dense": dict(self.masks.dense)})
        kept = {f"kept.{name}": mask for name, mask in self.masks.kept.items()}
        return {**self._settings(), "told": told, **kept}

    def load_state(self, state: State) -> None:
        """Go on with the masks of a checkpoint. Raises `TrainError` if it was made otherwise."""
        mine = self._settings()
        if any(state.get(name) != value for name, value in mine.items()):
            message = (
                "the checkpoint is of a training with other masks; go on with the same 'prune' "
                "sections, or remove its folder to begin anew"
            )
            raise TrainError(message)
        told = json.loads(str(state["told"]))
        self.masks = Masks(
            {n.removeprefix("kept."): m for n, m in state.items() if isinstance(m, Tensor)},
            {name: Pattern(**pattern) for name, pattern in told["patterns"].items()},
            told["dense"],
        )

    def _settings(self) -> dict[str, float | int | str | bool]:
        return {"kind": type(self).__name__, "zeros": self.masks.zeros}

    def _take(self, model: nn.Module, masks: Masks) -> None:
        """Other masks hold from now on."""
        self.masks = masks
        parameters = dict(model.named_parameters())
        impose(model, masks.kept)  # and check them
        self._gone = {name: ~kept.to(parameters[name].device) for name, kept in masks.kept.items()}

    @torch.no_grad()
    def _impose(self, model: nn.Module) -> None:
        parameters = dict(model.named_parameters())
        for name, gone in self._gone.items():
            parameters[name].masked_fill_(gone, 0)


class KeepMasks(MaskHook):
    """The masks are as they were from the first step to the last."""


class GrowMasks(MaskHook):
    """Sparsity grows by a cubic curve (Zhu and Gupta, "To prune, or not to prune", 2017)."""

    def __init__(
        self, rule: MaskRule, before: Masks | None, *, begin: int, until: int, every: int
    ) -> None:
        super().__init__(before or _OPEN)
        self._rule, self._before = rule, before
        self._begin, self._until, self._every = begin, until, every

    def after_step(self, model: nn.Module, step: int) -> None:
        """Choose new masks where it is time: the smallest weights of now go, for good."""
        self._impose(model)
        done = step + 1
        passed = done - self._begin
        final = done == self._until
        if not final and not (passed > 0 and done < self._until and passed % self._every == 0):
            return
        share = 1.0 if final else passed / (self._until - self._begin)
        now, origin = self.masks, self._before or _OPEN
        chosen = choose_masks(model, self._rule, before=now, progress=share, origin=origin)
        self._take(model, chosen)

    def _settings(self) -> dict[str, float | int | str | bool]:
        course = {"begin": self._begin, "until": self._until, "every": self._every}
        return {"kind": type(self).__name__, **course, **_plain(self._rule)}


class ShrinkWeights(MaskHook):
    """Iterative soft shrinkage (ISS-P, Wang et al., ICCV 2023).

    After every step the smallest weights, chosen anew each time, are multiplied by a factor below
    one, and may come back; from some step on they are zero and stay so.
    """

    def __init__(self, rule: MaskRule, before: Masks | None, *, factor: float, until: int) -> None:
        super().__init__(before or _OPEN)
        self._rule, self._before = rule, before
        self._factor, self._until = factor, until

    @torch.no_grad()
    def after_step(self, model: nn.Module, step: int) -> None:
        """Shrink, or mask."""
        self._impose(model)
        done = step + 1
        if done > self._until:
            return
        chosen = choose_masks(model, self._rule, before=self._before)
        if done == self._until:
            self._take(model, chosen)
            return
        parameters = dict(model.named_parameters())
        for name, kept in chosen.kept.items():
            weight = parameters[name]
            weight.copy_(torch.where(kept.to(weight.device), weight, weight * self._factor))

    def _settings(self) -> dict[str, float | int | str | bool]:
        course = {"factor": self._factor, "until": self._until}
        return {"kind": type(self).__name__, **course, **_plain(self._rule)}


def _plain(rule: MaskRule) -> Mapping[str, str]:
    """A rule as a checkpoint keeps it."""
    return {f"rule.{name}": repr(value) for name, value in asdict(rule).items()}
