"""Progress is a live bar on a terminal and few plain lines in a log."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from prunekit.cli.progress import PlainProgress, QuietProgress, RichProgress, open_progress


class Clock:
    """A clock that a test moves."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def console(width=80, *, terminal=False, **options):
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, **options)


def lines(shown):
    return shown.file.getvalue().splitlines()


def test_a_stage_in_a_log_is_two_lines(clock):
    shown = console()
    progress = PlainProgress(shown, clock)
    progress.start("train", 800)
    clock.now = 62.4
    progress.finish("loss 0.03")

    assert lines(shown) == ["train, 800 steps", "train: done in 1 min 02 s, loss 0.03"]


def test_a_log_gets_at_most_a_line_every_ten_seconds(clock):
    shown = console()
    progress = PlainProgress(shown, clock)
    progress.start("train", 100)
    for _ in range(100):
        clock.now += 0.25
        progress.advance(loss=0.125)
    progress.finish()

    assert lines(shown) == [
        "train, 100 steps",
        "train 40/100, loss 0.125, about 15 s left",
        "train 80/100, loss 0.125, about 5.0 s left",
        "train: done in 25 s",
    ]


def test_a_log_without_a_total_makes_no_estimate(clock):
    shown = console()
    progress = PlainProgress(shown, clock)
    progress.start("trace")
    clock.now = 11
    progress.advance()

    assert lines(shown) == ["trace", "trace 1"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.4, "59 s"), (59.6, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations_are_read_at_a_glance(seconds, text, clock):
    shown = console()
    progress = PlainProgress(shown, clock)
    progress.start("x")
    clock.now = seconds
    progress.finish()

    assert lines(shown)[-1] == f"x: done in {text}"


@pytest.mark.parametrize("kind", [PlainProgress, RichProgress])
def test_foreign_text_is_neither_markup_nor_more_than_a_line(kind, clock):
    shown = console(width=30, terminal=kind is RichProgress, color_system=None)
    progress = kind(shown, clock)
    progress.start("[red]stage[/red] \x1b[31m", 1)
    progress.advance()
    progress.finish("a [bold]long[/bold] note\nof two lines " + "x" * 60)
    progress.warn("[/nonsense] of two\nlines")

    text = shown.file.getvalue()
    assert "[red]stage[/red]" in text
    assert "note of two lines " + "x" * 60 in text
    assert "warning: [/nonsense] of two lines\n" in text
    assert "\x1b[31m" not in text


def test_a_terminal_shows_steps_figures_and_then_one_line(clock):
    shown = console(width=120, terminal=True, color_system=None)
    progress = RichProgress(shown, clock)
    progress.start("train", 3)
    progress.advance(loss=0.5)
    progress._bars.refresh()
    clock.now = 4
    progress.advance()
    progress._bars.refresh()
    progress.finish("3 steps")

    text = shown.file.getvalue()
    assert "1/3" in text
    assert "2/3" in text
    assert "loss 0.5" in text
    assert text.rstrip().endswith("done train  4.0 s  3 steps")


@pytest.mark.parametrize("width", [1, 10, 40, 69, 70, 200])
@pytest.mark.parametrize("total", [None, 0, 3])
def test_a_bar_fits_any_terminal(width, total, clock, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    shown = console(width, terminal=True)
    progress = RichProgress(shown, clock)
    progress.start("a stage with a long name", total)
    for step in range(5):
        clock.now = step
        progress.advance(loss=1 / (step + 1), psnr_y=34.123456)
        progress._bars.refresh()
    progress.start("the next stage before the first was finished")
    progress.finish()
    progress.close()

    assert "the next stage before the first was finished" in shown.file.getvalue()


def test_quiet_says_nothing_but_warnings():
    shown = console()
    progress = QuietProgress(shown)
    progress.start("train", 3)
    progress.advance(loss=1.0)
    progress.finish("done")
    assert lines(shown) == []
    progress.warn("look out")
    assert lines(shown) == ["warning: look out"]


def test_progress_goes_to_stderr_and_fits_where_it_goes(capsys):
    with open_progress(quiet=False) as progress:
        progress.start("trace")
    with open_progress(quiet=True) as quiet:
        quiet.start("trace")

    out, err = capsys.readouterr()
    assert out == ""
    assert err == "trace\n"
    assert isinstance(progress, PlainProgress)


def test_the_bar_is_taken_away_when_work_fails(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    opened = []

    def fail():
        with open_progress(quiet=False) as progress:
            opened.append(progress)
            progress.start("train", 3)
            message = "broken"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError, match="broken"):
        fail()
    assert isinstance(opened[0], RichProgress)
    assert opened[0]._bars is None
