"""Arguments of the built-in networks: whatever makes no network is refused in one sentence."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
import torch

from prunekit.errors import RecipeError
from prunekit.nets import BSRN, CARNM, NETWORKS, RLFN, SAFMNPP, RRDBNet, check_arguments, create

KINDS = {network.build.__name__: network.build for network in NETWORKS.values()}

ARGUMENTS = [(kind, name) for kind in KINDS for name in inspect.signature(KINDS[kind]).parameters]

FACTORS = {"res_scale", "rgb_range", "growth of SAFMNPP"}
"""Arguments that need not be whole."""

LISTS = {"heads", "middles"}

NEVER = {
    "words": "a",
    "a number in quotes": "2",
    "a switch": True,
    "a section": {},
    "no list": object(),
    "zero": 0,
    "below zero": -2,
    "no number": float("nan"),
    "infinite": float("inf"),
    "far too large": 10**400,
    "an empty list": [],
    "a list of words": ["a"],
    "a list of lists": [[2]],
    "bytes": b"2",
    "complex": 2j,
    "a tensor": torch.ones(3, 40),
}
"""What is no argument of any network."""

each_argument = pytest.mark.parametrize(("kind", "argument"), ARGUMENTS)


def refusal(kind: str, **arguments: object) -> str:
    with torch.device("meta"), pytest.raises(ValueError, match=f"^{kind} (needs|has) ") as caught:
        KINDS[kind](**arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 200
    return message


def test_all_built_in_networks_are_here():
    assert len(KINDS) == 14
    assert len(ARGUMENTS) >= 60


@each_argument
@pytest.mark.parametrize("value", NEVER.values(), ids=NEVER)
def test_what_is_no_argument_is_refused_by_its_name(kind, argument, value):
    message = refusal(kind, **{argument: value})
    assert argument in message


@each_argument
def test_a_list_is_no_number_and_a_number_no_list(kind, argument):
    wrong = 2 if argument in LISTS else [2]
    assert f"for {argument}, not {wrong}" in refusal(kind, **{argument: wrong})


@each_argument
def test_what_is_counted_is_whole(kind, argument):
    if argument in FACTORS or f"{argument} of {kind}" in FACTORS:
        with torch.device("meta"):
            KINDS[kind](**{argument: 1.5})
    else:
        value = [2.0] if argument in LISTS else 2.0
        assert f"for {argument}, not {value}" in refusal(kind, **{argument: value})


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_refusal_names_the_built_in_network(name):
    network = NETWORKS[name]
    free = set(inspect.signature(network.build).parameters) - set(network.arguments)
    for argument in free:
        for refuse in (create, lambda name, **given: check_arguments(name, given)):
            told = (
                rf"^network '{name}' cannot be built: {network.build.__name__} needs .*{argument}"
            )
            with pytest.raises(RecipeError, match=told):
                refuse(name, **{argument: "a"})


def test_numbers_of_numpy_are_numbers():
    net = create("edsr", channels=np.int64(8), blocks=np.int32(1), res_scale=np.float32(0.5))
    assert net(torch.rand(1, 3, 4, 4)).shape == (1, 3, 8, 8)


@pytest.mark.parametrize(
    ("build", "told"),
    [
        (lambda: CARNM(channels=10), "needs channels that are a multiple of 4, not 10"),
        (lambda: CARNM(conv_groups=128), "needs channels that are a multiple of 128, not 64"),
        (lambda: RLFN(middle=0), "needs a whole number from 1 to 65536 for middle, not 0"),
        (lambda: BSRN(channels=15), "needs a whole number from 16 to 65536 for channels, not 15"),
        (lambda: RRDBNet(scale=3), "has no upsampler for scale 3; choose 1, 2 or 4"),
        (lambda: SAFMNPP(growth=0.01), "from 1 to 65536 for channels * growth, not 0"),
        (lambda: SAFMNPP(growth=65536.0), "from 1 to 65536 for channels * growth, not 2359296"),
    ],
)
def test_sizes_that_do_not_fit_each_other_are_told(build, told):
    with torch.device("meta"), pytest.raises(ValueError) as caught:  # noqa: PT011 (told)
        build()
    assert told in str(caught.value)


def test_a_network_that_is_larger_than_the_memory_is_told(monkeypatch):
    def allocate(*_: object, **__: object) -> None:
        message = "can't allocate memory: you tried to allocate 154618822656 bytes"
        raise RuntimeError(message)

    monkeypatch.setattr(torch, "empty", allocate)
    with pytest.raises(RecipeError, match=r"^network 'edsr' cannot be built \(.* bytes\); if mem"):
        create("edsr")
