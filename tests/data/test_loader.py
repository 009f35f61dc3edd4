"""Batches are the same for any number of workers, and from any step on."""

import os
import pickle
import signal

import numpy as np
import pytest
import torch

from prunekit.data.cache import Cache
from prunekit.data.loader import Batches
from prunekit.data.pairs import Folder, load_pairs
from prunekit.data.patches import Patches
from prunekit.errors import DataError
from prunekit.progress import Silent
from tests.data.samples import noise, write


@pytest.fixture
def patches(tmp_path):
    """Patches of four images in a cache."""
    for number in range(4):
        write(tmp_path / "images" / f"{number}.png", noise(number, (40, 50)))
    pairs = load_pairs(
        Folder(tmp_path / "images"), 2, progress=Silent(), cache=Cache(tmp_path / "cache")
    )
    return Patches(pairs, patch_size=8, seed=5)


def assert_equal_batches(one, other):
    one, other = list(one), list(other)
    assert [batch.step for batch in one] == [batch.step for batch in other]
    for mine, theirs in zip(one, other, strict=True):
        assert torch.equal(mine.lr, theirs.lr)
        assert torch.equal(mine.hr, theirs.hr)


@pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker")  # on fewer cores
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_any_number_of_workers_makes_the_batches_of_the_patches(patches, workers):
    batches = list(Batches(patches, range(3), range(7), workers=workers))
    assert len(batches) == 7
    for step, batch in enumerate(batches):
        lr, hr = patches.sample(step, range(3))
        assert batch.step == step
        assert torch.equal(batch.lr, lr)
        assert torch.equal(batch.hr, hr)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_goes_on_in_the_middle(patches, workers):
    whole = list(Batches(patches, range(3), range(9)))
    for start in (1, 4, 8):
        assert_equal_batches(
            Batches(patches, range(3), range(start, 9), workers=workers), whole[start:]
        )


def test_processes_that_share_a_batch_make_it_together(patches):
    (whole,) = Batches(patches, range(6), range(2, 3))
    shares = [next(iter(Batches(patches, range(n, 6, 2), range(2, 3)))) for n in range(2)]
    assert torch.equal(whole.lr[0::2], shares[0].lr)
    assert torch.equal(whole.hr[1::2], shares[1].hr)


@pytest.mark.parametrize("workers", [0, 1])
def test_the_generators_of_the_caller_are_left_alone(patches, workers):
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(Batches(patches, range(2), range(3), workers=workers))
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002


def test_it_can_be_left_early_and_begun_again(patches):
    batches = Batches(patches, range(2), range(50), workers=1)
    for batch in batches:
        if batch.step == 3:
            break
    assert next(iter(batches)).step == 0
    assert len(batches) == 50


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_of_a_worker_is_one_sentence(patches, tmp_path, workers):
    for path in (tmp_path / "cache").rglob("*.pair"):
        path.unlink()
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    elsewhere = pickle.loads(pickle.dumps(patches))  # noqa: S301 - our own, with nothing open
    with pytest.raises(DataError, match=r"^image .*\.png cannot be read: No such file"):
        list(Batches(elsewhere, range(2), range(3), workers=workers))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a way to kill")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # torch's
def test_a_worker_that_dies_is_told():
    class Deadly(Patches):
        def sample(self, step, indices):
            if step == 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return torch.zeros(step), torch.zeros(len(indices))

    deadly = object.__new__(Deadly)
    with pytest.raises(DataError, match=r"cannot be cut by 1 worker processes .*; try fewer"):
        list(Batches(deadly, range(2), range(5), workers=1))
