"""The benchmark of published weights compares what was measured with what was told."""

from __future__ import annotations

import pytest

from benchmarks.published import SETS, cases, compared, measure, row_name
from prunekit.nets import NETWORKS

CARD = {
    "name": "carn_m",
    "measured_psnr_ssim_y": {"x2": {"Set5": [37.678, 0.9595]}},
    "published_psnr_ssim_y": {"x2": {"Set5": [37.53, 0.9583]}, "x3": None},
}


def test_published_figures_come_before_recorded_ones():
    found = compared(CARD, {"scale": 2, "images": "Set5", "psnr": 37.678, "ssim": 0.9595})
    assert found["off_published"] == [0.148, 0.0012]
    assert found["off_recorded"] == [0, 0]
    assert not found["agrees"]
    assert "do not give the figures of the paper" in found["remark"]


def test_without_a_published_figure_the_recorded_one_is_taken():
    card = {**CARD, "name": "imdn_x2", "published_psnr_ssim_y": {"x2": None}}
    found = compared(card, {"scale": 2, "images": "Set5", "psnr": 37.678, "ssim": 0.9595})
    assert found["agrees"]
    assert "remark" not in found


def test_images_without_any_figure_agree_with_nothing():
    assert compared(CARD, {"scale": 2, "images": "Urban100", "psnr": 1.0, "ssim": 1.0}) == {}


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_every_built_in_network_with_weights_has_a_row_for_every_set():
    found = cases([], SETS)
    names = {row_name(*case) for case in found}
    assert len(names) == len(found) > 0
    assert {"carn_m_x3 Set14", "imdn_x2 Set5"} <= names
    assert {name.split()[0] for name in names} <= set(NETWORKS)


@pytest.mark.data
@pytest.mark.usefixtures("shared_data")
def test_a_row_is_measured_by_the_command(capsys):
    (case,) = cases(["slimrlfn_x4"], ("Set5",))
    row = measure(*case)
    capsys.readouterr()
    assert row["status"] == "ok"
    assert row["agrees"]
    assert row["count"] == 5
