"""The page, plot and table of curves of sensitivity."""

from __future__ import annotations

import re

from prunekit.plan import Curve, Sensitivity
from prunekit.report.sensitivity import drop_table, to_sensitivity_page, to_sensitivity_plot
from tests.report.samples import HOSTILE

CURVES = (
    Curve(("robust",), 16, (4, 8, 12), (29.9, 29.8, 29.7)),
    Curve(("a", "b"), 32, (8, 16), (28.0, 20.0)),
)
FOUND = Sensitivity(30.0, CURVES, {"odd": "narrower, it breaks"}, 4, 2)


def test_the_table_interpolates_and_stops_where_nothing_was_measured():
    headings, rows = drop_table(FOUND)
    assert headings == ("group", "width", "12.5%", "25.0%", "37.5%", "50.0%", "62.5%", "75.0%")
    assert rows == [
        ("a + b", "32", "1.00", "2.00", "6.00", "10.00", "", ""),
        ("robust", "16", "0.05", "0.10", "0.15", "0.20", "0.25", "0.30"),
    ]


def test_the_page_holds_table_plot_and_what_stays_whole():
    page = to_sensitivity_page("edsr", FOUND)
    assert "30.00 dB PSNR-Y as it is, mean over 4 images" in page
    assert "<td>10.00</td>" in page
    assert "<li>odd: narrower, it breaks</li>" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)


def test_the_plot_is_the_same_for_the_same_curves_and_names_them():
    plot = to_sensitivity_plot(FOUND)
    assert plot == to_sensitivity_plot(FOUND)
    assert "robust" in plot
    assert "a + b" in plot


def test_names_that_attack_or_look_like_formulas_are_text():
    odd = (HOSTILE, "$x^{2", r"\frac{")
    curves = tuple(Curve((name,), 8, (4,), (20.0,)) for name in odd)
    page = to_sensitivity_page(HOSTILE, Sensitivity(30.0, curves, {HOSTILE: HOSTILE}, 1, 2))
    assert "<script" not in page
    assert "$x^{2" in page
    page.encode()


def test_many_curves_name_the_most_sensitive():
    curves = tuple(Curve((f"group {n}",), 8, (4,), (30.0 - n,)) for n in range(14))
    plot = to_sensitivity_plot(Sensitivity(30.0, curves, {}, 1, 2))
    assert "group 13" in plot
    assert "group 2<" not in plot
    assert to_sensitivity_plot(Sensitivity(30.0, (), {}, 1, 2)).startswith("<svg")
