"""A traced network as one JSON document, every item of its lists on a line of its own.

| key | what |
|---|---|
| `format` | `prunekit-inspect/1`; the number grows when a key changes its meaning or goes |
| `model` | the name that was asked for |
| `params`, `macs` | of the network; macs at the traced size |
| `operators` | how many were recorded |
| `input_shapes`, `output_shapes`, `scale` | as traced; `scale` is null where they tell none |
| `stuck_params_share` | share of the parameters in no slice of any group |
| `groups` | `name`, `kind`, `width`, `exact`, `axes` (how many), `params_share`, `macs_share`, `members`: tensor, axis, and how many indices leave with a unit (`per_unit`) |
| `frozen_costs` | dearest first: `reason`, `cause`, `operator`, `modules`, `axes` (how many), `params_share`, `outputs_share` |
| `frozen` | every axis or part of one that stays: `tensor`, `axis`, `count`, `reason`, `cause`, `operator`, `module` |
| `balances` | lists of groups whose widths must keep their proportion |
| `notes` | what a reader of the groups should know |
| `blocks` | only with `--blocks`: those that can be removed, `name`, `params`, `macs`, `groups` |
| `refused_blocks` | likewise: reasons by name |
| `steps` | operators in order: `operator`, `module`, `sources` (numbers of steps), `state` (tensors), `inputs` (numbers), `shape`, `macs`, `moves_only`, `axes`: `axis`, `groups` (channels by name), `frozen` (how many indices), `reasons` |

Shares are from 0 to 1 of the whole network; those of groups overlap, and so do those of reasons.
"""  # noqa: E501 (a table has long lines)

from __future__ import annotations

__all__ = ["FORMAT", "to_network_json"]

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from prunekit.depth import Blocks
from prunekit.graph import ChannelGraph, ChannelGroup, FrozenAxis
from prunekit.graph.flow import Step
from prunekit.graph.shares import (
    FrozenCost,
    GroupShare,
    frozen_costs,
    group_shares,
    stuck_share,
)

FORMAT = "prunekit-inspect/1"


def to_network_json(name: str, graph: ChannelGraph, blocks: Blocks | None = None) -> str:
    """Write everything that is known of a network; the module's docstring tells the keys."""
    shares = group_shares(graph)
    document: dict[str, Any] = {
        "format": FORMAT,
        "model": name,
        "params": graph.params(),
        "macs": graph.macs(),
        "operators": graph.operators,
        "input_shapes": graph.input_shapes,
        "output_shapes": graph.output_shapes,
        "scale": graph.scale,
        "stuck_params_share": stuck_share(graph),
        "groups": [_group(group, shares[group.name]) for group in graph.groups],
        "frozen_costs": [_cost(cost) for cost in frozen_costs(graph)],
        "frozen": [_frozen(frozen) for frozen in graph.frozen],
        "balances": [list(names) for names in graph.balances],
        "notes": list(graph.notes),
        "steps": [_step(step) for step in graph.steps],
    }
    if blocks is not None:
        document["blocks"] = [asdict(block) for block in blocks.found]
        document["refused_blocks"] = dict(blocks.refused)
    body = ",\n".join(f"  {json.dumps(key)}: {_value(value)}" for key, value in document.items())
    return f"{{\n{body}\n}}"


def _value(value: object) -> str:
    """Write a list of objects with a line for each."""
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(f"    {json.dumps(item)}" for item in value) + "\n  ]"


def _group(group: ChannelGroup, share: GroupShare) -> dict[str, object]:
    return {
        "name": group.name,
        "kind": group.kind,
        "width": group.width,
        "exact": group.exact,
        "axes": group.axes,
        "params_share": share.params,
        "macs_share": share.macs,
        "members": [
            {"tensor": m.tensor, "axis": m.axis, "per_unit": m.indices.shape[1]}
            for m in group.members
        ],
    }


def _cost(cost: FrozenCost) -> dict[str, object]:
    return {
        "reason": cost.text,
        "operator": cost.operator,
        "cause": cost.cause,
        "modules": cost.modules,
        "axes": len(cost.axes),
        "params_share": cost.params_share,
        "outputs_share": cost.outputs_share,
    }


def _frozen(frozen: FrozenAxis) -> dict[str, object]:
    return {
        "tensor": frozen.tensor,
        "axis": frozen.axis,
        "count": frozen.count,
        "reason": frozen.reason.text,
        "cause": frozen.reason.cause,
        "operator": frozen.reason.operator,
        "module": frozen.reason.module,
    }


def _step(step: Step) -> dict[str, object]:
    return {
        "operator": step.operator,
        "module": step.module,
        "sources": step.sources,
        "state": step.state,
        "inputs": step.inputs,
        "shape": step.shape,
        "macs": step.macs,
        "moves_only": step.moves_only,
        "axes": [
            {
                "axis": axis.axis,
                "groups": {band.group: band.channels for band in axis.bands},
                "frozen": axis.frozen,
                "reasons": _texts([reason.text for reason in axis.reasons]),
            }
            for axis in step.axes
        ],
    }


def _texts(texts: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(texts))
