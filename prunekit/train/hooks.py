"""Where a method takes part in training without owning a loop."""

from __future__ import annotations

__all__ = ["State", "TrainHook"]

from collections.abc import Mapping

from torch import Tensor, nn

State = Mapping[str, Tensor | float | int | str | bool]
"""What a checkpoint keeps of something."""


class TrainHook:
    """Does nothing; a method overrides the moments that it needs.

    A step goes: forward, `before_backward`, backward, `after_backward`, step of the optimizer,
    `after_step`. Under several processes every one calls the same hooks in the same order, and
    what they do has to follow from weights and step alone.
    """

    name = "hook"
    """Under which a checkpoint keeps its state; unique in a training."""

    def at_start(self, model: nn.Module) -> None:
        """Training begins, or goes on after `load_state`."""

    def before_backward(self, model: nn.Module, step: int) -> Tensor | None:  # noqa: ARG002
        """A term that is added to the loss of this step, such as a regulariser."""
        return None

    def after_backward(self, model: nn.Module, step: int) -> None:
        """Gradients are there, averaged over processes, and not clipped yet."""

    def after_step(self, model: nn.Module, step: int) -> None:
        """Weights are new: the moment for masks."""

    def at_look(self, model: nn.Module) -> None:
        """The moving average is in place for a look at held-out images, and goes again after it."""

    def at_stage_end(self, model: nn.Module) -> None:
        """Training is over, and the moving average, if there is one, is in place."""

    def state(self) -> State:
        """What a checkpoint has to keep of it."""
        return {}

    def load_state(self, state: State) -> None:
        """Go on from what a checkpoint kept."""
