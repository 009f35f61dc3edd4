"""Drawings as plain geometry, in the user units of an SVG; the template only strokes them."""

from __future__ import annotations

__all__ = [
    "CostBar",
    "CurvePlot",
    "Mark",
    "ScatterPlot",
    "Tick",
    "cost_bars",
    "curve_plots",
    "scatter_plot",
]

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from prunekit.report.content import BICUBIC, DENSE, SLIM, SLIM_BEFORE, Entry, Report
from prunekit.report.figures import Unit, common_unit, decimals, number
from prunekit.train.curve import TrainingCurve

_WIDTH, _HEIGHT = 480, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 468, 24, 256
_LABEL_HEIGHT = 17
_CURVE_HEIGHT, _CURVE_BOTTOM = 210, 168
_MOST_TICKS = 6
_LOG_FROM = 20.0  # largest over smallest value from which a loss is drawn on a log scale
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Tick:
    """A line of the grid and what is written at it."""

    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A network in the scatter plot."""

    name: str
    x: float
    y: float
    label_y: float  # moved away from its neighbours
    before_point: bool  # the label lies left of the point
    figures: str


@dataclass(frozen=True, kw_only=True)
class _Plot:
    """A field with a grid: its edges and ticks, and what a reader who sees nothing is told."""

    width: int
    height: int
    left: int
    right: int
    bottom: int
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    description: str


@dataclass(frozen=True, kw_only=True)
class ScatterPlot(_Plot):
    """PSNR over MACs, and the way that pruning and fine-tuning went."""

    x_heading: str
    y_heading: str
    marks: tuple[Mark, ...]
    path: str  # from dense by way of slim before fine-tuning to slim
    floor: Tick | None  # bicubic interpolation, which has no MACs


@dataclass(frozen=True, kw_only=True)
class CurvePlot(_Plot):
    """One quantity over the steps of a training."""

    heading: str
    runs: tuple[str, ...]  # polylines; a value that is not finite parts them


@dataclass(frozen=True)
class CostBar:
    """What of a cost is left, dense being 1."""

    heading: str
    figures: str  # before and after
    share: float
    length: float  # of the drawing, 0 to 1; less than the share where slim costs more
    outline: float


def scatter_plot(report: Report) -> ScatterPlot | None:
    """Draw PSNR over MACs; None with fewer than two networks that have both."""
    places = [(e, e.macs, _psnr(e)) for e in report.entries]
    points = [(e, macs, db) for e, macs, db in places if macs is not None and db is not None]
    if len(points) < 2:  # noqa: PLR2004
        return None
    bicubic = report.entry(BICUBIC)
    floor = _psnr(bicubic) if bicubic and bicubic.macs is None else None
    unit = common_unit([macs for _, macs, _ in points])
    xs = [macs / unit.factor for _, macs, _ in points]
    heights = [db for _, _, db in points] + ([] if floor is None else [floor])
    x = _Axis.around([0.0, *xs], _LEFT, _RIGHT)
    y = _Axis.around(heights, _BOTTOM, _TOP)
    marks = [
        _mark(entry, x.place(across), y.place(db), db)
        for (entry, _, db), across in zip(points, xs, strict=True)
    ]
    return ScatterPlot(
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        bottom=_BOTTOM,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        x_heading=f"MACs ({unit.prefix})" if unit.prefix else "MACs",
        y_heading=f"{report.psnr_label} (dB)",
        marks=_spread(marks),
        path=_path(marks),
        floor=None if floor is None else Tick(y.place(floor), f"{BICUBIC} {number(floor, 2)} dB"),
        description=f"{report.psnr_label} over MACs. "
        + "; ".join(
            f"{entry.name}: {number(across, 1)} {unit.prefix}, {number(db, 2)} dB"
            for (entry, _, db), across in zip(points, xs, strict=True)
        ),
    )


def cost_bars(report: Report) -> tuple[CostBar, ...]:
    """Draw what is left of the parameters, the MACs and the latency."""
    dense, slim = report.entry(DENSE), report.entry(SLIM)
    if dense is None or slim is None:
        return ()
    figures: tuple[tuple[str, str, Callable[[Entry], float | None]], ...] = (
        ("parameters", "", lambda entry: entry.params),
        ("MACs", "", lambda entry: entry.macs),
        ("latency", "s", lambda entry: entry.latency.median_ms / 1000 if entry.latency else None),
    )
    pairs = [(name, unit, figure(dense), figure(slim)) for name, unit, figure in figures]
    known = [(n, unit, b, a) for n, unit, b, a in pairs if b and a is not None]
    longest = max([1.0, *(after / before for _, _, before, after in known)])
    return tuple(
        CostBar(
            name,
            _from_to(before, after, unit),
            after / before,
            after / before / longest,
            1 / longest,
        )
        for name, unit, before, after in known
    )


def curve_plots(curve: TrainingCurve) -> tuple[CurvePlot, ...]:
    """Draw the loss and the learning rate over the steps."""
    quantities = (("loss", curve.loss), ("learning rate", curve.learning_rate))
    drawn = (_curve(name, curve.steps, values) for name, values in quantities)
    return tuple(plot for plot in drawn if plot is not None)


@dataclass(frozen=True)
class _Axis:
    """From values to user units, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[Tick, ...] = ()
    log: bool = False

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        """Hold all values between two round numbers."""
        low, high = min(values), max(values)
        if low == high:
            low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
        step = _round_step((high - low) / (_MOST_TICKS - 2))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        bare = cls(first * step, last * step, start, end)
        digits = max(0, -math.floor(math.log10(step) + 1e-9) + (step / 10 ** _power(step) == 2.5))  # noqa: PLR2004
        labels = [(i * step, number(i * step, digits)) for i in range(first, last + 1)]
        if digits > 3:  # noqa: PLR2004 - such as a learning rate
            power = _power(last * step)
            labels = [(at, f"{at / 10.0**power:.3g}e{power}" if at else "0") for at, _ in labels]
        return replace(bare, ticks=tuple(Tick(bare.place(at), text) for at, text in labels))

    @classmethod
    def logarithmic(cls, values: Sequence[float], start: float, end: float) -> _Axis:
        """Hold all values, which are positive, between two of 1, 2 and 5 times a power of ten."""
        powers = range(_power(min(values)), _power(max(values)) + 2)
        marks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        low = max(mark for mark in marks if mark <= min(values) * (1 + 1e-9))
        high = min(mark for mark in marks if mark >= max(values) * (1 - 1e-9))
        bare = cls(low, high, start, end, log=True)
        shown = [mark for mark in marks if low <= mark <= high]
        while len(shown) > _MOST_TICKS:
            shown = shown[::2]
        return replace(bare, ticks=tuple(Tick(bare.place(at), f"{at:.3g}") for at in shown))

    def place(self, value: float) -> float:
        """Return where a value lies."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        share = ((math.log(value) if self.log else value) - low) / (high - low or 1)
        return round(self.start + share * (self.end - self.start), 2)


def _power(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)


def _round_step(step: float) -> float:
    """Return the next 1, 2, 2.5 or 5 times a power of ten."""
    scale = 10.0 ** _power(step)
    return next(nice * scale for nice in _STEPS if nice * scale >= step * (1 - 1e-9))


def _psnr(entry: Entry) -> float | None:
    value = entry.quality.psnr if entry.quality else None
    return value if value is not None and math.isfinite(value) else None


def _from_to(before: float, after: float, unit: str) -> str:
    """Write two figures in one unit, such as `1.37 to 0.61 M`."""
    if unit == "s":
        scale = Unit("ms", 1e-3) if max(before, after) < 1 else Unit("s", 1)
    else:
        scale = common_unit([before, after])
    figures = [before / scale.factor, after / scale.factor]
    digits = decimals(figures) if scale.prefix else 0
    return " to ".join(number(figure, digits) for figure in figures) + f" {scale.prefix}".rstrip()


def _mark(entry: Entry, x: float, y: float, db: float) -> Mark:
    left = x > (_LEFT + _RIGHT) / 2
    return Mark(entry.name, x, y, y, before_point=left, figures=f"{number(db, 2)} dB")


def _spread(marks: Sequence[Mark]) -> tuple[Mark, ...]:
    """Move labels apart that would lie on each other, downwards, and back up at the bottom."""
    moved: list[Mark] = []
    for side in (False, True):
        group = sorted((m for m in marks if m.before_point is side), key=lambda m: m.y)
        heights = [mark.y for mark in group]
        for i in range(1, len(heights)):
            heights[i] = max(heights[i], heights[i - 1] + _LABEL_HEIGHT)
        lowest = _BOTTOM - _LABEL_HEIGHT / 2
        for i in reversed(range(len(heights))):
            heights[i] = min(heights[i], lowest)
            lowest = heights[i] - _LABEL_HEIGHT
        moved += [replace(m, label_y=round(h, 2)) for m, h in zip(group, heights, strict=True)]
    return tuple(moved)


def _path(marks: Sequence[Mark]) -> str:
    places = {mark.name: f"{mark.x},{mark.y}" for mark in marks}
    return " ".join(places[name] for name in (DENSE, SLIM_BEFORE, SLIM) if name in places)


def _curve(name: str, steps: Sequence[int], values: Sequence[float]) -> CurvePlot | None:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:  # noqa: PLR2004
        return None
    x = _Axis.around([0.0, *steps], _LEFT, _RIGHT)
    log = min(finite) > 0 and max(finite) / min(finite) > _LOG_FROM and name == "loss"
    if log:
        y = _Axis.logarithmic(finite, _CURVE_BOTTOM, _TOP)
    else:
        y = _Axis.around([0.0, *finite], _CURVE_BOTTOM, _TOP)
    return CurvePlot(
        width=_WIDTH,
        height=_CURVE_HEIGHT,
        left=_LEFT,
        right=_RIGHT,
        bottom=_CURVE_BOTTOM,
        x_ticks=x.ticks,
        y_ticks=y.ticks,
        heading=f"{name} (log scale)" if log else name,
        runs=_runs([(x.place(s), v, y) for s, v in zip(steps, values, strict=True)]),
        description=f"{name} over {steps[-1]:,} steps: from {finite[0]:.3g} to {finite[-1]:.3g}",
    )


def _runs(points: Sequence[tuple[float, float, _Axis]]) -> tuple[str, ...]:
    runs: list[list[str]] = [[]]
    for x, value, axis in points:
        if math.isfinite(value):
            runs[-1].append(f"{x},{axis.place(value)}")
        elif runs[-1]:
            runs.append([])
    return tuple(" ".join(run) for run in runs if run)
