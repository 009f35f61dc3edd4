from __future__ import annotations

import math
from dataclasses import replace

import pytest

from prunekit.measure.counters import CounterResult
from prunekit.report import CrossCheck, Entry, Report, cautions, headline
from prunekit.report.content import DENSE, SLIM
from prunekit.surgery.verify import Verification
from tests.report.samples import full, latency, quality, structural

MINUS = "\N{MINUS SIGN}"
TIMES = "\N{MULTIPLICATION SIGN}"


def with_slim(report: Report, **changes: object) -> Report:
    entries = (replace(e, **changes) if e.name == SLIM else e for e in report.entries)
    return replace(report, entries=tuple(entries))


def test_says_saving_speed_loss_and_proof_in_one_sentence() -> None:
    assert headline(full()) == (
        f"55 % fewer MACs, 2.0{TIMES} faster, {MINUS}0.07 dB PSNR-Y after fine-tuning; before "
        "fine-tuning proven equal to the dense network minus 24 channels."
    )


def test_without_training_and_evaluation_only_says_what_was_measured() -> None:
    assert headline(structural()) == (
        "55 % fewer MACs; proven equal to the dense network minus 24 channels."
    )


def test_quality_without_training_says_so() -> None:
    report = replace(full(), training=())
    assert f"{MINUS}0.07 dB PSNR-Y without fine-tuning; proven equal" in headline(report)


def test_parameters_stand_in_where_macs_were_not_counted() -> None:
    entries = (Entry(DENSE, params=1000), Entry(SLIM, params=750))
    assert headline(replace(structural(), entries=entries)).startswith("25 % fewer parameters;")


def test_no_proof_is_no_claim() -> None:
    assert headline(replace(structural(), proof=None)) == "55 % fewer MACs."


def test_a_failed_proof_is_said() -> None:
    failed = Verification(False, 0.5, 1e-6, "float64", ((1, 3, 8, 8),))
    report = replace(full(), proof=failed)
    assert "not equal to the dense network minus 24 channels" in headline(report)
    assert "proven" not in headline(report)
    assert "differ by up to 0.5 where rounding allows 1e-06" in cautions(report)[0]


@pytest.mark.parametrize(
    ("macs", "words"),
    [
        (2_000_000_000, "As many MACs as before"),
        (2_200_000_000, "10 % more MACs"),
        (0, "100 % fewer MACs"),
    ],
)
def test_a_saving_that_is_none_is_not_called_one(macs: int, words: str) -> None:
    assert headline(with_slim(structural(), macs=macs)).startswith(words)


@pytest.mark.parametrize(
    ("median", "words"),
    [(20.3, "equally fast"), (40.0, f"2.0{TIMES} slower"), (16.0, f"1.2{TIMES} faster")],
)
def test_speed_is_the_ratio_of_the_medians(median: float, words: str) -> None:
    report = with_slim(full(), latency=latency(median, median - 0.1, median + 0.1))
    assert words in headline(report)


def test_a_gain_in_quality_has_a_plus_and_none_has_both_signs() -> None:
    assert "+0.44 dB" in headline(with_slim(full(), quality=quality(35.0)))
    assert "\N{PLUS-MINUS SIGN}0.00 dB" in headline(with_slim(full(), quality=quality(34.558)))


def test_infinite_psnr_makes_no_claim() -> None:
    assert "dB" not in headline(with_slim(full(), quality=quality(math.inf)))


def test_nothing_compared_is_said() -> None:
    empty = Report(title="", prunekit="", created="", entries=())
    assert headline(empty) == "Nothing was compared with the dense network."


def test_a_good_run_has_no_cautions() -> None:
    assert cautions(full()) == ()
    assert cautions(structural()) == ()


def test_slim_below_bicubic_is_a_caution() -> None:
    found = cautions(with_slim(full(), quality=quality(29.0)))
    assert found == (
        "The slim network is 1.25 dB below bicubic interpolation, which needs no network.",
    )


def test_overlapping_latencies_are_a_caution() -> None:
    found = cautions(with_slim(full(), latency=latency(12, 11, 19.5)))
    assert any("overlap" in sentence for sentence in found)


def test_a_speedup_far_below_the_macs_is_a_caution() -> None:
    found = cautions(with_slim(full(), latency=latency(18, 17.9, 18.1)))
    assert any(sentence.startswith(f"MACs promise 2.2{TIMES}") for sentence in found)


@pytest.mark.parametrize(("macs", "count"), [(1020, 0), (1021, 1), (979, 1), (None, 0)])
def test_counters_more_than_two_percent_apart_are_a_caution(macs: int | None, count: int) -> None:
    results = (CounterResult("prunekit", 1000, 1, ""), CounterResult("thop", macs, 1, ""))
    report = replace(structural(), cross_checks=(CrossCheck(SLIM, (1, 3, 8, 8), results),))
    assert len(cautions(report)) == count


@pytest.mark.parametrize("loss", [(0.1, math.nan, 0.05), (0.1, 0.2, 0.3)])
def test_a_loss_that_fails_or_rises_is_a_caution(loss: tuple[float, ...]) -> None:
    report = full()
    curve = replace(report.training[0], loss=loss)
    assert len(cautions(replace(report, training=(curve,)))) == 1
