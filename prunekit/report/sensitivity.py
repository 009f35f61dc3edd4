"""What was measured of the sensitivity of a network: a table, a plot, one page."""

from __future__ import annotations

__all__ = ["drop_table", "to_sensitivity_page", "to_sensitivity_plot"]

import io
from collections.abc import Sequence

import jinja2
import matplotlib as mpl
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from prunekit.plan import Curve, Sensitivity
from prunekit.report.figures import printable
from prunekit.version import __version__

_SHARES = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75)
_NAMED = 10
"""Curves that have a colour and a name in the plot, those that lose most first."""
_FLAT = 0.1
"""dB up to which the plot is linear; logarithmic beyond, as curves differ a hundredfold."""
_ROUNDING = 1e-9


def drop_table(found: Sensitivity) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows: dB lost by share removed, the most sensitive group first.

    A share between two measured widths is interpolated; beyond the narrowest there is no figure.
    """
    headings = ("group", "width", *(f"{share:.1%}" for share in _SHARES))
    return headings, [
        (_name(curve), str(curve.width), *(_cell(curve, share, found.dense) for share in _SHARES))
        for curve in _most_sensitive_first(found)
    ]


def to_sensitivity_page(name: str, found: Sensitivity) -> str:
    """Write one HTML page that needs nothing but itself."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("prunekit.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    headings, rows = drop_table(found)
    return environment.get_template("sensitivity.html.j2").render(
        name=printable(name),
        version=__version__,
        found=found,
        headings=headings,
        rows=rows,
        unfit=[(printable(group), printable(why)) for group, why in sorted(found.unfit.items())],
        plot=Markup(to_sensitivity_plot(found)),  # noqa: S704 (drawn here, names are escaped)
    )


def to_sensitivity_plot(found: Sensitivity) -> str:
    """Draw dB lost over the share of units removed as an SVG; the same for the same curves."""
    with mpl.rc_context(
        {
            "svg.hashsalt": "prunekit",
            "svg.fonttype": "none",
            "text.parse_math": False,  # names are no formulas
        }
    ):
        figure = Figure(figsize=(8.0, 4.4), layout="constrained")
        axes = figure.subplots()
        curves = _most_sensitive_first(found)
        for number, curve in reversed(list(enumerate(curves))):
            named = number < _NAMED
            axes.plot(
                np.array((0, *curve.removed)) / curve.width,
                (0.0, *curve.drops(found.dense)),
                color=f"C{number % 10}" if named else "0.75",
                marker="o" if named else None,
                markersize=3,
                linewidth=1.4 if named else 0.8,
                label=_name(curve) if named else "_",
            )
        axes.set_xlabel("share of the group that is removed")
        axes.set_ylabel("PSNR-Y lost (dB)")
        axes.set_yscale("symlog", linthresh=_FLAT, subs=range(2, 10))
        axes.yaxis.set_major_formatter(lambda drop, _: f"{drop:g}")
        axes.grid(visible=True, color="0.9")
        axes.xaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
        handles, labels = axes.get_legend_handles_labels()
        if handles:
            figure.legend(
                handles[::-1],
                labels[::-1],
                loc="outside right upper",
                fontsize="small",
                frameon=False,
            )
        drawing = io.StringIO()
        figure.savefig(drawing, format="svg", metadata={"Date": None})
    text = drawing.getvalue()
    return text[text.index("<svg") :]  # without the head of an XML file


def _most_sensitive_first(found: Sensitivity) -> list[Curve]:
    """By what half of the group costs, or as much of it as was measured."""
    return sorted(found.curves, key=lambda curve: -float(_drop(curve, 0.5, found.dense)))


def _drop(curve: Curve, share: float, dense: float) -> float:
    return float(curve.drop([round(share * curve.width)], dense)[0])


def _cell(curve: Curve, share: float, dense: float) -> str:
    removed = share * curve.width
    if removed > curve.removed[-1] + _ROUNDING:
        return ""
    places: Sequence[float] = (0.0, *curve.removed)
    return f"{np.interp(removed, places, (0.0, *curve.drops(dense))):.2f}"


def _name(curve: Curve) -> str:
    return printable(" + ".join(curve.groups))
