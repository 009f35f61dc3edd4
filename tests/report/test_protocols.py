"""Every figure of a report says by which protocol it was made."""

from __future__ import annotations

import re
from dataclasses import replace

from prunekit.measure.protocol import PROTOCOLS, psnr_of
from prunekit.report import Report, headline, tables, to_html, to_json, to_markdown
from prunekit.report.content import BICUBIC, Entry
from prunekit.report.crops import cut_crops
from prunekit.report.key_table import key_table
from prunekit.report.plots import scatter_plot
from prunekit.train.curve import ValidationPoint
from tests.report.samples import full, pair, quality

RGB = PROTOCOLS["reds4"].at(2)


def in_rgb() -> Report:
    """The sample, as if it had been measured on RGB without a border."""
    report = full()
    entries = tuple(
        replace(entry, quality=entry.quality and replace(entry.quality, protocol=RGB))
        for entry in report.entries
    )
    looks = (ValidationPoint(10, 33.0), ValidationPoint(20, 34.25), ValidationPoint(30, 34.125))
    training = (replace(report.training[0], validation=looks, protocol=RGB),)
    return replace(report, entries=entries, training=training, convention=())


def test_nothing_is_called_by_another_name() -> None:
    report = in_rgb()
    for text in (to_html(report), to_markdown(report), to_json(report)):
        assert "PSNR-RGB" in text
        assert not re.search(r"PSNR-Y|psnr_y", text)
    assert "dB PSNR-RGB after" in headline(report)


def test_border_and_crop_stand_beside_the_figures() -> None:
    report = in_rgb()
    said = "RGB, border 0, modcrop 2"
    images, training = tables.image_table(report), tables.training_table(report)
    assert images is not None
    assert training is not None
    assert images.caption == f"PSNR-RGB in dB of every image, with SSIM ({said})"
    assert key_table(report).caption.endswith(said)
    assert said in training.caption
    plot = scatter_plot(report)
    assert plot is not None
    assert plot.y_heading == "PSNR-RGB (dB)"


def test_the_last_look_is_shown_with_the_best() -> None:
    table = tables.training_table(in_rgb())
    assert table is not None
    assert table.columns[-1].heading == "PSNR-RGB (dB)"
    assert (table.rows[0][-1].text, table.rows[0][-1].note) == ("34.12", "34.25 at step 20")
    without = tables.training_table(full())
    assert without is not None
    assert without.columns[-1].heading == "time"


def test_a_report_without_quality_names_no_channels() -> None:
    report = replace(full(), entries=(Entry("dense", 1, 1),), training=())
    assert (report.protocol, report.psnr_label) == (None, "PSNR")
    assert replace(report, entries=(Entry("a", quality=quality(30.0)),)).psnr_label == "PSNR-Y"


def test_crops_are_compared_on_the_channels() -> None:
    image = pair("cat")
    (crop,) = cut_crops([image], {BICUBIC: [image.hr // 2]}, count=1, size=24, channels="rgb")
    square = slice(crop.top, crop.top + 24), slice(crop.left, crop.left + 24)
    hr = image.hr[square]
    assert crop.pictures[1].psnr == psnr_of(hr // 2, hr, "rgb") != psnr_of(hr // 2, hr, "y")
