"""Measure each network in a process of its own: limits, progress, and results that survive."""

from __future__ import annotations

__all__ = [
    "ENGINE",
    "Job",
    "Limits",
    "Row",
    "append_options",
    "failure",
    "measure_all",
    "peak_mb",
    "read_rows",
    "report_to",
]

import argparse
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from prunekit.errors import PrunekitError
from prunekit.files import write_atomic

Row = dict[str, Any]
_ROOT = Path(__file__).resolve().parent.parent
ENGINE = (
    "prunekit/graph",
    "prunekit/surgery",
    "benchmarks/architectures",
    "benchmarks/children.py",
)
"""What traces, proves and rebuilds, and what it is tried on."""


@dataclass(frozen=True)
class Job:
    """How one row comes about."""

    arguments: Sequence[str]
    """Of the child, after `python -m module`."""
    sources: tuple[str, ...]
    """Files and folders, from the root of the project; a row of other content is stale."""

    @property
    def code(self) -> str:
        """Digest of the sources."""
        return _digest(self.sources)


@dataclass(frozen=True)
class Limits:
    """What a child may use."""

    seconds: float
    memory_gb: float
    """Of address space, which is a little more than what it holds in memory."""
    jobs: int = 1
    """How many children run at once; more than one disturbs the seconds."""


def append_options(parser: argparse.ArgumentParser, *, timeout: float) -> None:
    """Add the options that every benchmark over the registry has."""
    parser.add_argument("names", nargs="*", help="globs on names; all networks if there are none")
    parser.add_argument("--jobs", type=int, default=1, help="networks measured at once")
    parser.add_argument("--timeout", type=float, default=timeout, help="seconds for a network")
    parser.add_argument("--memory", type=float, default=14.0, help="GB that a network may use")
    parser.add_argument("--json", type=Path, help="file to keep the results in, and to resume from")
    parser.add_argument("--fresh", action="store_true", help="measure again what the file has")


def measure_all(
    module: str,
    jobs: Mapping[str, Job],
    limits: Limits,
    keep: Callable[[Row], None],
) -> None:
    """Run `python -m module --out file ...` for every job, and keep each row.

    Args:
        module: dotted name of the benchmark.
        jobs: by name of the row.
        limits: of time, memory and children at once.
        keep: told of each row as soon as it is there.
    """
    columns = (TextColumn("{task.description}"), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as progress, ThreadPoolExecutor(limits.jobs) as pool:
        task = progress.add_task(module, total=len(jobs))
        running = {
            pool.submit(_measure, module, name, job, limits): name for name, job in jobs.items()
        }
        try:
            for done in as_completed(running):
                row = done.result()
                keep(row)
                progress.update(task, advance=1, description=f"{row['name']}: {row['status']}")
        except BaseException:
            pool.shutdown(cancel_futures=True)  # after what runs now, no more
            raise


def _measure(module: str, name: str, job: Job, limits: Limits) -> Row:
    """One child: its row, completed by what its end says."""
    code = job.code  # as it is when the child begins
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "row.json"
        command = [sys.executable, "-m", module, "--out", str(out), *job.arguments]
        with (Path(folder) / "errors").open("w+") as errors:
            ended = _run(command, limits, errors.fileno())
            errors.seek(0)
            last = errors.read().strip().splitlines()[-1:]
        row: Row = json.loads(out.read_text()) if out.exists() else {}
    row = {**row, "name": name, "code": code}
    if ended is None:
        return {**row, "status": "timeout", "why": f"more than {limits.seconds:.0f} s"}
    if ended:
        text = signal.Signals(-ended).name if ended < 0 else "".join(last)
        return {**row, "status": "crash", "why": text or f"exit status {ended}"}
    return row


def _run(command: Sequence[str], limits: Limits, errors: int) -> int | None:
    """Exit status; None if the time ran out."""
    memory = int(limits.memory_gb * 2**30)
    process = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=errors,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),  # noqa: PLW1509
    )
    try:
        return process.wait(limits.seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return None
    except BaseException:
        process.kill()
        raise


def report_to(path: Path) -> Callable[[Row], None]:
    """How a child tells: each call replaces the row, so that a part outlives what comes after."""
    return lambda row: write_atomic(path, json.dumps(row))


def failure(error: Exception) -> str:
    """What went wrong, shortly, and where in this project if it was there."""
    line = next(iter(str(error).strip().splitlines()), "")[:300]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "prunekit" in f.filename]
    own = not isinstance(error, PrunekitError) and frames
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if own else ""
    return f"{type(error).__name__}: {line}{where}"


def peak_mb() -> float:
    """Largest memory that this process has held so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def read_rows(path: Path | None, jobs: Mapping[str, Job]) -> dict[str, Row]:
    """Rows of an earlier run, by name, of which the sources are still the same."""
    if path is None or not path.exists():
        return {}
    rows = {row["name"]: row for row in json.loads(path.read_text())["networks"]}
    return {
        name: row for name, row in rows.items() if name in jobs and row["code"] == jobs[name].code
    }


@cache
def _digest(sources: tuple[str, ...]) -> str:
    """Digest of all Python code there."""
    files: set[Path] = set()
    for source in sources:
        path = _ROOT / source
        files |= set(path.rglob("*.py")) if path.is_dir() else {path}
    content = b"".join(path.read_bytes() for path in sorted(files))
    return hashlib.sha256(content).hexdigest()[:12]
