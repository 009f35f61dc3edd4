"""Dense networks whose removed channels and blocks are switched off."""

from __future__ import annotations

__all__ = ["SwitchedOff"]

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from prunekit.errors import VerificationError, brief
from prunekit.graph import Inputs, References, TraceOptions, run_without
from prunekit.graph.compare import Edit, edited_copy, run
from prunekit.graph.integers import Attribute
from prunekit.plan import Plan, inside
from prunekit.surgery.weightnorm import directions_of


@dataclass(frozen=True)
class SwitchedOff:
    """How the removed channels are switched off."""

    plan: Plan
    edits: tuple[Edit, ...]
    """To be tried in turn, until the network computes finite numbers."""
    options: TraceOptions
    references: References | None
    """Recordings to follow; every run is recorded anew if None."""
    scaled: bool = False
    """Roots of sizes that the code keeps are those of what is left of them."""

    @classmethod
    def of(
        cls, plan: Plan, dense: nn.Module, options: TraceOptions, references: References
    ) -> SwitchedOff:
        """Everything that the plan removes is zero, else what it removes of matrices alone."""
        edits = (_switch_off(plan, dense), _switch_matrices_off(plan, dense))
        return cls(plan, edits, options, references)

    def run(self, dense: nn.Module, inputs: Inputs, dtype: torch.dtype | None) -> list[Tensor]:
        """What the dense network computes without them."""
        results: list[Tensor] = []
        for edit in self.edits:
            results = self._run(dense, inputs, dtype, edit)
            if all(tensor.isfinite().all() for tensor in results):
                break
        return results

    def _run(
        self, dense: nn.Module, inputs: Inputs, dtype: torch.dtype | None, edit: Edit
    ) -> list[Tensor]:
        try:
            if self.plan.exact:
                return run(edited_copy(dense, edit, dtype), inputs, dtype)
            removed = {
                tensor.name: {
                    axis: sorted(set(range(tensor.shape[axis])) - set(kept))
                    for axis, kept in tensor.kept.items()
                }
                for tensor in self.plan.tensors
            }
            scales = {
                Attribute(change.module, change.attribute): (change.before, change.after)
                for change in self.plan.attributes
            }
            return run_without(
                dense,
                inputs,
                removed,
                edit=edit,
                dtype=dtype,
                options=self.options,
                scales=scales if self.scaled else None,
                references=self.references,
            )
        except VerificationError:
            raise
        except Exception as error:  # the model's own code can fail in any way
            message = (
                "the dense network does not run with the removed channels switched off "
                f"({brief(error)}), so nothing can be proven"
            )
            raise VerificationError(message) from error


def _switch_off(plan: Plan, dense: nn.Module) -> Edit:
    """An edit that zeroes everything that the plan removes, of blocks the parameters.

    A direction of weight norm has no length to divide by if it is zero; its gain is zero already.
    """
    plans = {tensor.name: tensor for tensor in plan.tensors}
    directions: Mapping[str, int] = directions_of(dense)
    parameters = {name for name, _ in dense.named_parameters()}

    def zero(name: str, tensor: Tensor) -> Tensor:
        if inside(name, plan.blocks):
            whole = name in parameters and name not in directions
            return torch.zeros_like(tensor) if whole else tensor
        if name not in plans:
            return tensor
        tensor = tensor.clone()
        for axis, kept in plans[name].kept.items():
            if axis != directions.get(name):
                gone = torch.ones(tensor.shape[axis], dtype=torch.bool, device=tensor.device)
                gone[torch.tensor(kept, device=tensor.device)] = False
                tensor.index_fill_(axis, gone.nonzero().squeeze(1), 0)
        return tensor

    return zero


def _switch_matrices_off(plan: Plan, dense: nn.Module) -> Edit:
    """An edit that zeroes what the plan removes of matrices and kernels alone.

    A removed channel that no layer reads is off, whatever its scale: where the code divides by
    one (a step of quantisation, the knots of a spline), it must not be zero.
    """
    zero = _switch_off(plan, dense)
    parameters = {name for name, _ in dense.named_parameters()}

    def spare(name: str, tensor: Tensor) -> Tensor:
        if inside(name, plan.blocks):
            return zero(name, tensor)
        is_vector = tensor.numel() == max(tensor.shape, default=1)
        return zero(name, tensor) if name in parameters and not is_vector else tensor

    return spare
