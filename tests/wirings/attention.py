"""Attention over tokens, windows, channels and pixels: heads, head widths, tables, masks."""

from __future__ import annotations

__all__ = [
    "WindowAttention",
    "ShiftedWindows",
    "HeadsLeave",
    "AttentionOff",
    "GlobalAttention",
    "DotProductAttention",
    "DotProductEqual",
    "DotProductScaled",
    "EinsumAttention",
    "ChannelAttention",
    "NonLocal",
    "LinearAttention",
    "KernelAttention",
    "RectifiedAttention",
    "BiasedScores",
    "TorchAttention",
]

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.wirings.net import Net, conv, point

WINDOW = 4


def _windows(x: Tensor) -> Tensor:
    """Cut `(n, h, w, c)` into `(windows, tokens, c)`."""
    n, h, w, c = x.shape
    x = x.view(n, h // WINDOW, WINDOW, w // WINDOW, WINDOW, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW * WINDOW, c)


def _joined(windows: Tensor, shape: torch.Size) -> Tensor:
    """Undo `_windows`."""
    n, h, w, c = shape
    x = windows.view(n, h // WINDOW, w // WINDOW, WINDOW, WINDOW, c)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(n, h, w, c)


def _distances() -> Tensor:
    """Row of the table of relative positions for every pair of tokens of a window."""
    at = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij"))
    apart = at.flatten(1)[:, :, None] - at.flatten(1)[:, None, :] + WINDOW - 1
    return apart[0] * (2 * WINDOW - 1) + apart[1]


def _mask(height: int, width: int, shift: int) -> Tensor:
    """Minus infinity, almost, for tokens that are neighbours only since the image was rolled."""
    parts = torch.zeros(1, height, width, 1)
    bounds = (slice(0, -WINDOW), slice(-WINDOW, -shift), slice(-shift, None))
    for number, (rows, columns) in enumerate((r, c) for r in bounds for c in bounds):
        parts[:, rows, columns, :] = number
    part = _windows(parts).squeeze(-1)
    apart = part.unsqueeze(1) - part.unsqueeze(2)
    return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


class _WindowAttention(nn.Module):
    """Self-attention in a window, with a bias by relative position for every head."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.table = nn.Parameter(torch.rand((2 * WINDOW - 1) ** 2, heads))
        self.register_buffer("distances", _distances())

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        b, n, c = x.shape
        qkv = self.qkv(x).reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = qkv[0], qkv[1], qkv[2]
        scores = (q * self.scale) @ k.transpose(-2, -1)
        bias = self.table[self.distances.view(-1)].view(n, n, -1).permute(2, 0, 1).contiguous()
        scores = scores + bias.unsqueeze(0)
        if mask is not None:
            windows = mask.shape[0]
            scores = scores.view(b // windows, windows, self.heads, n, n)
            scores = (scores + mask.unsqueeze(1).unsqueeze(0)).view(-1, self.heads, n, n)
        mixed = scores.softmax(dim=-1) @ v
        return self.proj(mixed.transpose(1, 2).reshape(b, n, c))


class WindowAttention(Net):
    """Attention in windows (SwinIR): head widths may shrink, the same in q, k and v; heads stay.

    The code takes the width of a head for the width of the stream over the number of heads.
    """

    widths = (10, 5)
    kinds: ClassVar = {"head_dim": (5,)}
    balanced = ((10, 5),)
    size = 8
    attention: ClassVar[tuple[int, int]] = (10, 2)

    def __init__(self) -> None:
        super().__init__()
        width, heads = self.attention
        self.head, self.tail = conv(3, width), conv(width, 3)
        self.attend = _WindowAttention(width, heads)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x).permute(0, 2, 3, 1)
        x = x + _joined(self.attend(_windows(x)), x.shape)
        return self.tail(x.permute(0, 3, 1, 2))


class ShiftedWindows(Net):
    """The windows shifted, masked where they wrap around; layer norms before (Swin)."""

    widths = (12, 10, 5)
    kinds: ClassVar = {"head_dim": (5,)}
    balanced = ((10, 5),)
    inexact = (10,)
    size = 8

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 10), conv(10, 3)
        self.attend, self.norm1, self.norm2 = _WindowAttention(10, 2), *map(nn.LayerNorm, (10, 10))
        self.mlp = nn.Sequential(nn.Linear(10, 12), nn.GELU(), nn.Linear(12, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x).permute(0, 2, 3, 1)
        mask = _mask(x.shape[1], x.shape[2], 2).to(x)
        rolled = torch.roll(self.norm1(x), shifts=(-2, -2), dims=(1, 2))
        mixed = _joined(self.attend(_windows(rolled), mask), x.shape)
        x = x + torch.roll(mixed, shifts=(2, 2), dims=(1, 2))
        x = x + self.mlp(self.norm2(x))
        return self.tail(x.permute(0, 3, 1, 2))


class HeadsLeave(WindowAttention):
    """Whole heads may leave instead, with their column in the table of positions."""

    widths = (20, 5)
    kinds: ClassVar = {"heads": (5,)}
    balanced = ((20, 5),)
    options: ClassVar = {"attention": "heads"}
    attention = (20, 5)


class _Projections(Net):
    """Attention over all pixels from three separate layers, in two heads."""

    value_dim: ClassVar[int] = 7

    def __init__(self) -> None:
        super().__init__()
        self.heads, values = 2, 2 * self.value_dim
        self.head, self.tail, self.proj = conv(3, 9), conv(9, 3), nn.Linear(values, 9)
        self.q, self.k, self.v = nn.Linear(9, 10), nn.Linear(9, 10), nn.Linear(9, values)

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend; `(n, heads, tokens, width)` each."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = x.flatten(2).transpose(1, 2)
        n, length, _ = tokens.shape
        q, k, v = (
            layer(tokens).view(n, length, self.heads, -1).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        mixed = self.mix(q, k, v).transpose(1, 2).reshape(n, length, -1)
        return self.tail(x + self.proj(mixed).transpose(1, 2).view(n, -1, *x.shape[2:]))


class GlobalAttention(_Projections):
    """A matrix product of q and k, a softmax, one with v: two widths, that of q and k and v's."""

    widths = (9, 7, 5)
    kinds: ClassVar = {"head_dim": (7, 5)}
    size = 6

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return (0.4 * q @ k.transpose(-2, -1)).softmax(dim=-1) @ v


class AttentionOff(GlobalAttention):
    """Neither heads nor their widths may leave; the stream around them may."""

    widths = (9,)
    kinds: ClassVar = {}
    options: ClassVar = {"attention": "off"}


class EinsumAttention(_Projections):
    """The same as sums over named axes."""

    widths = (9, 7, 5)
    kinds: ClassVar = {"head_dim": (7, 5)}
    size = 6

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        share = torch.einsum("nhid,nhjd->nhij", q, k).mul(0.4).softmax(dim=-1)
        return torch.einsum("nhij,nhjd->nhid", share, v)


class DotProductAttention(_Projections):
    """The fused operator without a scale: it takes the width of q and k for one."""

    widths = (9, 7, 5)
    kinds: ClassVar = {"head_dim": (7, 5)}
    inexact = (5,)
    size = 6

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v)


class DotProductEqual(DotProductAttention):
    """The same where q, k and v are equally wide, for which torch has one kernel."""

    widths = (9, 5, 5)
    kinds: ClassVar = {"head_dim": (5, 5)}
    value_dim = 5


class DotProductScaled(_Projections):
    """The fused operator with a scale written down."""

    widths = (9, 7, 5)
    kinds: ClassVar = {"head_dim": (7, 5)}
    size = 6

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, scale=0.4)


class ChannelAttention(Net):
    """Channels attend to channels (Restormer's MDTA), over three equal parts of one layer.

    In each head, q's channels are rows of the map; k's are its columns and v's channels, and a
    softmax goes over them.
    """

    widths = (8, 5, 5)
    kinds: ClassVar = {"head_dim": (5, 5)}
    inexact = (5,)
    balanced = ((5, 5),)

    def __init__(self) -> None:
        super().__init__()
        self.heads = 2
        self.head, self.tail, self.proj = conv(3, 8), conv(8, 3), point(10, 8)
        self.qkv, self.depth = point(8, 30), conv(30, 30, groups=30)
        self.temperature = nn.Parameter(torch.ones(2, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        n, _, h, w = x.shape
        parts = self.depth(self.qkv(x)).chunk(3, dim=1)
        q, k, v = (part.view(n, self.heads, -1, h * w) for part in parts)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).transpose(-2, -1)
        mixed = (scores * self.temperature).softmax(dim=-1) @ v
        return self.tail(x + self.proj(mixed.reshape(n, -1, h, w)))


class NonLocal(Net):
    """Every pixel attends to every pixel without heads: q and k one group, v another."""

    widths = (8, 6, 5)
    size = 6

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.proj = conv(3, 8), conv(8, 3), point(6, 8)
        self.q, self.k, self.v = point(8, 5), point(8, 5), point(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        share = torch.bmm(q.transpose(1, 2), k).softmax(dim=-1)
        mixed = torch.bmm(v, share.transpose(1, 2)).view(x.shape[0], -1, *x.shape[2:])
        return self.tail(x + self.proj(mixed))


class LinearAttention(Net):
    """Keys times values first (linear in the pixels), q's softmax over its own channels."""

    widths = (8, 6, 5)
    inexact = (5,)

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.proj = conv(3, 8), conv(8, 3), point(6, 8)
        self.q, self.k, self.v = point(8, 5), point(8, 5), point(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        context = k.softmax(dim=-1) @ v.transpose(1, 2)
        mixed = (context.transpose(1, 2) @ q.softmax(dim=1)).view(x.shape[0], -1, *x.shape[2:])
        return self.tail(x + self.proj(mixed))


class KernelAttention(_Projections):
    """Linear attention, normalised (Katharopoulos et al., 2020).

    A channel of q and k that is switched off is 1 after `elu + 1`, and would still be summed over.
    """

    widths = (9, 7, 5)
    kinds: ClassVar = {"head_dim": (7, 5)}
    inexact = (5,)
    size = 6

    def kernel(self, x: Tensor) -> Tensor:
        return F.elu(x) + 1

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k = self.kernel(q), self.kernel(k)
        share = 1 / (q @ k.sum(dim=-2, keepdim=True).transpose(-2, -1) + 1e-6)
        return q @ (k.transpose(-2, -1) @ v) * share


class RectifiedAttention(KernelAttention):
    """The same with a kernel that leaves nothing of a channel that is switched off."""

    inexact = ()

    def kernel(self, x: Tensor) -> Tensor:
        return F.relu(x)


class BiasedScores(Net):
    """A table is added to the scores by the product itself (`baddbmm`)."""

    widths = (8, 6, 5)
    size = 6

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail, self.proj = conv(3, 8), conv(8, 3), point(6, 8)
        self.q, self.k, self.v = point(8, 5), point(8, 5), point(8, 6)
        self.bias = nn.Parameter(torch.rand(1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        q, k, v = (layer(x).flatten(2) for layer in (self.q, self.k, self.v))
        scores = torch.baddbmm(self.bias, q.transpose(1, 2), k, alpha=0.4)
        mixed = torch.bmm(v, scores.softmax(dim=-1).transpose(1, 2))
        return self.tail(x + self.proj(mixed.view(x.shape[0], -1, *x.shape[2:])))


class TorchAttention(Net):
    """Torch's own layer: the width of a head is that of the stream over the number of heads."""

    widths = (10, 7, 5)
    kinds: ClassVar = {"head_dim": (5,)}
    inexact = (5,)
    balanced = ((10, 5),)
    size = 6

    def __init__(self) -> None:
        super().__init__()
        self.head, self.mid, self.tail = conv(3, 10), conv(10, 7), conv(7, 3)
        self.attend = nn.MultiheadAttention(10, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        tokens = x.flatten(2).transpose(1, 2)
        mixed, _ = self.attend(tokens, tokens, tokens, need_weights=False)
        return self.tail(F.relu(self.mid(x + mixed.transpose(1, 2).view_as(x))))
