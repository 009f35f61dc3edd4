"""A network of eight numbers, so small that every score of it is worked by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from prunekit.graph import ChannelGraph, trace
from prunekit.progress import Silent
from prunekit.score import CRITERIA, Calibration, Criterion, Evidence, gather
from prunekit.score.calibrate import CalibrationBatch
from tests.nets import point


class Tiny(nn.Module):
    """Four units: `4 relu(x + 1) - 2 relu(2 x) + 3 relu(-x) + relu(0)`."""

    def __init__(self) -> None:
        super().__init__()
        self.make, self.read = point(3, 4), point(4, 3)
        with torch.no_grad():
            for layer in (self.make, self.read):
                layer.weight.zero_()
                layer.bias.zero_()
            self.make.weight[:, 0, 0, 0] = torch.tensor([1.0, 2.0, -1.0, 0.0])
            self.make.bias[0] = 1.0
            self.read.weight[0, :, 0, 0] = torch.tensor([4.0, -2.0, 3.0, 1.0])

    def forward(self, x: Tensor) -> Tensor:
        return self.read(F.relu(self.make(x)))


def tiny() -> tuple[nn.Module, ChannelGraph]:
    """The network in float64, and its graph of one group."""
    net = Tiny().double().eval()
    return net, trace(net, torch.zeros(1, 3, 2, 2, dtype=torch.float64))


def two_pixels() -> Calibration:
    """One image of two pixels, whose first channel is 1 and 3, and the HR that it should give.

    The units are 2, 4 and 2, 6 and 0, 0 and 0, 0, and the output is 4 and 4.
    """
    image = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    image[0, 0, 0] = torch.tensor([1.0, 3.0])
    hr = torch.zeros(1, 3, 1, 2, dtype=torch.float64)
    return Calibration((CalibrationBatch(image, hr),))


def evidence_of(
    net: nn.Module, graph: ChannelGraph, criterion: str | Criterion, calibration: Calibration
) -> Evidence:
    """Measure what a criterion needs."""
    chosen = CRITERIA[criterion] if isinstance(criterion, str) else criterion
    return gather(
        net, graph.groups, chosen, calibration, outputs=graph.output_axes, progress=Silent()
    )
