"""The figure of a preview."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from accelerando.schedules.preview import Curve, Preview

RISE = "#d1495b"
LINES = ("#2e4057", "#00798c", "#8d6a9f", "#5b7f2b")
DECADES = 1000
"""Highest rate ÷ the rate below which 5 % of the steps are, from which on the axis is logarithmic."""
NAMED = 6
"""Rises that get their factor written beside them; more would cover the curve."""


def draw(preview: "Preview") -> Figure:
    """Curves of the rate; rises red and shaded, the end of a schedule dashed."""
    figure = Figure(figsize=(8.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, curve in enumerate(preview.curves):
        _curve(axes, curve, LINES[i % len(LINES)], shade=i == 0)
    positive = np.concatenate([curve.rates[curve.rates > 0] for curve in preview.curves] or [np.ones(1)])
    if positive.size > 0.98 * _size(preview) and positive.max() > DECADES * np.quantile(positive, 0.05):
        axes.set_yscale("log")
    axes.set_xlabel("step")
    axes.set_ylabel("learning rate")
    axes.margins(x=0.01, y=0.12)
    axes.spines[["top", "right"]].set_visible(False)
    rises = sum(len(curve.rises()) for curve in preview.curves)
    title = f"{rises} rise{'s' * (rises != 1)}, marked red" if rises else "never rises"
    axes.set_title(title, loc="right", fontsize=9, color=RISE)
    axes.legend(loc="upper left", bbox_to_anchor=(0.0, -0.16), frameon=False, fontsize=8)
    if preview.note:
        figure.text(0.99, 0.01, preview.note, ha="right", fontsize=8)
    return figure


def _curve(axes: "Axes", curve: "Curve", colour: str, shade: bool) -> None:
    steps = np.arange(len(curve.rates))
    label = curve.label if len(curve.label) < 110 else curve.label[:107] + "…"
    axes.plot(steps, curve.rates, color=colour, linewidth=1.6, label=label)
    rises = curve.rises()
    for rise in rises:
        span = slice(rise.first, rise.last + 1)
        axes.plot(steps[span], curve.rates[span], color=RISE, linewidth=2.4, solid_capstyle="butt")
        if shade:
            axes.axvspan(rise.first, max(rise.last, rise.first + 1), color=RISE, alpha=0.08, linewidth=0)
    for rise in rises[:NAMED]:
        text = f"▲×{rise.ends / rise.begins:.4g}" if rise.begins > 0 else "▲ from 0"
        place = (rise.last, rise.ends)
        axes.annotate(text, place, (4, 3), textcoords="offset points", color=RISE, fontsize=8)
    if curve.length is not None and curve.length < len(curve.rates):
        axes.axvline(curve.length, color=colour, linestyle=":", linewidth=1)
        place = (curve.length, 0.96)
        axes.annotate(
            "ends", place, (3, 0), xycoords=axes.get_xaxis_transform(), textcoords="offset points", fontsize=8
        )


def _size(preview: "Preview") -> int:
    return sum(curve.rates.size for curve in preview.curves)
