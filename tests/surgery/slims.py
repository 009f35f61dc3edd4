"""Slim networks of the kinds that users prune, small, each pruned and proven once for all tests."""

from __future__ import annotations

__all__ = ["KINDS", "SPANDREL", "Pruned", "kinds", "prune", "pruned"]

import importlib
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.graph import trace
from prunekit.nets import BSRN, CARNM, EDSR, IMDN, PAN, RFDN
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import apply, verify
from tests import nets
from tests.wirings import attention, attributes, convolutions, gates, norms
from tests.wirings.net import Net, conv, point


def _moved(x: Tensor, flow: Tensor) -> Tensor:
    """Fetch every pixel from where the flow points to, in pixels."""
    height, width = x.shape[2:]
    rows = torch.arange(height, dtype=x.dtype, device=x.device).view(1, height, 1)
    columns = torch.arange(width, dtype=x.dtype, device=x.device).view(1, 1, width)
    across, down = (columns + flow[:, 0]) / (width - 1), (rows + flow[:, 1]) / (height - 1)
    grid = torch.stack([across, down], dim=3) * 2 - 1
    return F.grid_sample(x, grid, padding_mode="border", align_corners=True)


class Video(nn.Module):
    """Features go through a clip forwards and backwards, moved by a flow (BasicVSR)."""

    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.flow = nn.Sequential(conv(6, 6), nn.ReLU(), conv(6, 2))
        self.past, self.future = conv(11, 8), conv(11, 8)
        self.fuse, self.up = point(16, 10), conv(10, 12)

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.unbind(1)
        past, future = self.run(self.past, frames), self.run(self.future, frames[::-1])[::-1]
        results = []
        for frame, *features in zip(frames, past, future, strict=True):
            detail = self.up(F.leaky_relu(self.fuse(torch.cat(features, dim=1)), 0.1))
            image = F.interpolate(frame, scale_factor=2, mode="bilinear", align_corners=False)
            results.append(F.pixel_shuffle(detail, 2) + image)
        return torch.stack(results, dim=1)

    def run(self, cell: nn.Module, frames: tuple[Tensor, ...]) -> list[Tensor]:
        """Return the features of every frame, in the order in which they are given."""
        n, _, h, w = frames[0].shape
        hidden, before, seen = frames[0].new_zeros(n, self.width, h, w), frames[0], []
        for frame in frames:
            moved = _moved(hidden, self.flow(torch.cat([frame, before], dim=1)))
            hidden = F.leaky_relu(cell(torch.cat([frame, moved], dim=1)), 0.1)
            before = frame
            seen.append(hidden)
        return seen


class _NormedBlock(nn.Module):
    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(channels, inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.PReLU(),
            conv(inner, channels, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class NormedResidual(nn.Module):
    """Batch norms that share a trunk, and others within the blocks (SRResNet)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(conv(3, 12), nn.PReLU())
        self.body = nn.Sequential(_NormedBlock(12, 10), _NormedBlock(12, 8))
        self.last = nn.Sequential(conv(12, 12, bias=False), nn.BatchNorm2d(12))
        self.tail = nn.Sequential(conv(12, 32), nn.PixelShuffle(2), nn.PReLU(), conv(8, 3))
        for norm in self.modules():
            if isinstance(norm, nn.BatchNorm2d):
                nn.init.uniform_(norm.running_mean, -0.2, 0.2)
                nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + self.last(self.body(x)))


def _swin_of_spandrel() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's code
        module = importlib.import_module("spandrel.architectures.SwinIR")
        return module.SwinIR(
            img_size=8, embed_dim=12, depths=[2], num_heads=[2], window_size=4, upscale=2,
            mlp_ratio=1.5, upsampler="pixelshuffledirect",
        )  # fmt: skip


@dataclass(frozen=True)
class _Kind:
    """How to make a dense network, and what it is called with."""

    make: Callable[[], tuple[nn.Module, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    """What `trace` is told."""


def _wiring(kind: type[Net]) -> _Kind:
    return _Kind(partial(nets.make, kind), kind.options)


def _network(build: Callable[[], nn.Module], *shape: int) -> _Kind:
    def make() -> tuple[nn.Module, Tensor]:
        with torch.random.fork_rng():
            torch.manual_seed(2)
            return build().double().eval(), torch.rand(shape, dtype=torch.float64)

    return _Kind(make)


_WIRINGS = (
    nets.Residual,
    nets.Dense,
    attributes.BranchSizes,
    attributes.NestedOptions,
    convolutions.WeightNormParametrized,
    gates.RecurrentCell,
    gates.ConvolutionalRecurrence,
    norms.LayerNormed,
    attention.WindowAttention,
    attention.ShiftedWindows,
)

SPANDREL = "SwinIR of spandrel"
"""The kind for which spandrel has to be there."""

KINDS: Mapping[str, _Kind] = {
    "EDSR": _network(lambda: EDSR(2, 16, 2), 1, 3, 12, 10),
    "IMDN": _network(lambda: IMDN(2, 16, 1), 1, 3, 12, 10),
    "RFDN": _network(lambda: RFDN(2, 8, 1), 1, 3, 32, 28),
    "PAN": _network(lambda: PAN(3, 8, 1, 6), 1, 3, 12, 10),
    "BSRN": _network(lambda: BSRN(2, 16, 1), 1, 3, 32, 28),
    "CARN-M": _network(lambda: CARNM(2, 8, 2, (2,)), 1, 3, 12, 10),
    "NormedResidual": _network(NormedResidual, 2, 3, 12, 10),
    "Video": _network(Video, 1, 3, 3, 12, 10),
    SPANDREL: _network(_swin_of_spandrel, 1, 3, 8, 8),
    **{kind.__name__: _wiring(kind) for kind in _WIRINGS},
}


def kinds(*quick: str, slow: Iterable[str] = ()) -> pytest.MarkDecorator:
    """Run a test on these kinds, and where time is no matter on others as well."""
    rest = (pytest.param(name, marks=pytest.mark.slow) for name in slow)
    return pytest.mark.parametrize("kind", [*quick, *rest], indirect=True)


@dataclass(frozen=True)
class Pruned:
    """A dense network, what leaves it, and images of two sizes, in float64."""

    dense: nn.Module
    plan: Plan
    images: Tensor
    other: Tensor
    options: Mapping[str, Any]

    def slim(self) -> nn.Module:
        """Return a new slim network."""
        return apply(self.plan, self.dense)


def prune(net: nn.Module, images: Tensor, **options: Any) -> Plan:
    """Plan to remove half of every group, carry it out and prove it."""
    graph = trace(net, images, **options)
    scores = score_groups(net, graph.groups, "l2")
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    verify(net, apply(plan, net), plan, images)
    return plan


@cache
def pruned(name: str) -> Pruned:
    """Return a kind that is pruned; nobody writes to its dense network."""
    kind = KINDS[name]
    net, images = kind.make()
    *outer, height, width = images.shape
    generator = torch.Generator().manual_seed(3)
    other = torch.rand(*outer, height + 4, width + 8, generator=generator, dtype=torch.float64)
    return Pruned(net, prune(net, images, **kind.options), images, other, kind.options)
