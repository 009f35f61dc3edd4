"""The tables of a report after the main one, each None if there is nothing to say."""

from __future__ import annotations

__all__ = [
    "block_table",
    "counter_remarks",
    "crop_table",
    "cross_check_table",
    "environment_table",
    "file_table",
    "frozen_table",
    "group_table",
    "image_table",
    "proof_table",
    "sparsity_table",
    "stage_table",
    "training_table",
]

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from prunekit.measure.scores import ClipScore, ImageScore
from prunekit.report.content import CrossCheck, GroupRow, Report, SparsityRow
from prunekit.report.figures import decibel, duration, number, shape, times
from prunekit.report.table import Bar, Cell, Column, Table
from prunekit.train.curve import TrainingCurve

_Score = ImageScore | ClipScore

_ARROW = "\N{RIGHTWARDS ARROW}"

_COUNTERS = {
    "prunekit": (
        "prunekit counts convolutions, linear layers and matrix products (attention included) as "
        "they are executed; it leaves out biases, activations, normalisation and resizing."
    ),
    "fvcore": (
        "fvcore counts the same in a traced graph, and normalisation and some resizing besides; "
        "it leaves out every operator that it names in the remarks."
    ),
    "thop": (
        "thop counts by type of module; it leaves out whatever is not a module of its list, such "
        "as functional calls, matrix products between activations and bare parameters."
    ),
}


def crop_table(report: Report) -> Table | None:
    """Return the PSNR of every picture of every crop."""
    names = dict.fromkeys(
        picture.name
        for crop in report.crops
        for picture in crop.pictures
        if picture.psnr is not None
    )
    if not names:
        return None
    rows = []
    for crop in report.crops:
        figures = {picture.name: picture.psnr for picture in crop.pictures}
        place = Cell(f"{crop.size}x{crop.size} at ({crop.left}, {crop.top})")
        rows.append((Cell(crop.image), place, *(Cell(decibel(figures.get(n))) for n in names)))
    return Table(
        "Crops",
        f"{report.psnr_label} of the crops in dB",
        (Column("image", "name"), Column("pixels", "text"), *(Column(name) for name in names)),
        tuple(rows),
    )


def image_table(report: Report) -> Table | None:
    """Return the PSNR of every image or clip under every entry, with SSIM beside it."""
    entries = [entry for entry in report.entries if entry.quality and entry.quality.images]
    qualities = [entry.quality for entry in entries if entry.quality]
    scores = [_by_name(quality.clips or quality.images) for quality in qualities]
    what = "clip" if any(quality.clips for quality in qualities) else "image"
    names = dict.fromkeys(name for figures in scores for name in figures)
    if not names:
        return None
    return Table(
        f"{what.capitalize()} by {what}",
        f"{report.psnr_label} in dB of every {what}, with SSIM ({report.protocol})",
        (Column(what, "name"), *(Column(entry.name) for entry in entries)),
        tuple(
            (Cell(name), *(_score_cell(figures.get(name)) for figures in scores)) for name in names
        ),
    )


def group_table(report: Report) -> Table | None:
    """Return every group with its width before and after, drawn to one scale."""
    if not report.groups:
        return None
    widest = max(group.width_before for group in report.groups)
    return Table(
        "What was removed",
        "Groups: channels that leave together, and their width before and after",
        (
            Column("group", "name"),
            Column("unit", "text"),
            Column("width"),
            Column("removed"),
            Column("axes"),
            Column("share of params"),
        ),
        tuple(_group_row(group, widest) for group in report.groups),
    )


def block_table(report: Report) -> Table | None:
    """Return the blocks that were removed whole."""
    if not report.blocks:
        return None
    return Table(
        "Blocks that were removed",
        "Modules in whose place the input is handed on as it is",
        (Column("block", "name"), Column("params"), Column("share of params")),
        tuple(
            (Cell(row.name), Cell(f"{row.params:,}"), Cell(f"{100 * row.params_share:.1f} %"))
            for row in report.blocks
        ),
    )


def frozen_table(report: Report) -> Table | None:
    """Return what had to stay, and why."""
    if not report.frozen:
        return None
    return Table(
        "What had to stay",
        "Frozen: axes that must stay as they are",
        (
            Column("reason", "text"),
            Column("operator", "name"),
            Column("module", "name"),
            Column("axes"),
        ),
        tuple(
            (Cell(row.reason), Cell(row.operator), Cell(row.module), Cell(f"{row.axes:,}"))
            for row in report.frozen
        ),
    )


def sparsity_table(report: Report) -> Table | None:
    """Return every weight that could be masked, and how much of it is zero."""
    if report.sparsity is None:
        return None
    columns = (
        Column("weight", "name"),
        Column("shape", "text"),
        Column("weights"),
        Column("zero"),
        Column("pattern", "text"),
        Column("remarks", "text"),
    )
    return Table(
        "What is zero",
        "Weights of convolutions and linear layers, and the share that is masked",
        columns,
        tuple(
            (
                Cell(row.name),
                Cell(shape(row.shape)),
                Cell(f"{row.weights:,}"),
                _zero_cell(row),
                Cell(row.pattern),
                Cell(row.reason),
            )
            for row in report.sparsity.rows
        ),
    )


def _zero_cell(row: SparsityRow) -> Cell:
    share = row.zeros / row.weights if row.weights else 0.0
    return Cell(f"{100 * share:.1f} %", bar=Bar(1 - share, outline=1.0), note=f"{row.zeros:,}")


def file_table(report: Report) -> Table | None:
    """Return how many bytes the network takes in several kinds of file."""
    if report.sparsity is None or not report.sparsity.files:
        return None
    files = report.sparsity.files
    first = files[0].bytes
    columns = (Column("file", "text"), Column("bytes"), Column("share"), Column("remarks", "text"))
    return Table(
        "On disk",
        "Bytes of slim.safetensors, plan included, and of what it could be instead",
        columns,
        tuple(
            (
                Cell(file.what),
                Cell("" if file.bytes is None else f"{file.bytes:,}"),
                Cell(
                    "" if file.bytes is None or not first else f"{100 * file.bytes / first:.1f} %"
                ),
                Cell(file.note),
            )
            for file in files
        ),
    )


def proof_table(report: Report) -> Table | None:
    """Return what the slim network was compared with, and how far apart they were."""
    proof = report.proof
    if proof is None:
        return None
    rows = (
        ("compared", "the slim network, and the dense one with the removed channels set to zero"),
        ("result", "equal up to rounding" if proof.passed else "not equal"),
        ("largest difference of an output value", f"{proof.max_error:.3g}"),
        ("what rounding allows there", f"{proof.limit:.3g}"),
        ("computed in", proof.dtype),
        ("inputs", ", ".join(shape(sizes) for sizes in proof.input_shapes)),
        ("again with generic weights, in float64", _generic(proof.generic_error)),
    )
    return _facts("Proof", "Made after surgery and before any fine-tuning", rows)


def _generic(error: float | None) -> str:
    if error is None:
        return "not run, since the network does not take them"
    return f"error {error:.1e} of what switching the channels off changes"


def training_table(report: Report) -> Table | None:
    """Return what every training did, in figures."""
    if not report.training:
        return None
    headings = ["steps", "batch", "LR patch", "images", "first loss", "last loss", "time"]
    caption = "What every training saw, and its loss at the first and the last point of the curve"
    looked = next((c.protocol for c in report.training if c.validation and c.protocol), None)
    if looked is not None:
        headings.append(f"{looked.label} (dB)")
        caption += f"; at its last look at held-out images {looked.label} ({looked}), and the best"
    return Table(
        "Fine-tuning",
        caption,
        (Column("stage", "text"), *(Column(heading) for heading in headings)),
        tuple(
            (
                Cell(str(curve.stage)),
                Cell(f"{curve.steps[-1]:,}" if curve.steps else "0"),
                Cell(str(curve.batch_size)),
                Cell(shape((curve.patch_size, curve.patch_size))),
                Cell(f"{curve.images:,}"),
                Cell(f"{curve.loss[0]:.4g}" if curve.loss else ""),
                Cell(f"{curve.loss[-1]:.4g}" if curve.loss else ""),
                Cell(duration(curve.seconds)),
                *((_look_cell(curve),) if looked is not None else ()),
            )
            for curve in report.training
        ),
    )


def _look_cell(curve: TrainingCurve) -> Cell:
    """Show what the last look found, and the best one if that is another."""
    if not curve.validation:
        return Cell()
    last, best = curve.validation[-1], max(curve.validation, key=lambda point: point.psnr)
    note = f"{decibel(best.psnr)} at step {best.step:,}" if best.psnr > last.psnr else ""
    return Cell(decibel(last.psnr), note=note)


def cross_check_table(report: Report) -> Table | None:
    """Return what every counter says of every network, beside the first counter."""
    if not any(check.results for check in report.cross_checks):
        return None
    sizes = dict.fromkeys(shape(check.input_shape) for check in report.cross_checks)
    return Table(
        "Cost, counted again",
        f"MACs and parameters by other counters, at an input of {' and '.join(sizes)}",
        (
            Column("network", "text"),
            Column("counter", "text"),
            Column("MACs"),
            Column("params"),
            Column("remarks", "text"),
        ),
        tuple(row for check in report.cross_checks for row in _counter_rows(check)),
    )


def counter_remarks(report: Report) -> tuple[str, ...]:
    """Say of every counter in the table what it counts and what it does not."""
    names = dict.fromkeys(r.counter for check in report.cross_checks for r in check.results)
    return tuple(_COUNTERS[name] for name in names if name in _COUNTERS)


def stage_table(report: Report) -> Table | None:
    """Return how long every stage of the run took, and the whole."""
    if not report.seconds:
        return None
    longest = max(seconds for _, seconds in report.seconds) or 1
    rows = [
        (Cell(stage), Cell(duration(seconds), bar=Bar(seconds / longest)))
        for stage, seconds in report.seconds
    ]
    total = sum(seconds for _, seconds in report.seconds)
    rows.append((Cell("all"), Cell(duration(total))))
    columns = (Column("stage", "text"), Column("took"))
    return Table("Time", "How long every stage of the run took", columns, tuple(rows))


def environment_table(report: Report) -> Table | None:
    """Return the software and the machine, nested values under dotted keys."""
    rows = tuple(_flat(report.environment))
    caption = "The software and the machine"
    return _facts("Environment", caption, rows, kind="name") if rows else None


def _facts(
    title: str,
    caption: str,
    rows: Sequence[tuple[str, str]],
    *,
    kind: Literal["text", "name"] = "text",
) -> Table:
    cells = tuple((Cell(key), Cell(value)) for key, value in rows)
    return Table(title, caption, (Column("what", "text"), Column("value", kind)), cells)


def _by_name(scores: Sequence[_Score]) -> dict[str, _Score]:
    return {score.name: score for score in scores}


def _score_cell(score: _Score | None) -> Cell:
    return Cell() if score is None else Cell(decibel(score.psnr), note=number(score.ssim, 4))


def _group_row(group: GroupRow, widest: int) -> tuple[Cell, ...]:
    before, after = group.width_before, group.width_after
    removed = (before - after) / before if before else 0.0
    width = f"{before:,} {_ARROW} {after:,}" if after != before else f"{before:,}"
    bar = Bar(after / widest, outline=before / widest) if widest else None
    return (
        Cell(group.name),
        Cell(group.kind),
        Cell(width, bar=bar),
        Cell(f"{100 * removed:.0f} %"),
        Cell(f"{group.axes:,}"),
        Cell(f"{100 * group.params_share:.1f} %"),
    )


def _counter_rows(check: CrossCheck) -> Iterator[tuple[Cell, ...]]:
    own = check.results[0] if check.results else None
    for result in check.results:
        assert own is not None
        yield (
            Cell(check.network),
            Cell(result.counter),
            _checked(result.macs, None if result is own else own.macs),
            _checked(result.params, None if result is own else own.params),
            Cell(result.note),
        )


def _checked(value: int | None, own: int | None) -> Cell:
    if value is None:
        return Cell()
    return Cell(f"{value:,}", note=times(value / own, 3) if own else "")


def _flat(values: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            yield f"{prefix}{key}", ", ".join(map(str, value)) or "none"
        else:
            yield f"{prefix}{key}", "none" if value is None else str(value)
