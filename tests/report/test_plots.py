from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from prunekit.report import Entry
from prunekit.report.content import BICUBIC, DENSE, SLIM, SLIM_BEFORE
from prunekit.report.plots import cost_bars, curve_plots, scatter_plot
from tests.report.samples import full, latency, quality, structural


def test_scatter_needs_two_networks_with_macs_and_quality() -> None:
    assert scatter_plot(structural()) is None
    assert scatter_plot(replace(full(), entries=full().entries[2:])) is None


def test_scatter_puts_more_macs_to_the_right_and_more_quality_up() -> None:
    plot = scatter_plot(full())
    marks = {mark.name: mark for mark in plot.marks}
    assert set(marks) == {DENSE, SLIM_BEFORE, SLIM}
    assert marks[SLIM].x == marks[SLIM_BEFORE].x < marks[DENSE].x
    assert marks[DENSE].y < marks[SLIM].y < marks[SLIM_BEFORE].y < plot.floor.at
    assert plot.floor.label == "bicubic 30.25 dB"


def test_scatter_joins_dense_before_and_slim_in_that_order() -> None:
    plot = scatter_plot(full())
    marks = {mark.name: f"{mark.x},{mark.y}" for mark in plot.marks}
    assert plot.path == f"{marks[DENSE]} {marks[SLIM_BEFORE]} {marks[SLIM]}"


@pytest.mark.parametrize("psnr", [34.56, 34.55, 0.0, 90.0])
def test_scatter_stays_inside_and_its_labels_apart(psnr: float) -> None:
    entries = [Entry(f"n{i}", 1, 100 + i, None, quality(psnr + i / 1000)) for i in range(6)]
    plot = scatter_plot(replace(full(), entries=(*entries, Entry(BICUBIC, quality=quality(34.5)))))
    assert all(plot.left <= m.x <= plot.right and 0 <= m.y <= plot.bottom for m in plot.marks)
    for side in (True, False):
        heights = sorted(m.label_y for m in plot.marks if m.before_point is side)
        assert all(b - a >= 16.9 for a, b in pairwise(heights))


def test_cost_bars_are_shares_of_dense() -> None:
    bars = cost_bars(full())
    assert [(bar.heading, bar.share) for bar in bars] == [
        ("parameters", 0.4),
        ("MACs", 0.45),
        ("latency", 0.5),
    ]
    assert [bar.figures for bar in bars] == [
        "1.00 to 0.40 M",
        "2.00 to 0.90 G",
        "20.00 to 10.00 ms",
    ]
    assert all(bar.outline == 1 for bar in bars)


def test_a_cost_that_grew_fits_the_drawing() -> None:
    report = full()
    slower = replace(report.entries[2], latency=latency(40, 39, 41))
    bars = cost_bars(replace(report, entries=(report.entries[0], slower)))
    assert bars[2].share == 2
    assert max(bar.length for bar in bars) == 1
    assert all(bar.outline == 0.5 for bar in bars)


def test_curves_draw_loss_and_learning_rate_to_the_last_step() -> None:
    loss, rate = curve_plots(full().training[0])
    assert loss.heading == "loss"
    assert rate.heading == "learning rate"
    assert [tick.label for tick in rate.y_ticks] == ["0", "0.5e-4", "1e-4", "1.5e-4", "2e-4"]
    xs = [float(point.split(",")[0]) for point in loss.runs[0].split()]
    assert xs == sorted(xs)
    assert xs[-1] == loss.right


def test_a_loss_over_many_powers_of_ten_is_drawn_on_a_log_scale() -> None:
    curve = replace(full().training[0], loss=(10.0, 1.0, 0.01))
    plot = curve_plots(curve)[0]
    assert plot.heading == "loss (log scale)"
    assert 2 <= len(plot.y_ticks) <= 6
    heights = [float(point.split(",")[1]) for point in plot.runs[0].split()]
    assert heights == sorted(heights)
    assert (heights[2] - heights[1]) == pytest.approx(2 * (heights[1] - heights[0]), abs=0.1)


def test_a_curve_of_one_point_is_not_drawn() -> None:
    curve = replace(full().training[0], steps=(1,), loss=(1.0,), learning_rate=(1.0,))
    assert curve_plots(curve) == ()
