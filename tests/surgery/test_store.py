"""Slim files: bit-exact there and back, refused when anything in them has changed, never run."""

from __future__ import annotations

import json
import os
import pickle
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from prunekit.errors import FileFormatError, SurgeryError
from prunekit.graph import trace
from prunekit.nets import EDSR
from prunekit.plan import Plan, Policy, Target, make_plan
from prunekit.score import score_groups
from prunekit.surgery import SLIM_FILE, apply, load_slim, read_slim, save_slim
from tests.nets import Normed, Tied, make
from tests.untouched import assert_untouched, picture

NETWORK = {"network": "edsr", "arguments": {"channels": 4, "blocks": 1, "res_scale": 0.1}}


def slimmed(net: nn.Module) -> tuple[nn.Module, Plan]:
    image = torch.rand(1, 3, 12, 12, dtype=next(net.parameters()).dtype)
    graph = trace(net, image)
    scores = score_groups(net, graph.groups, "l2")
    plan = make_plan(graph, scores, Target("channel_ratio", 0.5), Policy("local", 1, 1))
    return apply(plan, net), plan


@pytest.fixture(scope="module")
def dense() -> EDSR:
    return EDSR(channels=4, blocks=1)


@pytest.fixture(scope="module")
def content(dense, tmp_path_factory) -> bytes:
    """A small slim file."""
    path = tmp_path_factory.mktemp("slim") / SLIM_FILE
    save_slim(path, *slimmed(dense), NETWORK)
    return path.read_bytes()


@pytest.fixture
def file(content, tmp_path) -> Path:
    path = tmp_path / SLIM_FILE
    path.write_bytes(content)
    return path


def bits(model: nn.Module) -> list[tuple[str, torch.dtype, tuple[int, ...], bytes]]:
    return [
        (name, t.dtype, tuple(t.shape), bytes(t.reshape(-1).view(torch.uint8).numpy()))
        for name, t in model.state_dict().items()
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_round_trip_is_bit_exact_and_leaves_the_dense_network_alone(tmp_path, dtype):
    slim, plan = slimmed(EDSR(channels=8, blocks=2).to(dtype))
    with torch.no_grad():  # as after fine-tuning, with every odd number
        slim.head[0].weight.view(-1)[:5] = torch.tensor(
            [float("nan"), float("inf"), -0.0, 1e-40, 1]
        )
    save_slim(tmp_path / "x.safetensors", slim, plan)
    fresh = EDSR(channels=8, blocks=2).to(dtype)
    before = picture(fresh)
    loaded = load_slim(tmp_path / "x.safetensors", fresh)
    assert_untouched(fresh, before)
    assert bits(loaded) == bits(slim)
    assert loaded.head[0].out_channels == 4
    assert read_slim(tmp_path / "x.safetensors").plan == plan


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_a_network_converted_after_pruning_comes_back_in_its_type(tmp_path, dtype):
    slim, plan = slimmed(EDSR(channels=8, blocks=1))
    slim.to(dtype)
    save_slim(tmp_path / "x.safetensors", slim, plan)
    assert bits(load_slim(tmp_path / "x.safetensors", EDSR(channels=8, blocks=1))) == bits(slim)


def test_tied_weights_are_stored_once_and_come_back_tied(tmp_path):
    slim, plan = slimmed(make(Tied)[0])
    save_slim(tmp_path / "x.safetensors", slim, plan)
    names = set(load_file(tmp_path / "x.safetensors"))
    assert ("one.weight" in names, "two.weight" in names) == (True, False)
    loaded = load_slim(tmp_path / "x.safetensors", Tied().double())
    assert loaded.one.weight is loaded.two.weight
    assert bits(loaded) == bits(slim)


def test_buffers_come_back(tmp_path):
    slim, plan = slimmed(make(Normed)[0])
    slim.norm.num_batches_tracked += 41
    save_slim(tmp_path / "x.safetensors", slim, plan)
    loaded = load_slim(tmp_path / "x.safetensors", Normed().double())
    assert bits(loaded) == bits(slim)
    assert loaded.norm.num_batches_tracked.item() == 41


def test_weights_in_any_memory_layout_come_back(tmp_path):
    net = EDSR(channels=8, blocks=1).to(memory_format=torch.channels_last)
    slim, plan = slimmed(net)
    save_slim(tmp_path / "x.safetensors", slim, plan)
    loaded = load_slim(tmp_path / "x.safetensors", EDSR(channels=8, blocks=1))
    assert all(
        torch.equal(a, b) for a, b in zip(loaded.parameters(), slim.parameters(), strict=True)
    )


def test_the_same_content_gives_the_same_bytes(tmp_path, dense):
    slim, plan = slimmed(dense)
    for name in "abcdefgh":
        save_slim(tmp_path / name, slim, plan, NETWORK)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_how_to_build_the_network_comes_back(file):
    assert read_slim(file).network == NETWORK
    assert read_slim(file.parent).network == NETWORK


def test_state_that_is_no_tensor_is_refused_when_saving(tmp_path):
    class Extra(EDSR):
        def get_extra_state(self) -> dict[str, int]:
            return {"steps": 5}

        def set_extra_state(self, state: object) -> None:
            raise NotImplementedError

    slim, plan = slimmed(Extra(channels=8, blocks=1))
    with pytest.raises(SurgeryError, match="'_extra_state' of the state is no tensor"):
        save_slim(tmp_path / "x.safetensors", slim, plan)
    assert not list(tmp_path.iterdir())


class Ranged(EDSR):
    """Keeps something of its own in the state dict, as torch lets it."""

    range = 1.0

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor([self.range, 2.0])

    def set_extra_state(self, state: torch.Tensor) -> None:
        self.range = state[0].item()


def test_tensors_that_modules_add_to_the_state_come_back(tmp_path):
    net = Ranged(channels=8, blocks=1)
    net.range = 255.0
    slim, plan = slimmed(net)
    save_slim(tmp_path / "x.safetensors", slim, plan)
    loaded = load_slim(tmp_path / "x.safetensors", Ranged(channels=8, blocks=1))
    assert (loaded.range, Ranged.range) == (255.0, 1.0)
    with pytest.raises(SurgeryError, match="another network"):
        load_slim(tmp_path / "x.safetensors", EDSR(channels=8, blocks=1))


def test_a_file_without_what_a_module_adds_is_damaged(tmp_path):
    class Late(EDSR):
        pass

    slim, plan = slimmed(Late(channels=4, blocks=1))
    save_slim(tmp_path / "x.safetensors", slim, plan)
    Late.get_extra_state = Ranged.get_extra_state
    with pytest.raises(FileFormatError, match="'_extra_state' is not as the plan leaves it"):
        load_slim(tmp_path / "x.safetensors", Late(channels=4, blocks=1))


class Phased(nn.Module):
    """Has constants in other types than its weights."""

    def __init__(self, *, persistent: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 3, 3, padding=1)
        phase = torch.exp(1j * torch.linspace(0, 2, 5))
        self.register_buffer("phase", phase, persistent=persistent)
        self.register_buffer("exact", torch.ones(2, dtype=torch.float64) / 3, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.last(self.first(x).relu())
        turned = torch.fft.rfft2(x.float()) * self.phase[2] * self.exact.sum()
        return torch.fft.irfft2(turned, s=x.shape[-2:])


@pytest.mark.parametrize("persistent", [True, False])
def test_complex_and_exact_constants_come_back(tmp_path, persistent):
    slim, plan = slimmed(Phased(persistent=persistent))
    save_slim(tmp_path / "x.safetensors", slim, plan)
    loaded = load_slim(tmp_path / "x.safetensors", Phased(persistent=persistent))
    assert bits(loaded) == bits(slim)
    image = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(loaded(image), slim(image))
    save_slim(tmp_path / "half.safetensors", slim.half(), plan)
    halved = load_slim(tmp_path / "half.safetensors", Phased(persistent=persistent))
    assert bits(halved) == bits(slim)
    assert halved.phase.is_complex()


def test_a_network_whose_sizes_are_not_known_yet_is_told(file):
    class Lazy(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.LazyConv2d(8, 3)

    with pytest.raises(SurgeryError, match=r"size of 'first.weight' .* run it once on an image"):
        load_slim(file, Lazy())


def test_a_name_that_no_file_can_have_is_told(dense):
    with pytest.raises(FileFormatError, match=r"cannot be read .* name a run folder, or a file"):
        load_slim(Path("a" * 300), dense)


def test_a_slim_network_made_in_inference_mode_trains():
    with torch.inference_mode():
        slim, _ = slimmed(EDSR(channels=4, blocks=1))
    slim(torch.rand(1, 3, 8, 8)).sum().backward()
    assert slim.head[0].weight.grad.abs().sum() > 0


def test_a_file_is_refused_for_another_network(file):
    with pytest.raises(SurgeryError, match="another network"):
        load_slim(file, EDSR(channels=5, blocks=1))


def test_a_missing_file_and_a_folder_without_one_are_told(tmp_path):
    for path in (tmp_path / "no.safetensors", tmp_path, tmp_path / "no" / "such"):
        with pytest.raises(FileFormatError, match=r"there is no such file; a run folder holds one"):
            read_slim(path)


def assert_refused_or_the_same(file: Path, dense: EDSR, expected: object) -> bool:
    """Whether it was refused; if not, not a bit of the network or its description differs."""
    try:
        found = read_slim(file)
        loaded = load_slim(file, dense)
    except FileFormatError:
        return True
    assert (bits(loaded), found.plan, found.network) == expected
    return False


def changed_at(content: bytes, place: int, mask: int) -> bytes:
    return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]


def another_digit(content: bytes, generator: random.Random) -> bytes:
    """One digit of the header made another one, so that it still parses."""
    digits = [place for place in range(8, header_end(content)) if chr(content[place]).isdigit()]
    place = generator.choice(digits)
    digit = content[place] - ord("0")
    return changed_at(content, place, digit ^ (digit + generator.randrange(1, 10)) % 10)


def header_end(content: bytes) -> int:
    return 8 + struct.unpack("<Q", content[:8])[0]


def cut_out(content: bytes, generator: random.Random) -> bytes:
    place = generator.randrange(len(content))
    return content[:place] + content[place + generator.randrange(1, 40) :]


DAMAGES = {
    "truncated": lambda c, r: c[: r.randrange(len(c))],
    "longer": lambda c, r: c + r.randbytes(r.randrange(1, 64)),
    "bit": lambda c, r: changed_at(c, r.randrange(len(c)), 1 << r.randrange(8)),
    "bit of header": lambda c, r: changed_at(c, r.randrange(header_end(c)), 1 << r.randrange(8)),
    "digit of header": another_digit,
    "cut out": cut_out,
    "noise": lambda c, r: r.randbytes(r.randrange(len(c))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_file_is_refused_and_never_another_network(file, content, dense, damage):
    generator = random.Random(6)  # noqa: S311 (no secret)
    intact = read_slim(file)
    expected = (bits(load_slim(file, dense)), intact.plan, intact.network)
    refused = 0
    for _ in range(80):
        file.write_bytes(damage(content, generator))
        refused += assert_refused_or_the_same(file, dense, expected)
    assert refused >= 79  # one bit makes another white space of the header's padding


def rewritten(file: Path, **changes: str) -> None:
    """Write the file anew with other metadata, as a tool that knows safetensors would."""
    with file.open("rb") as opened:
        (size,) = struct.unpack("<Q", opened.read(8))
        header = json.loads(opened.read(size))
    described = {**json.loads(header["__metadata__"]["prunekit"]), **changes}
    text = json.dumps({key: part for key, part in described.items() if part}, indent=2)
    save_file(load_file(file), file, {"prunekit": text, "note": "mine"})


def test_a_rewritten_file_with_the_same_content_is_read(file, dense):
    before = bits(load_slim(file, dense))
    rewritten(file)
    assert bits(load_slim(file, dense)) == before


def test_arguments_of_the_network_cannot_be_changed_unnoticed(file):
    rewritten(file, network=json.dumps({**NETWORK, "arguments": {"res_scale": 1.0}}))
    with pytest.raises(FileFormatError, match="does not match its digest; the file is damaged"):
        read_slim(file)


def test_the_plan_cannot_be_changed_unnoticed(file):
    text = read_slim(file).plan.to_json()
    rewritten(file, plan=text.replace('"before":4,"after":2', '"before":4,"after":3', 1))
    with pytest.raises(FileFormatError, match="does not match its digest"):
        read_slim(file)


def test_a_newer_format_is_told(file):
    rewritten(file, format="prunekit-slim/2")
    with pytest.raises(FileFormatError, match=r"has format 'prunekit-slim/2'; this version reads"):
        read_slim(file)


@pytest.mark.parametrize("key", ["plan", "network", "digest"])
def test_a_file_without_a_part_of_its_description_is_refused(file, key):
    rewritten(file, **{key: ""})
    with pytest.raises(FileFormatError, match="damaged"):
        read_slim(file)


def test_a_safetensors_file_of_someone_else_is_refused(file, dense):
    save_file(dense.state_dict(), file)
    with pytest.raises(FileFormatError, match="was not written by prunekit"):
        read_slim(file)


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_pickles_are_refused_and_nothing_in_them_runs(file, dense, tmp_path):
    marker = tmp_path / "boom"
    bombs = [pickle.dumps(Bomb(marker), protocol) for protocol in range(6)]
    torch.save({"weights": Bomb(marker)}, tmp_path / "bomb.pth")
    bombs.append((tmp_path / "bomb.pth").read_bytes())
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w") as archive:
        archive.writestr("archive/data.pkl", bombs[2])
    bombs.append((tmp_path / "bomb.zip").read_bytes())
    for bomb in bombs:
        file.write_bytes(bomb)
        with pytest.raises(FileFormatError, match="not a readable safetensors file"):
            load_slim(file, dense)
    assert not marker.exists()
    pickle.loads(bombs[0])  # noqa: S301 (the bombs are real)
    assert marker.exists()


FOREIGN = {
    "empty": b"",
    "text": b"hello\n",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
    "header of no JSON": struct.pack("<Q", 4) + b"oops",
    "header that is a list": struct.pack("<Q", 2) + b"[]",
    "header not UTF-8": struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
    "no tensors": struct.pack("<Q", 2) + b"{}",
    "deep header": struct.pack("<Q", 20000) + b"[" * 20000,
    "unknown type": struct.pack("<Q", 54)
    + b'{"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]}} '
    + bytes(4),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_file_is_refused(file, dense, foreign):
    file.write_bytes(foreign)
    with pytest.raises(FileFormatError, match=SLIM_FILE):
        load_slim(file, dense)


def test_a_tensor_that_the_plan_leaves_otherwise_is_refused(tmp_path, dense):
    slim, plan = slimmed(dense)
    slim.head[0].bias = nn.Parameter(torch.zeros(3))
    save_slim(tmp_path / "x.safetensors", slim, plan)
    with pytest.raises(FileFormatError, match=r"tensor 'head\.0\.bias' is not as the plan leaves"):
        load_slim(tmp_path / "x.safetensors", dense)
    del slim.head[0].bias
    save_slim(tmp_path / "x.safetensors", slim, plan)
    with pytest.raises(FileFormatError, match=r"'head\.0\.bias'"):
        load_slim(tmp_path / "x.safetensors", dense)


def failing(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("where", ["fsync", "replace", "chmod"])
def test_a_failure_while_saving_leaves_the_old_file(file, content, dense, monkeypatch, where):
    slim, plan = slimmed(EDSR(channels=8, blocks=1))
    monkeypatch.setattr(os if where == "fsync" else Path, where, failing)
    with pytest.raises(OSError, match="No space left"):
        save_slim(file, slim, plan)
    monkeypatch.undo()
    assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == [SLIM_FILE]
    load_slim(file, dense)


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from prunekit.nets import EDSR
from prunekit.surgery import read_slim, save_slim
from tests.surgery.test_store import slimmed

torch.set_num_threads(1)
folder, wanted = Path(sys.argv[1]), []
for channels in (8, 24):
    slim, plan = slimmed(EDSR(channels=channels, blocks=1))
    wanted.append((slim, plan, plan.to_json()))
file = folder / "slim.safetensors"
started = time.perf_counter()
for slim, plan, _ in wanted[::-1]:
    save_slim(file, slim, plan)
longest = 3 * (time.perf_counter() - started)  # on a busy machine, too
random.seed(0)
for _ in range(120):
    child = os.fork()
    if not child:
        while True:
            for slim, plan, _ in wanted:
                save_slim(file, slim, plan)
    time.sleep(random.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    print([text for *_, text in wanted].index(read_slim(file).plan.to_json()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_kill_at_any_moment_of_saving_leaves_the_old_file_or_the_new(tmp_path):
    result = subprocess.run(  # noqa: S603
        [sys.executable, "-c", KILLED, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.split()) == 120
    assert set(result.stdout.split()) == {"0", "1"}


def test_weights_come_back_also_where_the_state_dict_is_the_networks_own(tmp_path):
    class Own(nn.Sequential):
        def state_dict(self, *args, **kwargs):
            return {f"own.{k}": v.clone() for k, v in super().state_dict(*args, **kwargs).items()}

    def fresh() -> Own:
        return Own(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Conv2d(8, 3, 1)).eval()

    net, image = fresh(), torch.rand(1, 3, 5, 5)
    plan = make_plan(
        (graph := trace(net, image)),
        score_groups(net, graph.groups, "l2"),
        Target("channel_ratio", 0.5),
        Policy("local", 1, 1),
    )
    slim = apply(plan, net)
    save_slim(tmp_path / "slim.safetensors", slim, plan)
    assert torch.equal(load_slim(tmp_path / "slim.safetensors", fresh())(image), slim(image))
