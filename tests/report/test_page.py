from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from importlib import resources

import numpy as np
import PIL.Image
import pytest

from prunekit.report import Report, to_html
from tests.report.samples import full, latency, quality, structural
from tests.report.test_formats import hostile_report

VOID = {"meta", "link", "img", "input", "br", "hr"}
SELF_CLOSED = {"line", "rect", "circle", "polyline", "image"}


class Page(HTMLParser):
    """Elements with their attributes, the text of the body, and whether all tags pair up."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data.split()

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(self.words)


def headings(report: Report) -> list[str]:
    return re.findall(r"<h2[^>]*>(.*?)</h2>", to_html(report))


def test_a_full_report_has_its_sections_in_order() -> None:
    assert headings(full()) == [
        "Side by side",
        "What was removed",
        "Proof",
        "Fine-tuning",
        "Cost, counted again",
        "The run",
        "Left out, and in doubt",
    ]


def test_a_structural_run_has_no_empty_sections() -> None:
    assert headings(structural()) == ["What was removed", "Proof"]
    assert len(Page(to_html(structural())).all("section")) == 3


def test_a_report_of_nothing_is_still_a_page() -> None:
    page = Page(to_html(Report(title="t", prunekit="0", created="now", entries=())))
    assert "Nothing was compared" in page.text
    assert page.all("section") == []


def test_the_headline_is_one_heading_that_keeps_figures_with_their_units() -> None:
    page = Page(to_html(full()))
    assert len(page.all("h1")) == 1
    assert ">55\N{NO-BREAK SPACE}%</span>" in to_html(full())
    assert "proven equal to the dense network minus 24 channels." in page.text


def test_cautions_stand_on_the_page() -> None:
    report = full()
    bad = replace(report.entries[2], quality=quality(29.0), latency=latency(19, 18, 22))
    page = Page(to_html(replace(report, entries=(report.entries[0], bad, report.entries[3]))))
    assert "1.25 dB below bicubic interpolation" in page.text


def test_needs_nothing_but_itself() -> None:
    text = to_html(full())
    page = Page(text)
    assert page.all("script") == []
    assert page.all("iframe") == []
    policy = page.all("meta")[1]
    assert policy["content"] == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert all(url.startswith("'data:") for url in re.findall(r"url\((.*?)\)", text))
    assert "@import" not in text


def test_reads_without_sight_of_it() -> None:
    page = Page(to_html(full()))
    assert page.all("html") == [{"lang": "en"}]
    assert all(image["alt"] for image in page.all("img"))
    drawings = page.all("svg")
    assert drawings
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(cell["scope"] in ("col", "row") for cell in page.all("th"))
    assert len(page.all("label")) == len(page.all("input"))


def test_ids_are_unique() -> None:
    ids = [a["id"] for _, a in Page(to_html(full())).elements if "id" in a]
    assert sorted(ids) == sorted(set(ids))


def test_crops_are_lossless_and_pixelated() -> None:
    report = full()
    sources = [image["src"] for image in Page(to_html(report)).all("img")]
    pictures = [picture for crop in report.crops for picture in crop.pictures]
    assert len(sources) == len(pictures)
    for source, picture in zip(sources, pictures, strict=True):
        png = base64.b64decode(source.removeprefix("data:image/png;base64,"))
        np.testing.assert_array_equal(np.array(PIL.Image.open(io.BytesIO(png))), picture.pixels)
    assert "image-rendering: pixelated" in to_html(report)


def test_the_thumbnail_shows_where_the_crop_lies() -> None:
    report = full()
    boxes = [r for r in Page(to_html(report)).all("rect") if r["class"] == "box"]
    places = [(str(c.left), str(c.top), str(c.size)) for c in report.crops]
    assert [(box["x"], box["y"], box["width"]) for box in boxes] == places


def test_crops_are_enlarged_by_a_whole_number() -> None:
    sides = re.findall(r"--side:(\d+)px", to_html(full()))
    assert sides == ["384", "384"]
    assert all(int(side) % crop.size == 0 for side, crop in zip(sides, full().crops, strict=True))


def test_hostile_names_are_text() -> None:
    text = to_html(hostile_report())
    page = Page(text)
    assert page.all("script") == []
    assert page.all("a") == []
    assert "<script>alert(1)</script>|`x`" in page.text
    assert "{{7*7}}" in page.text
    assert not set(text) & {"\x1b", "\u202e", "\udc80"}
    assert text.encode()


def test_a_loss_that_is_not_finite_parts_the_curve() -> None:
    report = full()
    curve = replace(
        report.training[0],
        steps=tuple(range(1, 6)),
        loss=(0.5, 0.4, math.nan, 0.3, 0.2),
        learning_rate=(1e-4,) * 5,
    )
    text = to_html(replace(report, training=(curve,)))
    lines = re.findall(r'<polyline class="curve" points="(.*?)"', text)
    assert [len(line.split()) for line in lines] == [2, 2, 5]
    assert "nan" not in " ".join(lines)


def test_the_page_of_a_default_run_is_small() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    report = full()
    pictures = tuple(replace(p, pixels=noise) for p in report.crops[0].pictures)
    crops = (replace(report.crops[0], size=96, pictures=pictures),) * 4
    assert len(to_html(replace(report, crops=crops))) < 3_000_000


def luminance(colour: str) -> float:
    channels = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "paper", "ratio"),
    [
        ("ink", "paper", 7),
        ("ink", "raised", 7),
        ("muted", "paper", 4.5),
        ("caution", "caution-paper", 4.5),
        ("slim", "paper", 3),
        ("before", "paper", 3),
        ("dense", "paper", 3),
        ("bicubic", "paper", 3),
    ],
)
def test_contrast_is_enough(scheme: str, ink: str, paper: str, ratio: float) -> None:
    templates = resources.files("prunekit.report") / "templates"
    colours: dict[str, str] = {}
    for name in ("base.css", "report.css"):
        light, dark = (templates / name).read_text("utf-8").split("@media")[:2]
        part = light if scheme == "light" else dark
        colours |= dict(re.findall(r"--([\w-]+): (#\w{6});", part))
    bright, dim = sorted((luminance(colours[ink]), luminance(colours[paper])), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= ratio
