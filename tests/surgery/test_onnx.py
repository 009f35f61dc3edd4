"""Slim networks as ONNX: torch writes them, onnxruntime computes the same at two sizes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.surgery.slims import SPANDREL, kinds

pytest.importorskip("onnxscript", reason="the extra onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")


def written(net: nn.Module, images: Tensor, file: Path, *, any_size: bool) -> Path:
    """Export as a user would."""
    sides = dict.fromkeys((images.ndim - 2, images.ndim - 1), torch.export.Dim.DYNAMIC)
    shapes = (sides,) if any_size else None
    torch.onnx.export(
        net, (images,), os.fspath(file), dynamic_shapes=shapes, dynamo=True, verbose=False
    )
    return file


def assert_computes(file: Path, net: nn.Module, images: Tensor) -> None:
    """Onnxruntime gives what the network gives."""
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), net(images), rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@kinds(
    *("EDSR", "IMDN", "BSRN", "NormedResidual", "WindowAttention"),
    slow=("RFDN", "PAN", "CARN-M", "Video", "ShiftedWindows"),
)
def test_one_file_computes_the_same_at_two_sizes(kind, tmp_path):
    slim = kind.slim().float().eval()
    file = written(slim, kind.images.float(), tmp_path / "slim.onnx", any_size=True)
    for images in (kind.images, kind.other):
        assert_computes(file, slim, images.float())


@pytest.mark.filterwarnings("ignore")  # the code of spandrel as well
@kinds("RecurrentCell", slow=[SPANDREL])
def test_a_network_that_is_written_for_one_size_computes_the_same_at_each(kind, tmp_path):
    """The code of this SwinIR asks for the size it was built for, which fixes the image's."""
    slim = kind.slim().float().eval()
    for number, images in enumerate((kind.images.float(), kind.other.float())):
        file = written(slim, images, tmp_path / f"{number}.onnx", any_size=False)
        assert_computes(file, slim, images)
