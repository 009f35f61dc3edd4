"""The benchmark of distillation: arms that differ in the teacher alone, and runs that go on."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace

import pytest

from benchmarks import distillation
from benchmarks.distillation import (
    ARMS,
    FULL,
    SMALL,
    Bench,
    Settings,
    earlier,
    row_name,
    summary,
)
from prunekit.nets import EDSR
from prunekit.train.options import TrainOptions
from tests.train.test_cached_teacher import PROBE, SIZES, Watched
from tests.train.test_finetune import make_pairs


@pytest.fixture
def bench():
    pairs = make_pairs(scale=2)
    settings = SMALL(images="tiny", steps=2, threads=1, patch_size=16, batch_size=2)
    return Bench(
        settings, EDSR(2, 8, 2), EDSR(2, 4, 2), ("body.0", "body.1"), pairs, {"Set5": pairs}
    )


@pytest.mark.parametrize("kind", [SMALL, FULL])
def test_arms_differ_in_the_teacher_alone(kind):
    settings = kind(images="x", steps=30, threads=1)
    plain = settings.options(None)
    for distill in ARMS.values():
        options = settings.options(distill)
        assert options == TrainOptions(**{**vars_of(plain), "distill": distill})


def vars_of(options):
    return {name: value for name, value in vars(options).items() if name != "losses"}


def test_every_arm_trains_otherwise_and_the_cached_one_runs_its_teacher_beforehand(bench):
    rows = {arm: bench.run(arm, 0) for arm in ARMS}
    assert len({row["loss"][0] for row in rows.values()}) == len(ARMS)
    again = bench.run("l1", 0)
    assert [again[key] for key in ("psnr_y", "loss")] == [rows["l1"][k] for k in ("psnr_y", "loss")]
    for arm, sizes in (("l1", [(16, 16)] * 2), ("cached", SIZES)):
        teacher = Watched(bench.dense)
        replace(bench, dense=teacher).run(arm, 0)
        assert [size for size in teacher.sizes if size != PROBE] == sizes


def row(arm, seed, psnr_y):
    return {
        "name": row_name(arm, seed),
        "arm": arm,
        "seed": seed,
        "psnr_y": {"Set5": psnr_y},
        "processor_seconds": 2.0,
        "teacher_seconds": 0.0,
    }


def test_gains_are_those_of_the_same_seed():
    found = [row("none", 0, 30.0), row("none", 1, 31.0), row("l1", 0, 30.5), row("l1", 1, 30.75)]
    table = summary({each["name"]: each for each in found}, [0, 1])
    assert list(table) == ["none", "l1"]
    assert table["none"]["psnr_y"]["Set5"] == {"mean": 30.5, "min": 30.0, "max": 31.0}
    assert table["l1"]["gain"]["Set5"] == {"mean": 0.125, "min": -0.25, "max": 0.5}
    alone = summary({each["name"]: each for each in found[2:]}, [0, 1])
    assert alone["l1"]["gain"]["Set5"] is None


class Trainings:
    """Takes the place of training, keeps what was asked for, and may stop."""

    def __init__(self):
        self.names, self.stop_after = [], None

    def run(self, bench, arm, seed):
        if len(self.names) == self.stop_after:
            raise KeyboardInterrupt
        self.names.append(row_name(arm, seed))
        code, settings = distillation.CODE.code, asdict(bench.settings)
        return {**row(arm, seed, 30.0), "code": code, "settings": settings, "seconds": 1.0}


@pytest.fixture
def trainings(monkeypatch, bench, tmp_path):
    made = Trainings()

    def trained(bench, arm, seed):
        return made.run(bench, arm, seed)

    (tmp_path / "benchmarks" / "Set5" / "HR").mkdir(parents=True)
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    monkeypatch.setattr(Bench, "run", trained)
    monkeypatch.setattr(
        distillation, "prepare", lambda settings, *_: replace(bench, settings=settings)
    )
    return made


def main(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["distillation", *map(str, arguments)])
    distillation.main()


def test_a_run_that_was_stopped_goes_on_with_what_is_missing(trainings, monkeypatch, tmp_path):
    file = tmp_path / "found.json"
    trainings.stop_after = 7
    with pytest.raises(KeyboardInterrupt):
        main(monkeypatch, "--json", file, "--seeds", 0, 1)
    trainings.stop_after = None
    for _ in range(2):
        main(monkeypatch, "--json", file, "--seeds", 0, 1)
        assert trainings.names == [row_name(arm, seed) for seed in (0, 1) for arm in ARMS]
    content = json.loads(file.read_text())
    assert set(content["summary"]) == set(ARMS)
    settings = Settings(**content["settings"])
    assert len(earlier(file, settings)) == 10
    assert earlier(file, replace(settings, steps=601)) == {}


def test_where_there_are_no_images_it_is_skipped_with_the_reason(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PRUNEKIT_DATA", str(tmp_path))
    main(monkeypatch)
    assert capsys.readouterr().out.startswith(f"skipped: there is no Set5 in {tmp_path}; name")
