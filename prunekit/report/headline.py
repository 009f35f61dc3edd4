"""What came out, in one sentence, and what a reader has to be warned of."""

from __future__ import annotations

__all__ = ["cautions", "headline"]

import math
from collections.abc import Iterator

from prunekit.measure.latency import Latency
from prunekit.report.content import BICUBIC, DENSE, SLIM, CrossCheck, Entry, Report
from prunekit.report.figures import number, signed, times

_SAME = 0.03  # relative; two latencies as near as this are called equal
_DISAGREE = 0.02  # relative; counters further apart than this are reported


def headline(report: Report) -> str:
    """Say in one sentence what the slim network saves and costs against the dense one."""
    dense, slim = report.entry(DENSE), report.entry(SLIM)
    gains = ", ".join(_gains(report, dense, slim)) if dense and slim else ""
    proven = _proven(report)
    if not gains and not proven:
        return "Nothing was compared with the dense network."
    sentence = "; ".join(filter(None, (gains, proven)))
    return f"{sentence[0].upper()}{sentence[1:]}."


def cautions(report: Report) -> tuple[str, ...]:
    """Return a sentence for everything in the figures that speaks against the result."""
    dense, slim, bicubic = (report.entry(name) for name in (DENSE, SLIM, BICUBIC))
    found = list(_proof_cautions(report))
    if slim and bicubic:
        found += _bicubic_cautions(slim, bicubic)
    if dense and slim:
        found += _latency_cautions(dense, slim)
    for check in report.cross_checks:
        found += _counter_cautions(check)
    return (*found, *_training_cautions(report))


def _gains(report: Report, dense: Entry, slim: Entry) -> Iterator[str]:
    if dense.macs and slim.macs is not None:
        yield _saving(slim.macs / dense.macs, "MACs")
    elif dense.params and slim.params is not None:
        yield _saving(slim.params / dense.params, "parameters")
    if report.sparsity:
        share = report.sparsity.zeros / max(1, report.sparsity.weights)
        yield f"{100 * share:.1f} % of the weights of convolutions and linear layers zero"
    if dense.latency and slim.latency:
        yield _speed(dense.latency, slim.latency)
    loss = _quality_change(dense, slim)
    if loss is not None:
        when = "after" if report.training else "without"
        yield f"{signed(loss, 2)} dB {report.psnr_label} {when} fine-tuning"


def _saving(share: float, what: str) -> str:
    percent = abs(100 * (1 - share))
    if percent < 0.5:  # noqa: PLR2004 - it would read 0 %
        return f"as many {what} as before"
    return f"{percent:.0f} % {'fewer' if share < 1 else 'more'} {what}"


def _speed(before: Latency, after: Latency) -> str:
    ratio = _speedup(before, after)
    if abs(ratio - 1) < _SAME:
        return "equally fast"
    return f"{times(ratio, 1)} faster" if ratio > 1 else f"{times(1 / ratio, 1)} slower"


def _speedup(before: Latency, after: Latency) -> float:
    """Return how many times faster; 1 where the clock saw nothing."""
    if before.median_ms <= 0 or after.median_ms <= 0:
        return 1.0
    return before.median_ms / after.median_ms


def _quality_change(dense: Entry, slim: Entry) -> float | None:
    if dense.quality is None or slim.quality is None:
        return None
    loss = slim.quality.psnr - dense.quality.psnr
    return loss if math.isfinite(loss) else None


def _proven(report: Report) -> str:
    if report.proof is None:
        return _proven_masks(report)
    minus = f"the dense network minus {' and '.join(_removed(report))}"
    if not report.proof.passed:
        return f"not equal to {minus}"
    return f"{'before fine-tuning ' if report.training else ''}proven equal to {minus}"


def _removed(report: Report) -> Iterator[str]:
    """Say how many blocks and channels left; those of the blocks are not counted."""
    blocks = len(report.blocks)
    if blocks:
        yield f"{blocks:,} block{'' if blocks == 1 else 's'}"
    stay = [group for group in report.groups if group.width_after or not blocks]
    channels = sum(group.width_before - group.width_after for group in stay)
    if channels or not blocks:
        yield f"{channels:,} channel{'' if channels == 1 else 's'}"


def _proven_masks(report: Report) -> str:
    if report.sparsity is None or report.sparsity.proof is None:
        return ""
    zeros = f"the dense network with {report.sparsity.proof.zeros:,} weights set to zero"
    return f"{'before fine-tuning ' if report.training else ''}proven equal to {zeros}"


def _proof_cautions(report: Report) -> Iterator[str]:
    if report.proof is not None and not report.proof.passed:
        yield (
            "The slim network does not compute what the dense one does without the removed "
            f"channels: outputs differ by up to {report.proof.max_error:.2g} where rounding "
            f"allows {report.proof.limit:.2g}."
        )


def _bicubic_cautions(slim: Entry, bicubic: Entry) -> Iterator[str]:
    if slim.quality is None or bicubic.quality is None:
        return
    ahead = slim.quality.psnr - bicubic.quality.psnr
    if ahead < 0:
        yield (
            f"The slim network is {number(-ahead, 2)} dB below bicubic interpolation, "
            "which needs no network."
        )


def _latency_cautions(dense: Entry, slim: Entry) -> Iterator[str]:
    before, after = dense.latency, slim.latency
    if before is None or after is None:
        return
    ratio = _speedup(before, after)
    if abs(ratio - 1) >= _SAME and _overlap(before, after):
        yield (
            f"The latencies of dense ({_span(before)}) and slim ({_span(after)}) overlap: "
            "the difference may be noise."
        )
    if dense.macs and slim.macs:
        promised = dense.macs / slim.macs
        if promised > 1 + _SAME and ratio - 1 < (promised - 1) / 2:
            yield (
                f"MACs promise {times(promised, 1)}, the clock shows {times(ratio, 1)}: "
                "on this machine the time goes elsewhere."
            )


def _overlap(first: Latency, second: Latency) -> bool:
    return first.min_ms <= second.max_ms and second.min_ms <= first.max_ms


def _span(latency: Latency) -> str:
    digits = 1 if latency.max_ms < 100 else 0  # noqa: PLR2004
    return f"{number(latency.min_ms, digits)} to {number(latency.max_ms, digits)} ms"


def _counter_cautions(check: CrossCheck) -> Iterator[str]:
    if not check.results or not check.results[0].macs:
        return
    own, macs = check.results[0].counter, check.results[0].macs
    for other in check.results[1:]:
        if other.macs is not None and abs(other.macs - macs) > _DISAGREE * macs:
            yield (
                f"{other.counter} counts {times(other.macs / macs, 2)} the MACs that {own} counts "
                f"for the {check.network} network."
            )


def _training_cautions(report: Report) -> Iterator[str]:
    for curve in report.training:
        if not all(math.isfinite(loss) for loss in curve.loss):
            yield f"The loss of stage {curve.stage} was not finite at some point."
        elif len(curve.loss) > 1 and curve.loss[-1] > curve.loss[0]:
            yield (
                f"The loss of stage {curve.stage} rose from {curve.loss[0]:.4g} to "
                f"{curve.loss[-1]:.4g}."
            )
