"""Decoded once: what is kept, what makes it void, and what happens when work is cut short."""

import multiprocessing
import os
import pickle
import signal
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from prunekit.data import pairs as pairs_module
from prunekit.data.cache import Cache, default_folder
from prunekit.data.decode import decode
from prunekit.data.pairs import Clips, Folder, load_clips, load_pairs
from prunekit.errors import CacheError, DataError
from prunekit.progress import Silent


@pytest.fixture
def folder(tmp_path):
    """Six images."""
    (tmp_path / "images").mkdir()
    for number in range(6):
        write(tmp_path / "images" / f"{number}.png", seed=number)
    return tmp_path / "images"


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch):
    """The names of what is decoded, in order."""
    names = []

    def counted(files, options):
        names.append(files.name)
        return decode(files, options)

    monkeypatch.setattr(pairs_module, "decode", counted)
    return names


def write(path, seed, size=(13, 18)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(path)


def load(folder, cache, scale=2, **options):
    return load_pairs(Folder(folder), scale, progress=Silent(), cache=cache, **options)


def entries(cache):
    return sorted(path for path in cache.folder.rglob("*") if path.is_file())


def assert_equal_pairs(one, other):
    assert [pair.name for pair in one] == [pair.name for pair in other]
    for mine, theirs in zip(one, other, strict=True):
        assert np.array_equal(mine.lr, theirs.lr)
        assert np.array_equal(mine.hr, theirs.hr)
        assert mine.lr.dtype == theirs.lr.dtype


def test_pairs_of_the_cache_are_those_of_memory(folder, cache):
    assert_equal_pairs(load(folder, cache), load(folder, None))


def test_an_image_is_decoded_once(folder, cache, decoded):
    load(folder, cache)
    assert sorted(decoded) == ["0", "1", "2", "3", "4", "5"]
    assert_equal_pairs(load(folder, cache), load(folder, None))
    assert len(decoded) == 12  # the other six into memory


def test_pixels_cannot_be_written_to(folder, cache):
    pair = load(folder, cache)[0]
    with pytest.raises(ValueError, match="read-only"):
        pair.hr[0, 0, 0] = 1


def test_an_image_that_changes_is_decoded_again_and_no_other(folder, cache, decoded):
    load(folder, cache)
    decoded.clear()
    write(folder / "3.png", seed=30)
    assert_equal_pairs(load(folder, cache)[3:4], load(folder, None)[3:4])
    assert decoded[0] == "3"
    assert len(decoded) == 1 + 6


@pytest.mark.skipif(sys.platform == "win32", reason="needs the time of the last change")
def test_neither_an_equal_size_nor_an_old_time_hides_a_change(folder, cache, decoded):
    path = folder / "3.bmp"
    write(path, seed=8)
    (folder / "3.png").unlink()
    load(folder, cache)
    before = path.stat()
    decoded.clear()
    write(path, seed=9)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    load(folder, cache)
    assert decoded == ["3"]


@pytest.mark.parametrize("change", [{"scale": 3}, {"modcrop": 12}, {"alpha": "drop"}, {"deep": 1}])
def test_every_setting_has_pairs_of_its_own(folder, cache, decoded, change):
    load(folder, cache)
    load(folder, cache, **change)
    assert len(decoded) == 12


def test_work_that_is_interrupted_goes_on_where_it_was(folder, cache, decoded):
    class Impatient(Silent):
        def advance(self, **_):
            if len(decoded) == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_pairs(Folder(folder), 2, progress=Impatient(), cache=cache)
    assert len(decoded) == len(entries(cache)) == 4
    load(folder, cache)
    assert sorted(decoded) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_pair_is_there_whole_or_not_at_all(folder, cache, monkeypatch, error):
    def failing(*_):
        raise error

    monkeypatch.setattr(Path, "replace", failing)
    with pytest.raises(CacheError if error is OSError else error):
        load(folder, cache)
    assert entries(cache) == []


@pytest.mark.parametrize("damage", [b"", b"prunekit pair 1\n{", b"something else" * 100])
def test_what_is_damaged_counts_as_not_there(folder, cache, decoded, damage):
    load(folder, cache)
    for path in entries(cache):
        path.write_bytes(damage)
    decoded.clear()
    assert_equal_pairs(load(folder, cache), load(folder, None))
    assert len(decoded) == 12


@pytest.mark.parametrize("change", [lambda content: content[:-64], lambda content: content + b"x"])
def test_a_pair_of_another_length_counts_as_not_there(folder, cache, decoded, change):
    load(folder, cache)
    path = entries(cache)[0]
    path.write_bytes(change(path.read_bytes()))
    load(folder, cache)
    assert len(decoded) == 7


def test_a_pair_deleted_while_it_is_in_use_is_decoded_again(folder, cache):
    pairs, expected = load(folder, cache), load(folder, None)
    for path in entries(cache):
        path.unlink()
    assert_equal_pairs(pairs, expected)


def test_a_pair_deleted_whose_image_changed_is_refused(folder, cache):
    pairs = load(folder, cache)
    for path in entries(cache):
        path.unlink()
    write(folder / "2.png", seed=20)
    with pytest.raises(DataError, match="the files of '2' changed while they were in use"):
        pairs[2]


def test_an_image_that_changes_while_it_is_read_is_refused(folder, cache, monkeypatch):
    def meddling(files, options):
        arrays = decode(files, options)
        write(files.hr[0], seed=99, size=(20, 20))
        return arrays

    monkeypatch.setattr(pairs_module, "decode", meddling)
    with pytest.raises(DataError, match=r"6 of 6 .* changed while they were read"):
        load(folder, cache)


def test_another_process_gets_names_and_maps_the_same_pixels(folder, cache):
    pairs = load(folder, cache)
    sent = pickle.dumps(pairs)
    assert len(sent) < 4000
    assert_equal_pairs(pickle.loads(sent), pairs)  # noqa: S301 - our own


def test_16_bits_stay_16_bits(tmp_path, cache):
    plane = np.random.default_rng(0).integers(0, 65536, (13, 15), np.uint16)
    PIL.Image.fromarray(plane).save(tmp_path / "deep.png")
    (pair,) = load(tmp_path, cache, deep=True)
    assert pair.hr.dtype == pair.lr.dtype == np.uint16
    assert np.array_equal(pair.hr[..., 1], plane[:12, :14])
    assert load(tmp_path, cache)[0].hr.dtype == np.uint8


def test_clips_are_kept_whole(tmp_path, cache, decoded):
    (tmp_path / "clips" / "a").mkdir(parents=True)
    for frame in range(3):
        write(tmp_path / "clips" / "a" / f"{frame}.png", seed=frame)
    for _ in range(2):
        (clip,) = load_clips(Clips(tmp_path / "clips"), 2, progress=Silent(), cache=cache)
        assert clip.hr.shape == (3, 12, 18, 3)
    assert decoded == ["a"]


def test_what_was_not_used_for_longest_goes_first_and_nothing_in_use(folder, tmp_path):
    small = Cache(tmp_path / "cache", limit=4000)  # a pair is 512 + 192 + 704 bytes
    load_pairs(Folder(folder, ("0", "1")), 2, progress=Silent(), cache=small)
    old = entries(small)
    for age, path in enumerate(old):
        os.utime(path, (time.time() - 9000 - age,) * 2)
    load_pairs(Folder(folder, ("2", "3")), 2, progress=Silent(), cache=small)
    assert old[1] not in entries(small)
    assert small.size() <= 4000
    told = []

    class Told(Silent):
        def warn(self, message):
            told.append(message)

    load_pairs(Folder(folder), 2, progress=Told(), cache=small)
    assert len(entries(small)) == 6
    assert "holds 0.0 GiB where its limit is 0.0 GiB, since these images need as much" in told[0]


def test_a_pair_that_is_used_is_marked_so(folder, cache):
    load(folder, cache)
    for path in entries(cache):
        os.utime(path, (1000, 1000))
    load(folder, cache)
    assert all(time.time() - path.stat().st_mtime < 60 for path in entries(cache))


def test_what_a_killed_process_left_is_swept_after_a_day(folder, cache):
    load(folder, cache)
    new, old = (entries(cache)[0].parent / f".{name}.pair.x.aside" for name in ("new", "old"))
    new.touch()
    old.touch()
    os.utime(old, (1000, 1000))
    load(folder, cache)
    assert (new.exists(), old.exists()) == (True, False)


def test_a_folder_that_takes_no_files_is_told(folder, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match=r"cannot be kept in .*file: .*; name another folder by"):
        load(folder, Cache(tmp_path / "file"), skip_unreadable=True)


def test_processes_at_once_end_with_the_same_pairs(folder, cache):
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=load, args=(folder, cache)) for _ in range(2)]
    for other in others:
        other.start()
    mine = load(folder, cache)
    for other in others:
        other.join(120)
        assert other.exitcode == 0
    assert len(entries(cache)) == 6
    assert_equal_pairs(mine, load(folder, None))


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs a way to kill")
def test_a_killed_process_leaves_whole_pairs_and_the_next_goes_on(tmp_path, cache, decoded):
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(150):
        write(folder / f"{number}.png", seed=number, size=(90, 120))
    expected = load(folder, None)
    decoded.clear()
    for enough in (1, 40, 90):
        victim = multiprocessing.get_context("spawn").Process(target=load, args=(folder, cache))
        victim.start()
        while victim.is_alive() and len(list(cache.folder.rglob("*.pair"))) < enough:
            time.sleep(0.002)
        victim.kill()
        victim.join(60)
        whole = list(cache.folder.rglob("*.pair"))
        assert all(cache.read(path) is not None for path in whole)
    assert_equal_pairs(load(folder, cache), expected)
    assert len(decoded) == 150 - len(whole)


def test_the_folder_is_the_one_named_or_that_of_the_system(monkeypatch, tmp_path):
    monkeypatch.setenv("PRUNEKIT_CACHE", str(tmp_path / "named"))
    assert default_folder() == tmp_path / "named"
    monkeypatch.delenv("PRUNEKIT_CACHE")
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == tmp_path / "xdg" / "prunekit"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert default_folder() == tmp_path / ".cache" / "prunekit"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder() == tmp_path / "Library" / "Caches" / "prunekit"
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == tmp_path / "local" / "prunekit" / "Cache"


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch):
    def homeless():
        raise RuntimeError

    for name in ("PRUNEKIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(CacheError, match=r"no home folder .*; name a folder by PRUNEKIT_CACHE"):
        default_folder()
