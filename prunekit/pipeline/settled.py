"""Plans that a later process would not find again, since something was measured for them."""

from __future__ import annotations

__all__ = ["Settled"]

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from prunekit.files import write_atomic
from prunekit.plan import Plan
from prunekit.recipe import PruneSection
from prunekit.score import Calibration, Criterion
from prunekit.train.state import bytes_of, content_of


@dataclass(frozen=True)
class Settled:
    """A plan in a file, and for what it was made."""

    path: Path
    purpose: str
    """Digest of all that the plan depends on, but for what was measured."""

    @staticmethod
    def of(
        path: Path,
        model: nn.Module,
        section: PruneSection,
        *,
        seed: int,
        criterion: Criterion | None,
        calibration: Calibration | None,
    ) -> Settled:
        """Where the plan of a section for a network is kept, or will be."""
        name = section.criterion if criterion is None else criterion.name
        digest = hashlib.sha256(json.dumps([section.model_dump_json(), seed, name]).encode())
        for part in content_of(model):
            digest.update(part.data)
        for batch in calibration.batches if calibration else ():
            for value in tree_leaves((batch.inputs, batch.hr)):
                content = (
                    bytes_of(value).data if isinstance(value, Tensor) else repr(value).encode()
                )
                digest.update(content)
        return Settled(path, digest.hexdigest())

    def read(self) -> Plan | None:
        """The plan, if one was made for this."""
        if not self.path.is_file():
            return None
        content = json.loads(self.path.read_text(encoding="utf-8"))
        if content.get("purpose") != self.purpose:
            return None
        return Plan.from_json(json.dumps(content["plan"]))

    def write(self, plan: Plan) -> None:
        """Keep a plan, in place of any other."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = {"purpose": self.purpose, "plan": json.loads(plan.to_json())}
        write_atomic(self.path, json.dumps(content))
