"""Processes of their own: what a child tells, and how its end shows."""

from __future__ import annotations

import json
import textwrap
import time

import pytest

from benchmarks import children
from benchmarks.children import Job, Limits, failure, measure_all, read_rows
from benchmarks.growth import RRDBNet, exponent
from prunekit.errors import TraceError

CHILD = """
    import json, os, pathlib, sys, time
    out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
    how = sys.argv[-1]
    out.write_text(json.dumps({"status": "ok", "threads": os.environ["OMP_NUM_THREADS"]}))
    if how == "slow": time.sleep(60)
    if how == "crash": os.abort()
    if how == "raise": raise ValueError("no such thing")
    if how == "hungry": bytearray(8 * 2**30)
"""


@pytest.fixture
def rows(tmp_path, monkeypatch):
    (tmp_path / "child_of_test.py").write_text(textwrap.dedent(CHILD))
    monkeypatch.setattr(children, "_ROOT", tmp_path)
    kept = []
    jobs = {how: Job([how], ()) for how in ("well", "slow", "crash", "raise", "hungry")}
    measure_all("child_of_test", jobs, Limits(seconds=3, memory_gb=4, jobs=2), kept.append)
    return {row["name"]: row for row in kept}


def test_every_child_has_a_row_that_says_how_it_ended(rows):
    assert rows["well"]["status"] == "ok"
    assert rows["well"]["threads"] == "1"
    assert (rows["slow"]["status"], rows["slow"]["why"]) == ("timeout", "more than 3 s")
    assert (rows["crash"]["status"], rows["crash"]["why"]) == ("crash", "SIGABRT")
    assert (rows["raise"]["status"], rows["raise"]["why"]) == ("crash", "ValueError: no such thing")
    assert rows["hungry"]["why"] == "MemoryError"
    assert rows["slow"]["threads"] == "1"  # what it told outlives its end


def test_an_error_of_the_caller_ends_the_run(tmp_path, monkeypatch):
    (tmp_path / "child_of_test.py").write_text(textwrap.dedent(CHILD))
    monkeypatch.setattr(children, "_ROOT", tmp_path)
    started = time.monotonic()

    def fail(_row):
        raise KeyError

    how = {"well": "well", **{f"slow {number}": "slow" for number in range(5)}}
    jobs = {name: Job([argument], ()) for name, argument in how.items()}
    with pytest.raises(KeyError):
        measure_all("child_of_test", jobs, Limits(seconds=2, memory_gb=4), fail)
    assert time.monotonic() - started < 8  # not five times two seconds


def test_rows_of_other_code_are_measured_again(tmp_path):
    path = tmp_path / "rows.json"
    job = Job((), ("benchmarks/children.py",))
    rows = [{"name": name, "code": code} for name, code in (("a", job.code), ("b", ""), ("c", ""))]
    path.write_text(json.dumps({"networks": rows}))
    assert list(read_rows(path, {"a": job, "b": job})) == ["a"]
    assert read_rows(tmp_path / "none.json", {"a": job}) == {}


def test_the_code_of_a_row_is_that_of_its_sources_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(children, "_ROOT", tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "used.py").write_text("a = 1")
    (tmp_path / "other.py").write_text("b = 1")

    def code():
        children._digest.cache_clear()
        return Job((), ("folder",)).code

    first = code()
    (tmp_path / "other.py").write_text("b = 2")
    assert code() == first
    (tmp_path / "folder" / "used.py").write_text("a = 2")
    assert code() != first


def test_a_failure_is_one_line_with_our_place_only_where_we_broke():
    assert failure(ValueError("one\ntwo")) == "ValueError: one"
    assert failure(TraceError("cannot")) == "TraceError: cannot"


@pytest.mark.parametrize("power", [0.5, 1, 2])
def test_the_exponent_of_a_power_is_its_power(power):
    sizes = [16, 32, 64, 128]
    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)


def test_the_full_rrdbnet_has_the_published_number_of_parameters():
    assert sum(p.numel() for p in RRDBNet().parameters()) == 16_697_987
