"""A network before it is pruned, and what the proofs of all its plans have in common."""

from __future__ import annotations

__all__ = ["Original"]

from functools import cached_property

from torch import nn

from prunekit.graph import Inputs, References, TraceOptions, clone_model, unwrap
from prunekit.graph.compare import run, runs
from prunekit.surgery.generic import GenericTrials
from prunekit.surgery.sizes import larger_size, shape_of, smaller_size


class Original:
    """Keeps what a network computes with all its channels, so that a second proof takes less.

    The network must not change while proofs are made with this.
    """

    def __init__(
        self, model: nn.Module, inputs: Inputs, options: TraceOptions | None = None
    ) -> None:
        self.model = model
        self.dense = unwrap(model)
        self.inputs = inputs
        self.options = TraceOptions() if options is None else options
        self.references = References()
        self.trials = GenericTrials(self.dense)

    @cached_property
    def sizes(self) -> tuple[Inputs, ...]:
        """The example's, and a larger one if the network takes it."""
        larger = larger_size(self.inputs)
        return (self.inputs, larger) if runs(self.dense, larger) else (self.inputs,)

    @cached_property
    def generic_sizes(self) -> tuple[Inputs, ...]:
        """The example's, and one other that the network takes, small if it can be."""
        smaller = smaller_size(self.inputs)
        if shape_of(smaller) != shape_of(self.inputs) and runs(self.dense, smaller):
            return (self.inputs, smaller)
        others = [size for size in self.sizes if shape_of(size) != shape_of(self.inputs)]
        return (self.inputs, *others)

    @cached_property
    def trains(self) -> bool:
        """Whether it runs in training mode."""
        try:
            run(clone_model(self.dense).train(), self.inputs)
        except Exception:  # noqa: BLE001 - the model's own code can fail in any way
            return False
        return True
