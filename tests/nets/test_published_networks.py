"""The networks of the papers: sizes, files of weights that fit, and pruning with a proof."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file

import prunekit
from prunekit.errors import RecipeError
from prunekit.nets import (
    BSRN,
    BSRNS,
    CARNM,
    EDSR,
    IMDN,
    LEDSR,
    NETWORKS,
    PAN,
    RFDN,
    RLFN,
    SAFMNPP,
    SAFMNV3,
    RRDBNet,
    SlimRLFN,
    SRVGGNetCompact,
    create,
)

PARAMETERS = {
    "bsrn_s_x4": 156_288,
    "bsrn_x2": 331_628,
    "bsrn_x3": 340_283,
    "bsrn_x4": 352_400,
    "carn_m_x2": 414_811,
    "carn_m_x3": 414_811,
    "carn_m_x4": 414_811,
    "edsr_baseline_x2": 1_369_859,
    "edsr_baseline_x3": 1_554_499,
    "edsr_baseline_x4": 1_517_571,
    "edsr_mini_x2": 49_603,
    "edsr_x2": 40_729_603,
    "edsr_x3": 43_680_003,
    "edsr_x4": 43_089_923,
    "esrgan_x4": 16_697_987,
    "imdn_x2": 694_404,
    "imdn_x3": 703_059,
    "imdn_x4": 715_176,
    "ledsr_x2": 19_507_468,
    "ledsr_x3": 19_542_043,
    "ledsr_x4": 19_590_448,
    "pan_x2": 261_403,
    "pan_x3": 261_403,
    "pan_x4": 272_419,
    "realesr_animevideov3_x4": 621_424,
    "realesr_general_x4": 1_213_296,
    "realesrgan_anime6b_x4": 4_467_779,
    "realesrgan_x2": 16_703_171,
    "realesrgan_x4": 16_697_987,
    "rfdn_aim_x4": 433_448,
    "rlfn_ntire_x4": 317_218,
    "rlfn_s_x2": 454_620,
    "rlfn_s_x4": 470_208,
    "rlfn_x2": 526_856,
    "rlfn_x4": 543_740,
    "safmnpp_x4": 211_572,
    "safmnv3_x4": 144_672,
    "slimrlfn_pruned_x4": 197_134,
    "slimrlfn_x4": 207_774,
}
"""Of every published network, as its paper, its release or its file of weights tells."""

SMALL = {
    "BSRN": lambda: BSRN(2, 16, 2),
    "BSRN-S": lambda: BSRNS(4, 16, 2),
    "CARN-M": lambda: CARNM(3, 16, 4),
    "EDSR-255": lambda: EDSR(4, 12, 2, rgb_range=255.0),
    "IMDN": lambda: IMDN(4, 16, 2),
    "LEDSR": lambda: LEDSR(3, 12, 2),
    "PAN-x2": lambda: PAN(2, 8, 2, 6),
    "PAN-x3": lambda: PAN(3, 8, 2, 6),
    "PAN-x4": lambda: PAN(4, 8, 2, 6),
    "RFDN": lambda: RFDN(4, 12, 2),
    "RLFN": lambda: RLFN(4, 12, 2),
    "RLFN-challenge": lambda: RLFN(4, 12, 2, 10, rgb_range=255.0),
    "RRDBNet": lambda: RRDBNet(4, 12, 1, 4),
    "RRDBNet-x2": lambda: RRDBNet(2, 12, 1, 4),
    "SAFMN++": lambda: SAFMNPP(4, 12, 2, 4),
    "SAFMN-v3": lambda: SAFMNV3(4, 12, 2, 4),
    "SRVGGNetCompact": lambda: SRVGGNetCompact(4, 12, 2),
    "SlimRLFN": lambda: SlimRLFN(4, 12, (10, 12)),
}
TRUNKS = {"BSRN": 16, "BSRN-S": 16, "CARN-M": 4, "IMDN": 16, "PAN-x2": 8, "PAN-x3": 8, "PAN-x4": 8}
"""Widths of the group with the largest share of the parameters, where it is not 12."""

SLOW = {"BSRN", "BSRN-S"}
"""Networks that take seconds to prune."""

HALF = {
    "method": "filter",
    "target": {"channel_ratio": 0.5},
    "round_to": 1,
    "min_width": 1,
}

NOT_BUILT_IN = {"BasicVSR", "HiT_SRF"}
"""Architectures that there are weights of but no network: one takes clips, one is a transformer."""


def files(shared_data):
    """Name of the network and file of the weights, for each scale."""
    for file in sorted((shared_data / "weights").glob("*.json")):
        card = json.loads(file.read_text())
        if card["architecture"] not in NOT_BUILT_IN:
            name, scales = card["name"], card["scale"]
            names = [name] if len(scales) == 1 else [f"{name}_x{scale}" for scale in scales]
            for each in names:
                yield each, file.with_suffix(".safetensors"), card


def test_every_published_network_has_the_parameters_it_should():
    found = {}
    for name in sorted(set(NETWORKS) - {"edsr", "edsr_x2_compact"}):
        with torch.device("meta"):
            found[name] = sum(p.numel() for p in create(name).parameters())
    assert found == PARAMETERS


@pytest.mark.parametrize(
    ("channels", "count"), [(45, 609_042), (48, 692_412), (49, 721_390)], ids=str
)
def test_ledsr_has_the_parameters_of_its_paper(channels, count):
    with torch.device("meta"):
        net = create("ledsr_x2", channels=channels)
    assert sum(p.numel() for p in net.parameters()) == count


@pytest.mark.parametrize("name", SMALL)
def test_it_enlarges_traces_and_keeps_the_law(name):
    torch.manual_seed(0)
    net, image = SMALL[name]().eval(), torch.rand(1, 3, 32, 40)
    with torch.no_grad():
        enlarged = net(image)
    assert enlarged.shape == (1, 3, 32 * net.scale, 40 * net.scale)
    graph = prunekit.trace(net, image)
    assert graph.verify(net, image).holds
    trunk = max(graph.groups, key=lambda group: group.params_share)
    assert trunk.width == TRUNKS.get(name, 12)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SMALL]
)
def test_half_of_its_channels_leave_with_a_proof(name):
    torch.manual_seed(0)
    net, image = SMALL[name]().eval(), torch.rand(1, 3, 24, 32)
    result = prunekit.prune(net, {"prune": HALF}, image)
    assert result.report.proof.passed
    assert type(result.model) is type(net)
    before, after = result.plan.params
    assert after < 0.6 * before
    with torch.no_grad():
        assert result.model(image).shape == net(image).shape


@pytest.mark.parametrize("name", ["EDSR-255", "RLFN-challenge"])
def test_a_range_of_255_is_scaled_inside_and_has_no_tensor(name):
    net = SMALL[name]().eval()
    image = torch.rand(1, 3, 16, 20)
    plain = type(net).enlarge
    with torch.no_grad():
        assert torch.allclose(net(image), plain(net, image * 255) / 255)
    net.rgb_range = 1.0
    with torch.no_grad():
        assert torch.equal(net(image), plain(net, image))


@pytest.mark.parametrize(
    "build",
    [
        lambda: BSRN(2, 15),
        lambda: CARNM(4, heads=(2, 3)),
        lambda: CARNM(2, heads=(2, 5)),
        lambda: IMDN(5),
        lambda: IMDN(2, 8),
        lambda: IMDN(2, 64, 0),
        lambda: IMDN(2, rgb_range=0),
        lambda: RRDBNet(3),
        lambda: SAFMNPP(4, 12),
        lambda: SlimRLFN(4, 30, ()),
    ],
)
def test_sizes_that_make_no_network_are_refused(build):
    with pytest.raises(ValueError, match=r"^[A-Z]\w+ (has|needs|weighs) "):
        build()


def test_published_arguments_can_be_overridden_but_not_the_scale():
    net = create("rlfn_x2", channels=12, blocks=1)
    assert (net.scale, net.rgb_range, len(net.block_1.c5.weight)) == (2, 255.0, 12)
    with pytest.raises(RecipeError, match="'scale' of network 'rlfn_x2' is fixed by its name"):
        create("rlfn_x2", scale=4)


def test_typing_mistakes_are_told_with_the_nearest_word():
    with pytest.raises(RecipeError, match=r"network 'imdm_x2'; did you mean 'imdn_x2'\?"):
        create("imdm_x2")
    with pytest.raises(RecipeError, match=r"no argument 'chanels'; did you mean 'channels'\?"):
        create("imdn_x2", chanels=32)


@pytest.mark.data
def test_the_files_of_published_weights_fit_strictly(shared_data):
    found = list(files(shared_data))
    assert found
    for name, file, card in found:
        create(name).load_state_dict(load_file(file), strict=True)
        assert PARAMETERS[name] == card["parameters"], name
        assert create(name).rgb_range == card["input_range"], name
