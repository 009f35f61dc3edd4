"""What to say of a slim network that is not the dense one without its channels."""

from __future__ import annotations

__all__ = ["blame", "does_not_run"]

from collections.abc import Sequence

from prunekit.graph import Inputs
from prunekit.graph.compare import Difference
from prunekit.plan import Plan
from prunekit.surgery.sizes import shape_of

_TOLD = 5
"""How many groups or blocks are named."""


def does_not_run(error: Exception) -> str:
    """The beginning of a sentence."""
    return f"the slim network does not run ({type(error).__name__}: {error})"


def blame(plan: Plan, difference: Difference, inputs: Inputs, how: str) -> str:
    """Where they differ, by how much, and what to do; `how` says with which weights."""
    shrunk = [group.name for group in plan.groups if len(group.kept) < group.width]
    if plan.blocks:
        after = f"without the blocks {_named(plan.blocks)}"
        advice = (
            "such a block may do more than add to its input, or its output may be written to in "
            "place: protect blocks to find the one at fault"
        )
    else:
        after = f"after pruning {_named(shrunk)}"
        advice = (
            "its code may compute with a width, as in `c ** -0.5`, or reshape to sizes written in "
            "it: protect groups to find the one at fault"
        )
    return (
        f"the slim network {how} differs from the dense one by {difference.max_error:.3g} where "
        f"rounding allows {difference.limit:.3g}, at input {shape_of(inputs)}, {after}; {advice}"
    )


def _named(names: Sequence[str]) -> str:
    first = ", ".join(f"'{name}'" for name in names[:_TOLD])
    more = len(names) - _TOLD
    return f"{first} and {more} more" if more > 0 else first
