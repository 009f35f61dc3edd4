from __future__ import annotations

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from prunekit.report import Entry, to_json, to_markdown, to_table
from prunekit.report.content import DENSE, SLIM
from tests.report.samples import HOSTILE, full, quality, sparsity, structural


def hostile_report():
    report = full(name=HOSTILE)
    return replace(
        report,
        title=HOSTILE,
        entries=(*report.entries, Entry(HOSTILE, 5)),
        groups=tuple(replace(group, name=HOSTILE) for group in report.groups),
        frozen=tuple(replace(row, reason=HOSTILE, module=HOSTILE) for row in report.frozen),
        sparsity=sparsity(HOSTILE),
        environment={HOSTILE: HOSTILE},
        recipe=f"```\n# end\n````{HOSTILE}",
        seconds=((HOSTILE, 1.0),),
        notes=(HOSTILE,),
        convention=(HOSTILE,),
    )


class TestJson:
    def test_figures_make_the_round_trip(self) -> None:
        report = full()
        read = json.loads(to_json(report))
        assert read["schema_version"] == 2
        slim = read["entries"][2]
        assert slim["name"] == SLIM
        assert slim["latency"]["median_ms"] == 10
        assert slim["quality"]["images"] == [
            {"name": "coffee", "psnr": 34.49, "ssim": 0.9521, "seconds": 0.5}
        ]
        assert read["proof"]["max_error"] == report.proof.max_error
        assert read["proof"]["input_shapes"] == [[1, 3, 48, 48], [1, 3, 72, 96]]
        assert read["training"][0]["loss"] == [0.05, 0.03, 0.02]
        assert read["crops"][0]["pictures"][1]["psnr"] == report.crops[0].pictures[1].psnr
        assert read["seconds"] == [["trace", 0.25], ["train", 75.0]]
        assert read["recipe"] == report.recipe

    def test_keys_are_in_the_order_of_the_report(self) -> None:
        keys = list(json.loads(to_json(full())))
        assert keys[:4] == ["schema_version", "headline", "cautions", "title"]
        assert to_json(full()) == to_json(full())

    def test_holds_no_pixels(self) -> None:
        text = to_json(full())
        assert "pixels" not in json.loads(text)["crops"][0]["pictures"][0]
        assert "previews" not in json.loads(text)
        assert len(text) < 10_000

    def test_what_is_not_finite_becomes_null(self) -> None:
        entries = (Entry(DENSE, quality=quality(math.inf, math.nan)),)
        text = to_json(replace(structural(), entries=entries))
        read = json.loads(text, parse_constant=pytest.fail)
        assert read["entries"][0]["quality"]["psnr"] is None
        assert read["entries"][0]["quality"]["ssim"] is None

    def test_numbers_of_numpy_are_numbers(self) -> None:
        environment = {"count": np.int64(3), "share": np.float32(0.5), "bad": np.float32("nan")}
        read = json.loads(to_json(replace(structural(), environment=environment)))
        assert read["environment"] == {"count": 3, "share": 0.5, "bad": None}

    def test_hostile_names_survive_and_cannot_leave_a_script_element(self) -> None:
        text = to_json(hostile_report())
        assert not set("<>&\u2028\x1b") & set(text)
        assert text.encode()
        assert json.loads(text)["title"] == HOSTILE


class TestMarkdown:
    def test_says_the_headline_and_has_a_table_for_every_part(self) -> None:
        text = to_markdown(full())
        assert "**55 % fewer MACs" in text
        assert [line for line in text.splitlines() if line.startswith("## ")] == [
            "## Crops",
            "## Image by image",
            "## What was removed",
            "## What had to stay",
            "## Proof",
            "## Fine-tuning",
            "## Cost, counted again",
            "## Time",
            "## Environment",
            "## Recipe",
            "## Notes",
        ]
        assert "| slim | 0.40 (\N{MINUS SIGN}60.0 %) |" in text

    def test_a_structural_run_has_no_empty_sections(self) -> None:
        text = to_markdown(structural())
        headings = [line for line in text.splitlines() if line.startswith("#")]
        assert headings == ["# structural", "## What was removed", "## Proof"]

    def test_hostile_names_stay_text_in_their_own_cells(self) -> None:
        tokens = MarkdownIt("commonmark").enable("table").parse(to_markdown(hostile_report()))
        inline = [child for token in tokens for child in token.children or ()]
        kinds = {token.type for token in (*tokens, *inline)}
        assert not kinds & {"html_block", "html_inline", "link_open", "image", "em_open"}
        assert sum(token.type == "fence" for token in tokens) == 1
        assert any("<script>alert(1)</script>|`x`" in token.content for token in inline)
        assert_rows_are_even(tokens)

    @pytest.mark.parametrize("name", ["a|b", "a\\|b", "a\\", "`", "a``b", " ", "", "x\ny"])
    def test_any_name_keeps_its_table_in_shape(self, name: str) -> None:
        groups = (replace(structural().groups[0], name=name),)
        text = to_markdown(replace(structural(), groups=groups, proof=None))
        tokens = MarkdownIt("commonmark").enable("table").parse(text)
        cells = [t for t in tokens if t.type == "inline"]
        assert_rows_are_even(tokens)
        shown = "".join(child.content for child in cells[-7].children)
        assert shown.strip() == " ".join(name.split())


def assert_rows_are_even(tokens) -> None:
    """Every row of every table has the cells of its head, none cut off and none added."""
    cells, expected = 0, 0
    for token in tokens:
        cells += token.type in ("th_open", "td_open")
        if token.type == "thead_open":
            expected = 0
        if token.type == "tr_close":
            expected = expected or cells
            assert cells == expected
            cells = 0
    assert expected


class TestTerminalTable:
    @staticmethod
    def lines(report, width: int) -> list[str]:
        console = Console(file=io.StringIO(), width=width, legacy_windows=False)
        console.print(to_table(report))
        return console.file.getvalue().splitlines()

    @pytest.mark.parametrize("width", [60, 80, 160])
    def test_every_figure_is_whole(self, width: int) -> None:
        lines = self.lines(full(), width)
        words = " ".join(lines).split()
        assert max(map(len, lines)) <= width
        for figure in (
            "0.40",
            "-60.0%",
            "-55.0%",
            "[9.5-11.0]",
            "2.00x",
            "34.49",
            "-0.07",
            "0.9521",
        ):
            assert figure in words

    def test_is_in_signs_that_every_terminal_has(self) -> None:
        lines = self.lines(full(), 80)
        assert "".join(lines[:2] + lines[3:]).isascii()

    def test_names_hold_no_markup_and_no_escapes(self) -> None:
        entries = (Entry("[red]x[/red]", 5), Entry("\x1b[31my", 6))
        text = "\n".join(self.lines(replace(structural(), entries=entries), 80))
        assert "[red]x[/red]" in text
        assert "\x1b" not in text
