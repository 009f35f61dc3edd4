"""The conventions by name, and that a score is that of its convention."""

import numpy as np
import pytest

from prunekit.measure.protocol import PROTOCOLS, Figures, Protocol, score
from prunekit.measure.quality import psnr_rgb, psnr_y, ssim_rgb, ssim_y

SR, HR = np.random.default_rng(0).integers(0, 256, (2, 24, 26, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "scale", "border", "modcrop"),
    [
        ("y", 2, 2, 2),
        ("y", 3, 3, 3),
        ("y_mod12", 4, 4, 12),
        ("ntire", 4, 4, 4),
        ("ntire", 2, 4, 2),
        ("reds4", 4, 0, 4),
    ],
)
def test_the_border_and_the_crop_of_every_protocol(name, scale, border, modcrop):
    protocol = PROTOCOLS[name]
    assert (protocol.border_at(scale), protocol.modcrop_at(scale)) == (border, modcrop)


def test_a_score_on_luma_cuts_the_scale_off():
    expected = Figures(psnr_y(SR, HR, 3), ssim_y(SR, HR, 3))
    assert score(SR, HR, PROTOCOLS["y"], scale=3) == expected


def test_a_score_of_ntire_is_of_rgb_inside_4_pixels():
    expected = Figures(psnr_rgb(SR, HR, 4), ssim_rgb(SR, HR, 4))
    assert score(SR, HR, PROTOCOLS["ntire"], scale=2) == expected


def test_a_score_of_reds4_is_of_rgb_without_a_border():
    expected = Figures(psnr_rgb(SR, HR, 0), ssim_rgb(SR, HR, 0))
    assert score(SR, HR, PROTOCOLS["reds4"], scale=4) == expected


def test_a_protocol_of_ones_own_says_what_it_is():
    own = Protocol("rgb", border=10, modcrop=8)
    assert str(own) == "RGB, border 10, HR cut to a multiple of 8"
    assert str(PROTOCOLS["y"]) == "Y of BT.601, border scale, HR cut to a multiple of scale"
    assert score(HR, HR, Protocol("y", border=5), scale=2).psnr == float("inf")


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        PROTOCOLS["y"] = Protocol("rgb", border=0)
