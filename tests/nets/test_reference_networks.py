"""The networks that come along: sizes of the papers, names of the release, weights that load."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from safetensors.torch import load_file

from prunekit.errors import RecipeError
from prunekit.nets import EDSR, NETWORKS, create, names

WEIGHTS = files("prunekit.nets") / "weights"


def params(*arguments: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in EDSR(*arguments).parameters())


@pytest.mark.parametrize(("scale", "count"), [(2, 1_369_859), (3, 1_554_499), (4, 1_517_571)])
def test_edsr_baseline_has_the_parameters_of_the_paper(scale, count):
    assert params(scale) == count


@pytest.mark.parametrize(("scale", "count"), [(2, 40_729_603), (3, 43_680_003), (4, 43_089_923)])
def test_edsr_has_the_parameters_of_the_paper(scale, count):
    assert params(scale, 256, 32) == count


def test_tensors_are_named_as_in_the_release():
    block = [f"body.0.body.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")]
    ends = ("sub_mean", "head.0", "body.1", "tail.0.0", "tail.0.2", "tail.1", "add_mean")
    expected = {f"{name}.{kind}" for name in ends for kind in ("weight", "bias")}
    assert set(EDSR(4, 8, 1).state_dict()) == expected | set(block)


def test_the_mean_colour_is_taken_off_and_put_back_and_is_not_trained():
    net = EDSR(2, 8, 1, rgb_range=255.0)
    names_of_parameters = {name for name, _ in net.named_parameters()}
    assert not any("mean" in name for name in names_of_parameters)
    mean = torch.tensor([0.4488, 0.4371, 0.4040]) * 255
    image = mean.reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    assert net.sub_mean(image).abs().max() < 1e-4
    assert torch.allclose(net.add_mean(torch.zeros(1, 3, 4, 4)), image)


def test_the_residual_branch_is_scaled():
    plain, scaled = EDSR(2, 8, 1), EDSR(2, 8, 1, res_scale=0.1)
    scaled.load_state_dict(plain.state_dict())
    x = torch.rand(1, 8, 4, 4)
    branch = plain.body[0](x) - x
    assert torch.allclose(scaled.body[0](x), x + 0.1 * branch, atol=1e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_output_is_scale_times_the_input(scale):
    net = EDSR(scale, 8, 1)
    for height, width in ((5, 7), (8, 3)):
        assert net(torch.rand(2, 3, height, width)).shape == (2, 3, scale * height, scale * width)


@pytest.mark.parametrize(
    "arguments", [{"scale": 5}, {"scale": 1}, {"channels": 0}, {"channels": -8}, {"blocks": 0}]
)
def test_sizes_that_make_no_network_are_refused(arguments):
    with pytest.raises(ValueError, match=r"^EDSR (has no upsampler|needs a whole number)"):
        EDSR(**arguments)


def test_built_in_networks_have_names_and_are_built_in_evaluation_mode():
    assert {"edsr", "edsr_x2_compact", "imdn_x4"} < set(names())
    assert names() == sorted(NETWORKS)
    net = create("edsr", channels=8, blocks=1, scale=3)
    assert isinstance(net, EDSR)
    assert (net.scale, net.training) == (3, False)
    assert all(network.description for network in NETWORKS.values())


def test_an_unknown_network_is_told_with_the_nearest():
    with pytest.raises(RecipeError, match=r"no built-in network 'edrs'; did you mean 'edsr'\?"):
        create("edrs")


@pytest.mark.parametrize(
    "arguments",
    [{"depth": 3}, {"scale": 7}, {"channels": "8"}, {"channels": 0}, {"channels": 1.5}],
    ids=str,
)
def test_arguments_that_a_network_does_not_take_are_told(arguments):
    with pytest.raises(RecipeError, match=r"^network 'edsr' cannot be built: "):
        create("edsr", **arguments)


def test_arguments_that_the_trained_weights_fix_are_told():
    with pytest.raises(RecipeError, match="'channels' of network 'edsr_x2_compact' is fixed by"):
        create("edsr_x2_compact", channels=64)


def test_the_trained_weights_load_strictly_and_are_small():
    name = NETWORKS["edsr_x2_compact"].weights
    state = load_file(str(WEIGHTS / name))
    net = EDSR(scale=2, channels=48, blocks=8)
    net.load_state_dict(state, strict=True)
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert (WEIGHTS / name).stat().st_size < 4_000_000
    created = create("edsr_x2_compact")
    assert all(torch.equal(state[n], t) for n, t in created.state_dict().items())
    assert sum(p.numel() for p in created.parameters()) == 439_107


def test_the_trained_network_super_resolves():
    """A smooth image, away from its edges, comes out nearly as it should."""
    net = create("edsr_x2_compact")
    line = torch.linspace(0.2, 0.8, 48)
    hr = (line.reshape(1, 1, 48, 1) + line.reshape(1, 1, 1, 48)).div(2).expand(1, 3, 48, 48)
    lr = torch.nn.functional.avg_pool2d(hr, 2)
    with torch.no_grad():
        error = (net(lr) - hr)[..., 8:-8, 8:-8].abs().max()
    assert error < 0.02


def test_every_file_of_weights_belongs_to_a_network():
    shipped = {path.name for path in WEIGHTS.iterdir() if path.name.endswith(".safetensors")}
    assert shipped == {network.weights for network in NETWORKS.values() if network.weights}
