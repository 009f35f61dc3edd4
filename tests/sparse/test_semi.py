"""2:4 on sparse tensor cores: the same images where there are any, else a reason."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from prunekit.sparse import MaskRule, apply_masks, choose_masks, semi, semi_structured
from prunekit.sparse.semi import unsupported_device

PAIRS = MaskRule("pattern", pattern=(2, 4))


class Layers(nn.Module):
    """Convolutions of several geometries, and a linear layer, in sizes that kernels take."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, 64, 3, padding=1)
        self.plain = nn.Conv2d(64, 64, 3, padding=1)
        self.strided = nn.Conv2d(64, 64, (3, 1), stride=(2, 1), padding=(2, 0), dilation=(2, 1))
        self.grouped = nn.Conv2d(64, 64, 3, padding=1, groups=4)
        self.same = nn.Conv2d(64, 64, 3, padding="same")
        self.linear = nn.Linear(64, 128)

    def forward(self, x):
        x = self.same(self.grouped(self.strided(self.plain(self.head(x)))))
        return self.linear(x.movedim(1, -1))


def masked(dtype):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = Layers().eval().to(dtype)
    masks = choose_masks(net, PAIRS)
    return apply_masks(net, masks), masks


def test_without_such_a_device_all_stays_dense_and_it_is_said_why():
    net, masks = masked(torch.float16)
    found = semi_structured(net, masks)
    assert found.converted == ()
    assert set(found.dense.values()) == {
        "2:4 kernels of torch need an NVIDIA GPU, and the network is on cpu"
    }
    assert len(found.dense) == 6


def test_old_devices_are_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    assert "needs" not in unsupported_device(torch.device("cuda"))
    assert "compute capability 8.0, and cuda has (7, 5)" in unsupported_device(torch.device("cuda"))
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (9, 0))
    assert unsupported_device(torch.device("cuda")) == ""


def test_the_products_are_those_of_the_convolutions(monkeypatch):
    """Everything but the kernel itself, which a CPU has not."""

    def checked(weight):
        assert ((weight.reshape(-1, 4) != 0).sum(1) <= 2).all()  # along the summed dimension
        return weight

    monkeypatch.setattr(semi, "unsupported_device", lambda _device: "")
    monkeypatch.setattr(semi, "to_sparse_semi_structured", checked)
    monkeypatch.setattr(semi, "_TYPES", (torch.float64,))
    net, masks = masked(torch.float64)
    found = semi_structured(net, masks)
    assert found.converted == ("plain", "strided", "linear")
    assert found.dense == {
        "head.weight": "its weight has no 2:4 mask",
        "grouped.weight": "a Conv2d of this kind has no product to speed up",
        "same.weight": "its padding is told by a word",
    }
    image = torch.rand(2, 3, 10, 7, dtype=torch.float64)
    torch.testing.assert_close(found.model(image), net(image))


def test_layers_that_a_kernel_refuses_stay_dense(monkeypatch):
    def refuses(_weight):
        message = "shape is not a multiple\nof something"
        raise RuntimeError(message)

    monkeypatch.setattr(semi, "unsupported_device", lambda _device: "")
    monkeypatch.setattr(semi, "to_sparse_semi_structured", refuses)
    net, masks = masked(torch.float16)
    found = semi_structured(net, masks)
    assert found.converted == ()
    assert found.dense["plain.weight"] == "shape is not a multiple"
    assert found.dense["linear.weight"] == "shape is not a multiple"


def test_other_patterns_and_types_stay_dense(monkeypatch):
    monkeypatch.setattr(semi, "unsupported_device", lambda _device: "")
    net, masks = masked(torch.float32)
    assert (
        "half precision, and it is torch.float32"
        in semi_structured(net, masks).dense["plain.weight"]
    )
    net = Layers().half()
    masks = choose_masks(net, MaskRule("pattern", pattern=(1, 4)))
    assert semi_structured(net, masks).dense["plain.weight"] == "its weight has no 2:4 mask"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore:The PyTorch API of SparseSemiStructuredTensor")
def test_sparse_tensor_cores_compute_the_same_images():
    why = unsupported_device(torch.device("cuda"))
    if why:
        pytest.skip(why)
    net, masks = masked(torch.float16)
    net = net.cuda()
    found = semi_structured(net, masks)
    assert set(found.converted) == {"plain", "strided", "linear"}
    image = torch.rand(2, 3, 16, 16, dtype=torch.float16, device="cuda")
    with torch.no_grad():
        torch.testing.assert_close(found.model(image), net(image), rtol=2e-2, atol=2e-3)
