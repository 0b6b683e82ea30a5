"""What is drawn into one panel: one strategy in colour, the others in grey, on axes common to all panels.

Every colour below stands for one meaning and occurs nowhere else, so that the page can exchange it for a
variable of its style sheet (light, dark, print). Marks and line styles carry the meaning too.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..statistics import stretches
from .digest import Digest, Row

INK = "#16181d"
FAINT = "#c3c7cf"
GRID = "#e4e6ea"
ACCENT = "#c2410c"
SECOND = "#1d4ed8"

Point = tuple[float, float]
_CAP = 3.0
"""How many times the untrained loss the scale may show; beyond it a triangle marks the point."""


@dataclass(frozen=True)
class Panel:
    """A kind of panel, in two parts, because most of drawing's time goes into axes and ticks.

    Attributes:
        frame: figure, digest → the axes, with all that the panels of every strategy share.
        row: those axes, strategy → what is in colour.
    """

    frame: Callable[[Any, Digest], tuple[Any, ...]]
    row: Callable[[tuple[Any, ...], Row], None]


def _robustness_frame(figure: Any, digest: Digest) -> tuple[Any, ...]:
    axes = figure.subplots()
    low, high = loss_limits(digest, [loss for row in digest.rows for loss in row.curve.values()])
    rates = sorted({rate for r in digest.rows for rate in r.tuned})
    _frame(axes, digest, low, high)
    axes.set_xscale("log")
    if rates:
        axes.set_xlim(rates[0] / 1.6, rates[-1] * 1.6)
        _decades(axes.xaxis, rates[0], rates[-1], ticks=4)
    _faint(axes, [row.curve.items() for row in digest.rows], high)
    return (axes,)


def _robustness_row(of: tuple[Any, ...], row: Row) -> None:
    (axes,) = of
    high = axes.get_ylim()[1]
    for left, right in stretches(row.curve):
        axes.axvspan(left, right, color=ACCENT, alpha=0.16, linewidth=0)
    shown = [(rate, loss) for rate, losses in row.tuned.items() for loss in losses if loss <= high]
    axes.plot(*_inside(shown, high), ".", color=ACCENT, markersize=3, alpha=0.55, zorder=3)
    axes.plot(*_inside(row.curve.items(), high), "-o", color=ACCENT, linewidth=1.8, markersize=3.6, zorder=4)
    lost = [rate for rate, loss in row.curve.items() if math.isinf(loss)]
    beyond = [rate for rate, loss in row.curve.items() if high < loss < math.inf]
    top = axes.get_xaxis_transform()
    axes.plot(lost, [0.95] * len(lost), "x", color=ACCENT, markersize=6, markeredgewidth=1.6, transform=top)
    axes.plot(beyond, [0.95] * len(beyond), "^", color=ACCENT, markersize=5, transform=top)
    if row.rate in row.curve and row.curve[row.rate] <= high:
        axes.plot([row.rate], [row.curve[row.rate]], "o", color=ACCENT, markersize=9.5, fillstyle="none")


def _curves_frame(figure: Any, digest: Digest) -> tuple[Any, ...]:
    axes = figure.subplots()
    medians = [_by_step(_evaluated(row)) for row in digest.rows if row.ran]
    low, high = loss_limits(digest, [median(values) for points in medians for values in points.values()])
    _frame(axes, digest, low, high)
    _steps(axes, digest)
    target = digest.experiment.task.get("target")
    if target is not None and low < target < high:
        axes.axhline(target, color=INK, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    _faint(axes, [[(step, median(values)) for step, values in points.items()] for points in medians], high)
    return (axes,)


def _curves_row(of: tuple[Any, ...], row: Row) -> None:
    (axes,) = of
    high = axes.get_ylim()[1]
    own = _by_step(_evaluated(row))
    steps = list(own)
    lowest, highest = [min(own[s]) for s in steps], [min(max(own[s]), high) for s in steps]
    axes.fill_between(steps, lowest, highest, color=ACCENT, alpha=0.2, linewidth=0, zorder=3)
    axes.plot(*_inside([(s, median(own[s])) for s in steps], high), color=ACCENT, linewidth=1.8, zorder=4)


def _rates_frame(figure: Any, digest: Digest) -> tuple[Any, ...]:
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    low, high = _rate_limits(digest)
    for axes in (upper, lower):
        _plain(axes)
    upper.set_yscale("log")
    upper.set_ylim(low, high)
    _steps(upper, digest)
    _decades(upper.yaxis, low, high)
    lower.set_ylim(-1.05, 1.05)
    lower.set_yticks([-1, 0, 1], ["−1", "0", "1"])
    lower.axhline(0, color=GRID, linewidth=0.8)
    return upper, lower


def _rates_row(of: tuple[Any, ...], row: Row) -> None:
    upper, lower = of
    columns = [_by_step([[(p[0], p[i]) for p in o.rates] for o in row.fresh]) for i in (1, 2, 3, 4)]
    nominal, gain, alignment, effective = ({s: median(v) for s, v in column.items()} for column in columns)
    spread = columns[1]
    steps = list(spread)
    tops = [max(spread[s]) for s in steps]
    upper.fill_between(
        steps, [min(spread[s]) for s in steps], tops, color=ACCENT, alpha=0.2, linewidth=0, zorder=2
    )
    upper.plot(*_positive(nominal), color=INK, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)
    upper.plot(*_positive(effective), color=SECOND, linewidth=1.3, linestyle=(0, (1, 1.2)), zorder=4)
    upper.plot(*_positive(gain), color=ACCENT, linewidth=1.8, zorder=5)
    if row.rise.shown:
        for axes in (upper, lower):
            axes.axvline(row.rise.step, color=ACCENT, linewidth=0.9, linestyle=(0, (2, 2)), zorder=1)
    lower.plot(list(alignment), list(alignment.values()), color=INK, linewidth=1.1)


PANELS: dict[str, Panel] = {
    "robustness": Panel(_robustness_frame, _robustness_row),
    "curves": Panel(_curves_frame, _curves_row),
    "rates": Panel(_rates_frame, _rates_row),
}
"""Held-out loss against rate on the tuning seeds; held-out loss against the step on the fresh seeds; nominal rate, gain
and effective rate against the step, alignment below."""


def loss_limits(digest: Digest, losses: Iterable[float]) -> tuple[float, float]:
    """The scale of a loss axis: the losses given, but not far above the untrained one."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    if not finite:
        return 0.1, 1.0
    low, high = min(finite), max(finite)
    start = [o.evals[0][1].get("loss", math.inf) for row in digest.rows for o in row.fresh if o.evals]
    untrained = [loss for loss in start if math.isfinite(loss) and loss > 0]
    if untrained:
        high = min(high, _CAP * max(*untrained, low))
    if digest.scale == "log" and low > 0:
        return low / 1.25, high * 1.4
    margin = 0.08 * (high - low or abs(high) or 1.0)
    return low - margin, high + 2 * margin


def _rate_limits(digest: Digest) -> tuple[float, float]:
    """The middle of every positive rate seen, so that one wild step does not flatten the rest."""
    seen = sorted(v for r in digest.rows for o in r.fresh for p in o.rates for v in (p[1], p[2]) if v > 0)
    seen = [value for value in seen if math.isfinite(value)]
    if not seen:
        return 1e-4, 1.0
    low, high = seen[len(seen) // 30], seen[-1 - len(seen) // 200]
    return low / 3, high * 2


def _evaluated(row: Row) -> list[list[Point]]:
    return [[(s, m.get("loss", math.inf)) for s, m in o.evals] for o in row.fresh]


def _by_step(series: Sequence[Sequence[Point]]) -> dict[float, list[float]]:
    """Step → the seeds' values there; a NaN counts as infinite, a seed that stopped is no longer in it."""
    found: dict[float, list[float]] = {}
    for points in series:
        for step, value in points:
            found.setdefault(step, []).append(math.inf if math.isnan(value) else value)
    return dict(sorted(found.items()))


def _inside(points: Iterable[Point], high: float) -> tuple[list[float], list[float]]:
    """Points as two lists, with a gap where one lies beyond the scale."""
    kept = [(x, y if y <= high else math.nan) for x, y in points]
    return [x for x, _ in kept], [y for _, y in kept]


def _faint(axes: Any, lines: Sequence[Iterable[Point]], high: float) -> None:
    """All strategies' lines, as one line with gaps: most of drawing's time is making artists."""
    gap: Point = (math.nan, math.nan)
    joined = [point for line in lines for point in (*line, gap)]
    axes.plot(*_inside(joined, high), color=FAINT, linewidth=0.8, zorder=1)


def _positive(points: dict[float, float]) -> tuple[list[float], list[float]]:
    kept = {x: y if y > 0 and math.isfinite(y) else math.nan for x, y in points.items()}
    return list(kept), list(kept.values())


def _frame(axes: Any, digest: Digest, low: float, high: float) -> None:
    _plain(axes)
    if digest.scale == "log":
        axes.set_yscale("log")
        _decades(axes.yaxis, low, high)
    axes.set_ylim(low, high)


def _plain(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=FAINT, linewidth=0.8)
    axes.tick_params(which="both", colors=INK, length=2, width=0.6, pad=2)
    axes.tick_params(which="minor", length=0)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)


def _steps(axes: Any, digest: Digest) -> None:
    axes.set_xlim(0, digest.experiment.steps)
    axes.locator_params(axis="x", nbins=4, integer=True)


def _decades(axis: Any, low: float, high: float, ticks: int = 6) -> None:
    """Few, plainly written ticks: powers of ten where there are enough, else 1, 2, 5."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    span = math.log10(high / low) if low > 0 else 1.0
    axis.set_major_locator(LogLocator(subs=(1.0,) if span > 2 else (1.0, 2.0, 5.0), numticks=ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain_tick(value)))


def plain_tick(value: float) -> str:
    """``0.05``, ``20``, ``1e-4``: short, without superscripts."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return f"{value:g}"
    mantissa, exponent = f"{value:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"
