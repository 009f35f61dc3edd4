"""Find the groups whose narrowing a network's own code does not survive."""

from __future__ import annotations

__all__ = ["find_culprits"]

import re
from collections.abc import Iterator, Mapping, Sequence

from prunekit.errors import SurgeryError, VerificationError
from prunekit.graph import ChannelGraph
from prunekit.plan import Plan, plan_units
from prunekit.progress import Progress
from prunekit.surgery.apply import apply
from prunekit.surgery.original import Original
from prunekit.surgery.verify import prove

_Bundle = tuple[str, ...]
"""Groups that only leave together."""


def find_culprits(
    original: Original, graph: ChannelGraph, plan: Plan, *, progress: Progress
) -> dict[str, str]:
    """Try the choices of a plan that fails one by one; names of groups that fail, and why.

    Groups of repeated blocks, such as `body.0 hidden` and `body.1 hidden`, are tried together: if
    the first and the last of them fail alone, all of them are taken to. Empty if every choice by
    itself holds.
    """
    trial = _Trial(original, graph, plan)
    kinds = _kinds(graph, plan)
    found: dict[str, str] = {}
    progress.start("find what breaks", len(kinds))
    for bundles in kinds:
        found |= trial.culprits(bundles)
        progress.advance()
    progress.finish(f"{len(found)} groups stay whole")
    return found


class _Trial:
    """Makes and proves parts of a plan."""

    def __init__(self, original: Original, graph: ChannelGraph, plan: Plan) -> None:
        self._original = original
        self._graph = graph
        self._kept = {group.name: group.kept for group in plan.groups}

    def culprits(self, bundles: Sequence[_Bundle]) -> dict[str, str]:
        """Those that fail among bundles of one kind: the first and the last tell of all."""
        if not bundles or self._failure(bundles) is None:
            return {}
        first, *others = bundles
        found: dict[str, str] = {}
        reason = self._failure([first])
        if reason is not None:
            found |= dict.fromkeys(first, reason)
            last = self._failure(bundles[-1:])
            if last is not None:
                told = f"taken for like '{first[0]}', which is {reason}"
                return found | {name: told for bundle in others for name in bundle}
            return found | self.culprits(others)
        half = (len(bundles) + 1) // 2
        if len(bundles) == 1:
            return {}
        return {**self.culprits(bundles[:half]), **self.culprits(bundles[half:])}

    def _failure(self, bundles: Sequence[_Bundle]) -> str | None:
        """What goes wrong when only these are narrowed."""
        kept = {name: self._kept[name] for bundle in bundles for name in bundle}
        part = plan_units(self._graph, kept)
        try:
            prove(self._original, apply(part, self._original.model), part)
        except (SurgeryError, VerificationError) as error:
            return f"narrower, {_clause(error)}"
        return None


def _clause(error: Exception) -> str:
    """What went wrong, without where and what to do."""
    return re.split(r", at input |; ", str(error), maxsplit=1)[0]


def _kinds(graph: ChannelGraph, plan: Plan) -> list[list[_Bundle]]:
    """Bundles that the plan narrows, those of repeated blocks together."""
    narrowed = {group.name for group in plan.groups if len(group.kept) < group.width}
    kinds: dict[str, list[_Bundle]] = {}
    for bundle in dict.fromkeys(_bundles(narrowed, graph.balances)):
        kinds.setdefault(re.sub(r"\d+", "#", " + ".join(bundle)), []).append(bundle)
    return list(kinds.values())


def _bundles(narrowed: set[str], balances: Sequence[_Bundle]) -> Iterator[_Bundle]:
    tied: Mapping[str, _Bundle] = {name: names for names in balances for name in names}
    for name in sorted(narrowed):
        yield tuple(n for n in tied.get(name, (name,)) if n in narrowed)
