"""The conventions by name, and that a score is that of its convention."""

from typing import get_args

import numpy as np
import pytest

from prunekit.errors import MeasureError
from prunekit.measure.protocol import (
    PROTOCOLS,
    Figures,
    Protocol,
    ProtocolName,
    choose_protocol,
    psnr_of,
    score,
)
from prunekit.measure.quality import psnr_rgb, psnr_y, ssim_rgb, ssim_y

SR, HR = np.random.default_rng(0).integers(0, 256, (2, 24, 26, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "scale", "border", "modcrop"),
    [
        ("y", 2, 2, 2),
        ("y", 3, 3, 3),
        ("rgb", 3, 3, 3),
        ("gtmod12", 4, 4, 12),
        ("ntire", 4, 4, 4),
        ("ntire", 2, 4, 2),
        ("reds4", 4, 0, 4),
        ("vid4", 4, 0, 4),
    ],
)
def test_the_border_and_the_crop_of_every_protocol(name, scale, border, modcrop):
    protocol = PROTOCOLS[name]
    assert (protocol.border_at(scale), protocol.modcrop_at(scale)) == (border, modcrop)
    assert protocol.at(scale) == Protocol(protocol.channels, border, modcrop)
    assert protocol.channels == ("y" if name in {"y", "gtmod12", "vid4"} else "rgb")


def test_every_protocol_can_be_named():
    assert list(get_args(ProtocolName)) == list(PROTOCOLS)


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
    assert str(own) == "RGB, border 10, modcrop 8"
    assert (own.label, own.key) == ("PSNR-RGB", "psnr_rgb")
    assert str(PROTOCOLS["y"]) == "Y of BT.601, border scale, modcrop scale"
    assert str(PROTOCOLS["y"].at(3)) == "Y of BT.601, border 3, modcrop 3"
    assert str(PROTOCOLS["reds4"].at(4)) == "RGB, border 0, modcrop 4"
    assert score(HR, HR, Protocol("y", border=5), scale=2).psnr == float("inf")


def test_the_table_cannot_be_changed():
    with pytest.raises(TypeError):
        PROTOCOLS["y"] = Protocol("rgb", border=0)


def test_what_is_stated_otherwise_comes_before_the_name():
    assert choose_protocol() == PROTOCOLS["y"]
    assert choose_protocol("ntire") == Protocol("rgb", 4)
    assert choose_protocol("ntire", border=0, channels="y") == Protocol("y", 0)
    assert choose_protocol("gtmod12", modcrop=8) == Protocol("y", None, 8)
    assert choose_protocol(channels="rgb", border=6) == Protocol("rgb", 6)
    assert choose_protocol(Protocol("y", 3, 8), border=1) == Protocol("y", 1, 8)
    assert choose_protocol("rgb", channels="rgb") == Protocol("rgb", None)


@pytest.mark.parametrize(
    ("name", "other", "why"),
    [
        ("red4", {}, "no protocol 'red4'; did you mean 'reds4'"),
        ("y", {"channels": "rgb"}, "protocol 'y' contradicts channels 'rgb'; leave one of both"),
        ("rgb", {"channels": "y"}, "protocol 'rgb' contradicts channels 'y'"),
        (None, {"channels": "rbg"}, "no channels 'rbg'; compare 'y' or 'rgb'"),
        ("ntire", {"border": -1}, "border -1 is no size; name 0 or more"),
        (None, {"modcrop": 0}, "modcrop 0 is no size; name 1 or more"),
    ],
)
def test_what_is_no_protocol_is_refused(name, other, why):
    with pytest.raises(MeasureError, match=why):
        choose_protocol(name, **other)


def test_the_psnr_of_two_images_alone():
    assert psnr_of(SR, HR, "y") == psnr_y(SR, HR, 0)
    assert psnr_of(SR, HR, "rgb") == psnr_rgb(SR, HR, 0)
