"""The registry of networks: names, patterns, inputs; it imports none of their packages."""

from __future__ import annotations

import sys
from collections import Counter

import pytest
import torch

from benchmarks.architectures import LEFT_OUT, REGISTRY, Architecture, matching
from benchmarks.architectures.torchvision_ops import deform_conv2d


def test_names_are_unique_and_tell_the_package():
    assert max(Counter(net.name for net in REGISTRY).values()) == 1
    assert {net.package for net in REGISTRY} == {
        "basicsr", "prunekit", "resselt", "spandrel", "spandrel-extra", "super-image", "timm",
        "torchsr",
    }  # fmt: skip


def test_what_is_left_out_is_not_in():
    assert not {net.name for net in REGISTRY} & set(LEFT_OUT)


def test_no_package_is_imported_with_the_registry():
    assert not {"spandrel", "resselt", "timm", "basicsr", "super_image"} & set(sys.modules)


def test_patterns_choose_in_the_order_of_the_registry():
    assert [net.name for net in matching(["spandrel/SwinIR", "prunekit/*"])] == [
        "prunekit/EDSR",
        "spandrel/SwinIR",
    ]
    assert matching([]) == REGISTRY


def test_a_pattern_that_matches_nothing_says_what_to_try():
    with pytest.raises(LookupError, match=r"'EDSR'; try '\*EDSR\*'"):
        matching(["EDSR"])


def test_inputs_are_the_same_every_time_and_grow_by_the_step():
    net = Architecture("p/n", "m:f", inputs=((1, 2, 3, 8, 12), 7), step=4)
    clip, number = net.example()
    assert clip.shape == (1, 2, 3, 8, 12)
    assert number == 7
    assert torch.equal(clip, net.example()[0])
    assert net.example(larger=True)[0].shape == (1, 2, 3, 12, 16)


def test_a_network_is_built_in_evaluation_mode():
    net = Architecture(
        "torch/conv", "torch.nn:Conv2d", {"in_channels": 3, "out_channels": 5, "kernel_size": 3}
    )
    model = net.build()
    assert not model.training
    assert model.out_channels == 5


class TestDeformableConvolution:
    """Its laws: without offsets it is a convolution; whole offsets shift what is read."""

    def setup_method(self):
        torch.manual_seed(0)
        self.x = torch.rand(2, 8, 6, 7, dtype=torch.float64)
        self.weight = torch.rand(4, 4, 3, 3, dtype=torch.float64)  # two conv_groups
        self.bias = torch.rand(4, dtype=torch.float64)

    def run(self, offset, mask, x=None):
        geometry = (1, 1, 1, 1, 1, 1, 2, 2, True)  # stride, padding, dilation, conv_groups, offsets
        return deform_conv2d(
            self.x if x is None else x, self.weight, offset, mask, self.bias, *geometry
        )

    def test_no_offset_is_a_convolution(self):
        offset = torch.zeros(2, 2 * 9 * 2, 6, 7, dtype=torch.float64)
        mask = torch.ones(2, 2 * 9, 6, 7, dtype=torch.float64)
        expected = torch.conv2d(self.x, self.weight, self.bias, padding=1, groups=2)
        torch.testing.assert_close(self.run(offset, mask), expected)

    def test_a_whole_offset_reads_the_neighbour(self):
        offset = torch.zeros(2, 2, 9, 2, 6, 7, dtype=torch.float64)
        offset[:, :, :, 1] = 1  # one to the right
        mask = torch.ones(2, 2 * 9, 6, 7, dtype=torch.float64)
        padded = torch.nn.functional.pad(self.x, (0, 1))
        expected = torch.conv2d(padded, self.weight, self.bias, padding=1, groups=2)[..., 1:]
        torch.testing.assert_close(self.run(offset.flatten(1, 3), mask), expected)

    def test_the_mask_scales_what_is_read(self):
        offset = torch.zeros(2, 2 * 9 * 2, 6, 7, dtype=torch.float64)
        mask = torch.full((2, 2 * 9, 6, 7), 0.5, dtype=torch.float64)
        expected = torch.conv2d(self.x / 2, self.weight, self.bias, padding=1, groups=2)
        torch.testing.assert_close(self.run(offset, mask), expected)
