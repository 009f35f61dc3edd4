"""Programs of torch.export: they open without the network's code and compute the same."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

import prunekit
from prunekit.errors import ExportError
from prunekit.nets import EDSR
from prunekit.surgery import export
from tests.nets import conv
from tests.surgery.slims import kinds
from tests.untouched import assert_untouched, picture

RECIPE = {"prune": {"method": "filter", "target": {"channel_ratio": 0.5}}}


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 3, 12, 12, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def slim(image) -> nn.Module:
    torch.manual_seed(4)
    return prunekit.prune(EDSR(channels=16, blocks=1), RECIPE, image).model


def test_a_program_takes_any_size_and_leaves_the_network_alone(slim, image, tmp_path):
    before = picture(slim)
    found = export(slim, tmp_path / "slim.pt2", image)
    assert_untouched(slim, before)
    assert found.any_size
    assert found.max_error <= found.limit
    other = torch.rand(1, 3, 9, 17)
    with torch.no_grad():
        opened = torch.export.load(found.path).module()(other)
        torch.testing.assert_close(opened, slim(other))


def test_a_program_opens_where_prunekit_is_not(slim, image, tmp_path):
    export(slim, tmp_path / "slim.pt2", image)
    torch.save(image, tmp_path / "image.pt")
    code = (
        "import sys; sys.modules['prunekit'] = None\n"
        "import torch\n"
        "program = torch.export.load('slim.pt2').module()\n"
        "image = torch.load('image.pt', weights_only=True)\n"
        "print(tuple(program(image).shape), float(program(image).double().sum()))\n"
    )
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    with torch.no_grad():
        expected = slim(image)
    shape, total = done.stdout.rsplit(" ", 1)
    assert shape == str(tuple(expected.shape))
    assert float(total) == pytest.approx(float(expected.double().sum()), rel=1e-5)


@kinds("EDSR", "IMDN", "BSRN", "NormedResidual", slow=["RFDN", "PAN", "Video", "WindowAttention"])
def test_programs_of_many_kinds_take_any_size(kind, tmp_path):
    found = export(kind.slim(), tmp_path / "slim.pt2", kind.images)
    assert found.any_size
    with torch.no_grad():
        opened = torch.export.load(found.path).module()(kind.other)
        torch.testing.assert_close(opened, kind.slim()(kind.other))


class OneSize(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = conv(3, 8), conv(8, 3)
        self.table = nn.Parameter(torch.rand(1, 8, 12, 12))

    def forward(self, x):
        return self.tail(self.head(x) + self.table)


def test_a_network_of_one_size_is_exported_for_that(image, tmp_path):
    assert not export(OneSize(), tmp_path / "one.pt2", image).any_size
    with pytest.raises(ExportError, match="OneSize cannot be exported: "):
        export(OneSize(), tmp_path / "any.pt2", image, any_size=True)
    assert not (tmp_path / "any.pt2").exists()


class Asking(OneSize):
    def forward(self, x):
        x = self.head(x)
        return self.tail(x if float(x.mean()) > 0 else -x)


def test_a_failure_is_one_line_and_leaves_the_file_that_was_there(image, tmp_path, capfd):
    file = tmp_path / "old.pt2"
    file.write_bytes(b"old")
    with pytest.raises(ExportError, match="Asking cannot be exported: ") as caught:
        export(Asking(), file, image)
    assert "\n" not in str(caught.value)
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]
    assert capfd.readouterr() == ("", "")


class Named(OneSize):
    def forward(self, image, *, scale=None):
        x = self.tail(self.head(image))
        return {"image": x if scale is None else x * scale, "raw": (x,)}


def test_inputs_by_name_and_nested_outputs_are_exported(image, tmp_path):
    inputs = {"image": image, "scale": torch.rand(1, 3, 1, 1)}
    found = export(Named(), tmp_path / "named.pt2", inputs, any_size=False)
    assert found.max_error <= found.limit


def test_another_ending_is_refused(slim, image, tmp_path):
    with pytest.raises(ExportError, match=r"ends in \.pt2"):
        export(slim, tmp_path / "slim.onnx", image)
