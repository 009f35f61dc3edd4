"""Plant every seeded fault and tell which wirings notice, and by what; exit 1 if one survives.

python -m benchmarks.seeded_faults [--everywhere] [--out benchmarks/results/seeded_faults.json]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import torch
from rich.console import Console
from rich.table import Table

from prunekit.measure.environment import environment
from tests.laws.faults import FAULTS, Fault
from tests.laws.symptoms import symptom
from tests.nets import NETS, Net


@dataclass(frozen=True)
class Row:
    """What came of one fault."""

    fault: str
    wiring: str
    """The one on which it must show."""
    symptom: str | None
    """The first answer or law that fails there, or the error that it ends in; None: survived."""
    shows_on: int | None
    """Number of wirings on which something fails; None if only the named one was tried."""
    symptoms: dict[str, int]
    """How often each symptom is the first."""


def main() -> None:
    """Plant, look, tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--everywhere", action="store_true", help="try every wiring (minutes)")
    parser.add_argument("--out", type=Path, help="write the table as JSON as well")
    options = parser.parse_args()
    torch.set_num_threads(1)
    healthy = [kind for kind in NETS if symptom(kind) is None]
    rows = [look(fault, healthy if options.everywhere else []) for fault in FAULTS]
    sick = [kind.__name__ for kind in NETS if kind not in healthy]
    show(rows, len(healthy), sick)
    if options.out:
        content = {
            "convention": "a fault is caught if an answer or a law fails on the wiring named",
            "environment": environment(),
            "wirings": len(healthy),
            "left_out": sick,
            "rows": [asdict(row) for row in rows],
        }
        options.out.write_text(json.dumps(content, indent=1) + "\n")
    if any(row.symptom is None for row in rows):
        sys.exit(1)


def look(fault: Fault, others: Sequence[type[Net]]) -> Row:
    """Plant one fault, and take it out again."""
    (named,) = (kind for kind in NETS if kind.__name__ == fault.shows_on)
    with pytest.MonkeyPatch.context() as patch:
        fault.plant(patch)
        found = symptom(named)
        counts = Counter(name for kind in others if (name := symptom(kind)) is not None)
    return Row(
        fault=fault.name,
        wiring=fault.shows_on,
        symptom=found,
        shows_on=counts.total() if others else None,
        symptoms=dict(counts.most_common()),
    )


def show(rows: Sequence[Row], healthy: int, sick: Sequence[str]) -> None:
    """Print the table, survivors last, and what was not looked at."""
    everywhere = any(row.shows_on is not None for row in rows)
    table = Table("fault", "wiring", "caught by", *(["shows on"] if everywhere else []))
    for row in sorted(rows, key=lambda row: row.symptom is None):
        caught = row.symptom or "NOT CAUGHT"
        table.add_row(row.fault, row.wiring, caught, *([str(row.shows_on)] if everywhere else []))
    console = Console()
    console.print(table)
    survivors = sum(row.symptom is None for row in rows)
    console.print(f"{len(rows) - survivors} of {len(rows)} faults caught; {healthy} wirings")
    if sick:
        console.print(f"left out, since they fail without a fault: {', '.join(sick)}")


if __name__ == "__main__":
    main()
