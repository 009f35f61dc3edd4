from __future__ import annotations

import math
from dataclasses import replace

import pytest

from prunekit.report import Entry, GroupRow, Report, headline, tables
from prunekit.report.content import DENSE, SLIM
from prunekit.report.figures import duration, number, printable, signed
from prunekit.report.key_table import key_table
from tests.report.samples import full, latency, quality, sparsity, structural

MINUS = "\N{MINUS SIGN}"
EMPTY = Report(title="t", prunekit="0", created="", entries=())
LATER_TABLES = (
    tables.crop_table,
    tables.cross_check_table,
    tables.environment_table,
    tables.file_table,
    tables.frozen_table,
    tables.group_table,
    tables.image_table,
    tables.proof_table,
    tables.sparsity_table,
    tables.stage_table,
    tables.training_table,
)


def test_main_table_shows_figures_with_changes_against_dense() -> None:
    table = key_table(full())
    assert [c.heading for c in table.columns] == [
        "network",
        "params (M)",
        "MACs (G)",
        "latency (ms)",
        "PSNR-Y (dB)",
        "SSIM",
    ]
    dense, _, slim, bicubic = table.rows
    assert [c.text for c in dense] == ["dense", "1.00", "2.00", "20.0", "34.56", "0.9534"]
    assert all(not cell.note for cell in dense)
    assert [c.text for c in slim] == ["slim", "0.40", "0.90", "10.0", "34.49", "0.9521"]
    assert [c.note for c in slim] == [
        "",
        f"{MINUS}60.0 %",
        f"{MINUS}55.0 %",
        "2.00\N{MULTIPLICATION SIGN}",
        f"{MINUS}0.07",
        f"{MINUS}0.0013",
    ]
    assert slim[3].spread == "[9.5\N{EN DASH}11.0]"
    assert [c.text for c in bicubic] == ["bicubic", "", "", "", "30.25", "0.9000"]


def test_zeros_are_told_layer_by_layer_and_files_in_bytes() -> None:
    report = replace(structural(), sparsity=sparsity())
    table = tables.sparsity_table(report)
    texts = [[cell.text for cell in row] for row in table.rows]
    assert texts == [
        ["body.0", "8\N{MULTIPLICATION SIGN}4", "32", "50.0 %", "2:4", ""],
        ["head", "8\N{MULTIPLICATION SIGN}3", "24", "0.0 %", "", "protected"],
    ]
    assert [row[3].note for row in table.rows] == ["16", "0"]
    files = tables.file_table(report)
    assert [[cell.text for cell in row] for row in files.rows] == [
        ["dense, float32", "2,000", "100.0 %", ""],
        ["sparse, float32", "1,060", "53.0 %", "bit-exact"],
        ["sparse, float32, zstd", "", "", "no library"],
    ]
    assert headline(replace(report, proof=None)) == (
        "55 % fewer MACs, 28.6 % of the weights of convolutions and linear layers zero; proven "
        "equal to the dense network with 16 weights set to zero."
    )


def test_main_table_leaves_out_what_nobody_measured() -> None:
    headings = [c.heading for c in key_table(structural()).columns]
    assert headings == ["network", "params (M)", "MACs (G)"]


def test_main_table_needs_no_dense_network() -> None:
    table = key_table(replace(EMPTY, entries=(Entry(SLIM, 12, None, latency(2000, 1500, 2500)),)))
    assert [c.heading for c in table.columns] == ["network", "params", "latency (s)"]
    assert [(c.text, c.note) for c in table.rows[0]] == [(SLIM, ""), ("12", ""), ("2.00", "")]


def test_main_table_survives_zero_and_infinity() -> None:
    entries = (
        Entry(DENSE, 0, 0, latency(0, 0, 0), quality(math.inf, 1.0)),
        Entry(SLIM, 0, 0, latency(0, 0, 0), quality(30.0, math.nan)),
    )
    _, slim = key_table(replace(EMPTY, entries=entries)).rows
    assert [c.text for c in slim] == [SLIM, "0", "0", "0.00", "30.00", "not a number"]


@pytest.mark.parametrize("make", LATER_TABLES)
def test_a_part_that_is_empty_has_no_table(make) -> None:
    assert make(EMPTY) is None


@pytest.mark.parametrize("make", LATER_TABLES)
def test_every_row_has_a_cell_for_every_column(make) -> None:
    table = make(replace(full(), sparsity=sparsity()))
    assert table.rows
    assert {len(row) for row in table.rows} == {len(table.columns)}


def test_group_bars_share_one_scale() -> None:
    table = tables.group_table(structural())
    assert table is not None
    first, second = (row[2] for row in table.rows)
    assert first.text == "64 \N{RIGHTWARDS ARROW} 40"
    assert second.text == "32"
    assert (first.bar.length, first.bar.outline) == (40 / 64, 1.0)
    assert (second.bar.length, second.bar.outline) == (0.5, 0.5)
    assert [row[3].text for row in table.rows] == ["38 %", "0 %"]


def test_a_group_without_channels_divides_by_nothing() -> None:
    report = replace(EMPTY, groups=(GroupRow("g", "channel", 0, 0, 1, 0.0),))
    assert tables.group_table(report).rows[0][3].text == "0 %"


def test_cross_checks_show_the_factor_to_our_own_count() -> None:
    own, fvcore, thop = tables.cross_check_table(full()).rows
    assert own[2].note == ""
    assert (fvcore[2].text, fvcore[2].note) == ("1,010", "1.010\N{MULTIPLICATION SIGN}")
    assert (thop[2].text, thop[4].text) == ("", "failed: AttributeError: no")


def test_every_counter_that_was_asked_says_what_it_leaves_out() -> None:
    remarks = tables.counter_remarks(full())
    assert [remark.split()[0] for remark in remarks] == ["prunekit", "fvcore", "thop"]
    assert all("leaves out" in remark for remark in remarks)


def test_stages_add_up() -> None:
    rows = tables.stage_table(full()).rows
    assert [(row[0].text, row[1].text) for row in rows] == [
        ("trace", "0.25 s"),
        ("train", "1 min 15 s"),
        ("all", "1 min 15 s"),
    ]


def test_nested_environment_becomes_dotted_keys() -> None:
    rows = tables.environment_table(full()).rows
    assert [(row[0].text, row[1].text) for row in rows] == [
        ("python", "3.11.7"),
        ("packages.torch", "2.10"),
        ("devices", "none"),
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (signed(-0.071, 2), f"{MINUS}0.07"),
        (signed(0.004, 2), "\N{PLUS-MINUS SIGN}0.00"),
        (signed(-0.004, 2), "\N{PLUS-MINUS SIGN}0.00"),
        (signed(1.5, 1), "+1.5"),
        (number(-1234.5, 1), f"{MINUS}1,234.5"),
        (number(math.inf, 2), "\N{INFINITY}"),
        (duration(0.123), "0.12 s"),
        (duration(59.94), "59.9 s"),
        (duration(3599.7), "60 min 00 s"),
        (printable("a\x1b\u202e\udc80b\tc\n"), "a\ufffd\ufffd\ufffdb\tc\n"),
    ],
)
def test_figures_are_written_as_a_person_reads_them(text: str, shown: str) -> None:
    assert text == shown
