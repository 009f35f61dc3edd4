"""A network without some of its channels, its norms and means over the others."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.errors import VerificationError
from prunekit.graph import TraceOptions, run_without
from tests.nets import conv, point
from tests.untouched import assert_untouched, picture

IMAGE = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0)).double()
GONE = (1, 4, 5)
STAY = torch.tensor([0, 2, 3, 6, 7])


class Two(nn.Module):
    """Two layers, with something between them that reduces over the channels."""

    def __init__(self, between) -> None:
        super().__init__()
        self.head, self.tail, self.between = point(3, 8), point(8, 3), between
        self.gain = nn.Parameter(torch.rand(8))

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.between(self.head(x), self.gain))


def without(model: nn.Module, dtype: torch.dtype | None = None) -> Tensor:
    axes = {"head.weight": 0, "head.bias": 0, "tail.weight": 1, "gain": 0}
    removed = {name: {axis: GONE} for name, axis in axes.items()}

    def zero(name: str, tensor: Tensor) -> Tensor:
        gone = torch.tensor(GONE)
        return tensor.index_fill(axes[name], gone, 0) if name in axes else tensor

    (result,) = run_without(model, IMAGE, removed, edit=zero, dtype=dtype, options=TraceOptions())
    return result


def by_hand(model: Two) -> Tensor:
    """The same with slices instead of zeros."""
    x = F.conv2d(IMAGE, model.head.weight[STAY], model.head.bias[STAY])
    x = model.between(x, model.gain[STAY])
    return F.conv2d(x, model.tail.weight[:, STAY], model.tail.bias)


REDUCING = {
    "mean": lambda x, _: x * x.mean(dim=1, keepdim=True),
    "variance": lambda x, _: x / (x.var(dim=1, keepdim=True) + 1e-5),
    "softmax": lambda x, _: x.softmax(dim=1),
    "length": lambda x, _: F.normalize(x, dim=1),
    "largest": lambda x, _: x - x.amax(dim=1, keepdim=True),
    "sum of what is not zero at zero": lambda x, _: x * x.exp().sum(dim=1, keepdim=True),
    "layer norm": lambda x, g: F.layer_norm(x.movedim(1, -1), g.shape, g).movedim(-1, 1),
    "group norm": lambda x, g: F.group_norm(x, 1, g),
    "rms norm": lambda x, g: F.rms_norm(x.movedim(1, -1), g.shape, g).movedim(-1, 1),
    "attention": lambda x, _: F.scaled_dot_product_attention(
        *[x.flatten(2).transpose(1, 2)] * 3
    ).transpose(1, 2).unflatten(2, x.shape[-2:]),
}  # fmt: skip


@pytest.mark.parametrize("between", REDUCING.values(), ids=REDUCING)
def test_it_computes_what_the_sliced_network_does(between):
    torch.manual_seed(1)
    model = Two(between).double()
    before = picture(model)
    with torch.no_grad():
        expected = by_hand(model)
    torch.testing.assert_close(without(model), expected)
    assert_untouched(model, before)


@pytest.mark.parametrize("between", REDUCING.values(), ids=REDUCING)
def test_it_converts(between):
    torch.manual_seed(1)
    model = Two(between)
    result = without(model, torch.float64)
    assert result.dtype == torch.float64
    with torch.no_grad():
        torch.testing.assert_close(result, by_hand(model.double()))
    assert model.float().gain.dtype == torch.float32


def test_a_network_that_runs_other_operators_every_time_is_told():
    turns = itertools.count()

    def changing(x: Tensor, _: Tensor) -> Tensor:
        x = x.sin() if next(turns) % 2 else x.cos().abs()
        return x * x.mean(dim=1, keepdim=True)

    with pytest.raises(VerificationError, match="does not run the same operators twice"):
        without(Two(changing).double())


def test_other_channels_are_run_as_they_are():
    model = nn.Sequential(conv(3, 4), nn.GroupNorm(2, 4), conv(4, 3)).double()
    with torch.no_grad():
        expected = model(IMAGE)
    (found,) = run_without(
        model, IMAGE, {}, edit=lambda _, t: t, dtype=None, options=TraceOptions()
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
