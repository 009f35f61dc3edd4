"""Streams that part and meet: skips, dense blocks, distillation, pyramids, frames."""

from __future__ import annotations

__all__ = [
    "Crelu",
    "DenseBlock",
    "DistilledByAttribute",
    "DistilledByNumber",
    "DistilledByLayer",
    "ResidualInResidual",
    "UNet",
    "UNetConcat",
    "Pyramid",
    "StackedBranches",
    "Chosen",
    "JoinedInSpace",
    "Interlaced",
    "SelfEnsemble",
    "BicubicSkip",
    "RecurrentWarped",
    "RecurrentLiteral",
    "TwoInputs",
    "PositionEmbedded",
    "DistilledAlike",
    "LayerAttention",
    "AuxiliaryHead",
    "BranchesOfTraining",
]

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv, point


class Crelu(Net):
    """Features beside their negatives: each channel is read twice."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(F.relu(torch.cat([x, -x], dim=1)))


class DenseBlock(Net):
    """Every layer reads what all before it made, and the block adds to its input."""

    widths = (8, 6, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.one, self.two, self.fuse = conv(8, 6), conv(14, 5), point(19, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        one = F.relu(self.one(x))
        two = F.relu(self.two(torch.cat([x, one], dim=1)))
        return self.tail(x + self.fuse(torch.cat([x, one, two], dim=1)))


class _Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = conv(8, 5), conv(13, 4), conv(17, 8)

    def forward(self, x: Tensor) -> Tensor:
        one = F.leaky_relu(self.one(x), 0.2)
        two = F.leaky_relu(self.two(torch.cat((x, one), 1)), 0.2)
        return x + 0.2 * self.three(torch.cat((x, one, two), 1))


class ResidualInResidual(Net):
    """Dense blocks inside a residual (RRDB): one trunk, every growth its own group."""

    widths = (8, 5, 5, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.blocks = nn.Sequential(_Dense(), _Dense())

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(x + 0.2 * self.blocks(x))


class DistilledByAttribute(Net):
    """Part of each layer is kept, the rest refined (IMDN); attributes say how much.

    Trunk 10; kept 4 and 5; passed on 8 and 7; the last 6.
    """

    widths = (10, 8, 7, 6, 5, 4)

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = (4, 8), (5, 7)
        self.head, self.tail = conv(3, 10), conv(10, 3)
        self.one, self.two, self.three = conv(10, 12), conv(8, 12), conv(7, 6)
        self.fuse = point(15, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        kept, rest = F.relu(self.one(x)).split(self.first, dim=1)
        more, rest = F.relu(self.two(rest)).split(self.second, dim=1)
        return self.tail(x + self.fuse(torch.cat([kept, more, self.three(rest)], dim=1)))


class DistilledByNumber(Net):
    """The same with the sizes written as numbers: what is split stays."""

    widths = (10, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 10), conv(10, 3)
        self.one, self.two, self.fuse = conv(10, 12), conv(8, 6), point(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        kept, rest = F.relu(self.one(x)).split([4, 8], dim=1)
        return self.tail(x + self.fuse(torch.cat([kept, self.two(rest)], dim=1)))


class DistilledByLayer(Net):
    """Distillation by layers of its own (RFDN): every branch a group, the refined one the trunk."""

    widths = (10, 6, 5, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 10), conv(10, 3)
        self.keep1, self.keep2 = point(10, 5), point(10, 5)
        self.refine1, self.refine2, self.last = conv(10, 10), conv(10, 10), conv(10, 6)
        self.fuse = point(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        one = F.relu(self.refine1(x) + x)
        two = F.relu(self.refine2(one) + one)
        kept = torch.cat([self.keep1(x), self.keep2(one), self.last(two)], dim=1)
        return self.tail(self.fuse(kept) + x)


class UNet(Net):
    """Strided convolutions down, transposed ones up, skips added level by level."""

    widths = (10, 8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 6), conv(6, 3)
        self.down1, self.down2 = conv(6, 8, stride=2), conv(8, 10, stride=2)
        self.up2 = nn.ConvTranspose2d(10, 8, 2, stride=2)
        self.up1 = nn.ConvTranspose2d(8, 6, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        x = F.pad(x, (0, -width % 4, 0, -height % 4), mode="reflect")
        one = self.head(x)
        two = F.relu(self.down1(one))
        three = F.relu(self.down2(two))
        two = two + self.up2(three)
        return self.tail(one + self.up1(two))[..., :height, :width]


class UNetConcat(Net):
    """A level down and up again, the skip concatenated."""

    widths = (8, 7, 6, 5)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.down = conv(3, 6), conv(6, 8, stride=2)
        self.up, self.fuse, self.tail = conv(8, 5), conv(11, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = F.relu(self.head(x))
        two = F.relu(self.down(one))
        up = F.interpolate(self.up(two), size=one.shape[2:], mode="bilinear")
        return self.tail(F.relu(self.fuse(torch.cat([up, one], dim=1))))


class Pyramid(Net):
    """One body and one upsampler for every scale (LapSRN): the body reads what both make."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body, self.tail = conv(3, 8), conv(8, 7), conv(8, 3)
        self.up = nn.ConvTranspose2d(7, 8, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        features = self.head(x)
        for _ in range(2):
            features = F.relu(self.up(self.body(features)))
            x = F.interpolate(x, scale_factor=2, mode="bilinear") + self.tail(features)
        return x


class StackedBranches(Net):
    """Branches on an axis of their own, weighed by a softmax over it (selective kernels).

    The axis of two is fixed; a channel of the gate is one row for each branch.
    """

    widths = (8, 5)

    def __init__(self) -> None:
        super().__init__()
        self.small, self.large = conv(3, 8), nn.Conv2d(3, 8, 5, padding=2)
        self.squeeze, self.excite, self.tail = nn.Linear(8, 5), nn.Linear(5, 16), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        branches = torch.stack([self.small(x), self.large(x)], dim=1)
        n, k, c, _, _ = branches.shape
        gate = self.excite(F.relu(self.squeeze(branches.sum(dim=1).mean(dim=(2, 3)))))
        gate = gate.view(n, k, c, 1, 1).softmax(dim=1)
        return self.tail((branches * gate).sum(dim=1))


class Chosen(Net):
    """A choice between two tensors, element by element, ties them."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(6, 3)
        self.yes, self.no = conv(8, 6), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        yes = self.yes(x)
        return self.tail(torch.where(yes > 0, yes, self.no(x)))


class JoinedInSpace(Net):
    """Two feature maps one above the other share their channels."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(6, 3)
        self.one, self.two = conv(8, 6), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        return self.tail(torch.cat([self.one(x), self.two(x)], dim=2))


class Interlaced(Net):
    """Rows written in turn into a new tensor that is as wide as what is written."""

    widths = (8, 6)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(6, 3)
        self.even, self.odd = conv(8, 6), conv(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        even = self.even(x)
        n, c, h, w = even.shape
        rows = even.new_zeros(n, c, 2 * h, w)
        rows[:, :, ::2] = even
        rows[:, :, 1::2] = self.odd(x)
        return self.tail(rows)


class SelfEnsemble(Net):
    """The image turned and mirrored, and back: space moves, channels do not."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        straight = self.head(x)
        mirrored = self.head(x.flip(-1)).flip(-1)
        turned = torch.rot90(self.head(torch.rot90(x, 1, (2, 3))), -1, (2, 3))
        return self.tail(F.relu(straight + mirrored + turned))


class BicubicSkip(Net):
    """The enlarged image is added at the end: the upsampler carries the image and stays."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.up = conv(3, 8), conv(8, 12)

    def forward(self, x: Tensor) -> Tensor:
        up = F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=False)
        return up + F.pixel_shuffle(self.up(F.relu(self.head(x))), 2)


def _warp(x: Tensor, flow: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype, device=x.device)
    columns = torch.linspace(-1, 1, x.shape[3], dtype=x.dtype, device=x.device)
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=2)
    return F.grid_sample(x, grid + 0.1 * flow.permute(0, 2, 3, 1), align_corners=True)


class RecurrentWarped(Net):
    """A hidden state goes from frame to frame, moved by a flow (BasicVSR).

    It starts from zeros as wide as an attribute says, and is one group with what is added to it.
    """

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.width = 8
        self.flow, self.fuse, self.tail = conv(3, 2), conv(11, 8), conv(8, 3)

    def inputs(self, generator: torch.Generator) -> Tensor:
        return self.noise(generator, 1, 3, 3, self.size, self.size)

    def forward(self, frames: Tensor) -> Tensor:
        n, t, _, h, w = frames.shape
        hidden, results = frames.new_zeros(n, self.width, h, w), []
        for i in range(t):
            moved = _warp(hidden, torch.tanh(self.flow(frames[:, i])))
            hidden = F.relu(self.fuse(torch.cat([frames[:, i], moved], dim=1)))
            results.append(self.tail(hidden))
        return torch.stack(results, dim=1)


class RecurrentLiteral(Net):
    """The state starts from zeros whose width is a number in the code: it stays."""

    widths = (7,)

    def __init__(self) -> None:
        super().__init__()
        self.fuse, self.mid, self.tail = conv(11, 8), conv(8, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = x.new_zeros(x.shape[0], 8, *x.shape[2:])
        for _ in range(2):
            hidden = F.relu(self.fuse(torch.cat([x, hidden], dim=1)))
        return self.tail(self.mid(hidden))


class TwoInputs(Net):
    """An image and a prior go in by name, an image and its features come out in a dict."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.prior = conv(3, 8), conv(1, 8)
        self.tail, self.features = conv(8, 3), conv(8, 12)

    def inputs(self, generator: torch.Generator) -> dict[str, Tensor]:
        side = self.size
        return {
            "image": self.noise(generator, 1, 3, side, side),
            "prior": self.noise(generator, 1, 1, side, side),
        }

    def forward(self, image: Tensor, prior: Tensor) -> dict[str, Any]:
        x = F.relu(self.head(image) + self.prior(prior))
        return {"sr": self.tail(x), "features": (self.features(x),)}


class PositionEmbedded(Net):
    """A learned position is resized and added: its channels are those of the features."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.position = nn.Parameter(torch.rand(1, 8, 6, 6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        at = F.interpolate(self.position, size=x.shape[-2:], mode="bicubic", align_corners=False)
        return self.tail(F.gelu(x + at))


class DistilledAlike(Net):
    """Two layers are split by the same attributes, so their parts stay equally wide (IMDN)."""

    widths = (10, 8, 8, 5, 4, 4)
    balanced = ((4, 4), (8, 8))

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.passed = 4, 8
        self.head, self.tail = conv(3, 10), conv(10, 3)
        self.one, self.two, self.three = conv(10, 12), conv(8, 12), conv(8, 5)
        self.fuse = point(13, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        kept, rest = torch.split(F.relu(self.one(x)), (self.kept, self.passed), dim=1)
        more, rest = torch.split(F.relu(self.two(rest)), (self.kept, self.passed), dim=1)
        return self.tail(x + self.fuse(torch.cat([kept, more, self.three(rest)], dim=1)))


class LayerAttention(Net):
    """Feature maps of three depths attend to each other, whole maps at a time (HAN)."""

    widths = (8, 7)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.body1, self.body2 = conv(3, 8), conv(8, 8), conv(8, 8)
        self.fuse, self.tail = conv(24, 7), conv(7, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = self.head(x)
        two = one + self.body1(F.relu(one))
        maps = torch.stack([one, two, two + self.body2(F.relu(two))], dim=1)
        n, k, c, h, w = maps.shape
        flat = maps.view(n, k, -1)
        share = torch.bmm(flat, flat.transpose(1, 2)).mul(1e-3).softmax(dim=-1)
        mixed = torch.bmm(share, flat).view(n, k, c, h, w) + maps
        return self.tail(F.relu(self.fuse(mixed.view(n, k * c, h, w))))


class AuxiliaryHead(Net):
    """A second output for a loss in training: it reads the features, its inner layer stays."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.aux = nn.Sequential(
            conv(8, 6), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.1), conv(6, 3)
        )

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.head(x)
        if self.training:
            return self.tail(x), self.aux(x)
        return self.tail(x)


class BranchesOfTraining(Net):
    """Three branches in training, in evaluation the layer that they were merged into (RepVGG)."""

    widths = (8,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.wide, self.narrow, self.norm = conv(8, 8), point(8, 8), nn.BatchNorm2d(8)
        self.merged = conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        y = self.wide(x) + self.norm(self.narrow(x)) if self.training else self.merged(x)
        return self.tail(F.relu(y) + x)
